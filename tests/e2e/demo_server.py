"""A running `recsvc demo`, as a user would start it, and its values in the form of `oracle.Read`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from recsvc.client import Client, Column, ContextValue, FeatureBatch, Status
from tests.e2e.oracle import NO_ROW, Columns, Oracle, Pair

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REQUEST_TIME = datetime(2026, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)
WAIT = 20.0
_ADDRESS = re.compile(r" on (127\.0\.0\.1:\d+)$")
_SHIFT = re.compile(r"moved forward by (-?\d+) days")


@dataclass(frozen=True, slots=True)
class DemoServer:
    """Where it serves, and the data set as plain loops read it."""

    address: str
    plain: Oracle

    @property
    def user_ids(self) -> Sequence[int]:
        """All users, those with most ratings first."""
        return sorted(self.plain.users, key=lambda user: -len(self.plain.by_user.get(user, ())))

    @property
    def item_ids(self) -> Sequence[int]:
        """All films."""
        return list(self.plain.films)

    def context(self, rows: int | None) -> Mapping[str, ContextValue]:
        """Return the request context that `ranking` needs: for one row (None), or for a batch of so many."""
        return {"request_time": REQUEST_TIME, "list_position": 1 if rows is None else list(range(1, rows + 1))}

    def read(self, user_ids: Sequence[int], item_ids: Sequence[int], pairs: Sequence[Pair]) -> Columns:
        """Return every stored feature and every on-demand one, with event times, through the server."""
        columns: dict[str, Sequence[object]] = {}
        users, items = [user for user, _ in pairs], [item for _, item in pairs]
        with Client(self.address, timeout=WAIT) as client:
            for entities, views in (
                ({"user_id": user_ids}, ["profile", "activity", "taste"]),
                ({"item_id": item_ids}, ["film", "film_stats"]),
                ({"user_id": users, "item_id": items}, ["rated", "live"]),
            ):
                rows = len(next(iter(entities.values())))
                batch = client.get_features_batch(
                    entities, features=views, context=self.context(rows), event_times=True
                )
                columns |= _columns(batch, views)
        return columns


def _columns(batch: FeatureBatch, views: Sequence[str]) -> dict[str, Sequence[object]]:
    """Return the batch's columns, and the event times of the views that were asked for (not of on-demand inputs)."""
    columns: dict[str, Sequence[object]] = {name: _values(column, batch.rows) for name, column in batch.items()}
    for view in batch.views:
        if view.view in views and len(view.event_times):
            micros = view.event_times.astype("int64").tolist()
            columns[f"{view.view}:event_time"] = [NO_ROW if m == -(2**63) else m for m in micros]
    return columns


def _values(column: Column, rows: int) -> list[object]:
    full = column.expanded(rows)
    stored = not column.name.startswith("live:")
    return [
        NO_ROW if stored and status == Status.NOT_FOUND else _plain(value)
        for value, status in zip(full.to_list(), full.statuses.tolist(), strict=True)
    ]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(microseconds=1)
    return list(value) if isinstance(value, tuple) else value


@contextmanager
def running_demo(directory: Path) -> Iterator[DemoServer]:
    """Run `recsvc demo --data DIRECTORY` on a free port, and end it as a user would."""
    command = [sys.executable, "-m", "recsvc", "demo", "--data", str(directory), "--listen", "127.0.0.1:0"]
    patient = ["--redis-timeout-ms", "5000"]  # a busy machine must not make defaults of values
    with subprocess.Popen([*command, *patient, "--refuse-s", "0"], stdout=subprocess.PIPE, text=True) as process:
        shift, address = _announced(process)
        micros = (REQUEST_TIME - EPOCH) // timedelta(microseconds=1)
        try:
            yield DemoServer(address, Oracle(directory, shift, micros))
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
    assert process.returncode == 0


def _announced(process: subprocess.Popen[str]) -> tuple[timedelta, str]:
    """Read what the demo prints until it serves and has shown its calls."""
    shift, address, lines = None, None, []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if moved := _SHIFT.search(line):
            shift = timedelta(days=int(moved[1]))
        if found := _ADDRESS.search(line.rstrip()):
            address = found[1]
        if line.startswith("Ctrl-C") and shift is not None and address is not None:
            return shift, address
    raise AssertionError(f"the demo ended early:\n{''.join(lines)}")
