"""Runs a program in Feast's environment (feast_program, read_feast_program), and speaks with it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from tests.bench.rounds import Cost
from tests.parts.redis_server import short_folder

_PROGRAM: Final = Path(__file__).with_name("feast_program.py")
_END_TIMEOUT_S: Final = 10.0


class FeastProgram:
    """A running program; one order at a time, each an object in JSON."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._process.pid})"

    def ask(self, order: dict[str, object]) -> dict[str, Any]:
        """Send an order, and wait for the answer to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for its next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"Feast's program ended: {self._log.read_text()[-2000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer


class FeastPeer(FeastProgram):
    """A running feast_program."""

    def write(self, rows: int, chunk: int, *, skip_dedup: bool) -> Cost:
        """Write the first ``rows`` rows, ``chunk`` in a call of ``write_to_online_store``."""
        return Cost(**self.ask({"do": "write", "rows": rows, "chunk": chunk, "skip_dedup": skip_dedup}))

    def read(self, ids: Sequence[int]) -> dict[str, list[float]]:
        """Return what Feast answers for these users, by feature."""
        values: dict[str, list[float]] = self.ask({"do": "read", "ids": list(ids)})["values"]
        return values


@contextlib.contextmanager
def feast_peer(python: Path, address: str, rows: pa.Table, names: Sequence[str]) -> Iterator[FeastPeer]:
    """Start Feast on the Redis at ``address`` with the table that it is to write; it is ready when the block begins."""
    with short_folder() as folder:
        with pa.OSFile(str(folder / "rows.arrow"), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_table(rows)
        job = {"address": address, "rows": str(folder / "rows.arrow"), "names": list(names), "folder": str(folder)}
        (folder / "job.json").write_text(json.dumps(job))
        with running_program(python, _PROGRAM, folder) as process:
            peer = FeastPeer(process, folder / "log")
            peer.answer()
            yield peer


@contextlib.contextmanager
def running_program(python: Path, program: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run ``program`` on ``folder``/job.json until the block ends; what it logs is in ``folder``/log."""
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [python, program, folder / "job.json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=folder,
        env={**os.environ, "FEAST_USAGE": "False"},  # it reports to nobody
    )
    try:
        with log, process:
            yield process
            assert process.stdin is not None
            process.stdin.close()  # no more orders
            process.wait(_END_TIMEOUT_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
