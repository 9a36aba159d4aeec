"""README's worked example does what it says: its blocks are run as they stand, on made-up data."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from recsvc.demo.synthetic import write_dataset
from tests.parts.redis_server import free_port

README: Final = Path(__file__).parents[2] / "README.md"


def blocks() -> dict[str, list[str]]:
    """Return the texts of the example's blocks, by language."""
    section = README.read_text(encoding="utf-8").split("## From ratings to a slate")[1].split("\n## ")[0]
    found: dict[str, list[str]] = {}
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", section, re.DOTALL | re.MULTILINE):
        found.setdefault(language, []).append(text)
    return found


@pytest.mark.timeout(180)
def test_the_worked_example_works(tmp_path: Path) -> None:
    """The definitions load, all commands succeed, and the slates have titles, reasons and what the filter wants."""
    (definitions,), (prepare, serve, ask) = blocks()["python"], blocks()["sh"]
    (tmp_path / "ml-100k").mkdir()
    write_dataset(tmp_path / "ml-100k", seed=1)
    (tmp_path / "films.py").write_text(definitions, encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    usual = {"PATH": paths, "RECSVC_LISTEN": address, "RECSVC_SERVER": address}
    environment = {k: v for k, v in os.environ.items() if k != "RECSVC_REDIS"} | usual

    def run(script: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "published indexes/als/" in run(prepare)
    words = serve.split()
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert f"on {address}" in server.stdout.readline()
            first, second = run(ask).split("rank  ")[1:]
        finally:
            server.send_signal(signal.SIGTERM)
    assert "seen" in first
    for slate in (first, second):
        assert "degraded" not in slate
        assert slate.splitlines()[0].split() == ["item", "score", "title", "because", "of"]
        assert "taste" in slate
    assert "like seed 50" in second
    assert "--category Comedy left out" in second
    assert "\nnext page: --page-token " in second
