"""Impressions in rotating files of JSON lines, ``impressions-OWNER-TIME-NUMBER.jsonl``, oldest first by name."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Final

from recsvc.errors import ConfigError
from recsvc.recommend.impression_lines import line_parts
from recsvc.recommend.impressions import Impression

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_FILES: Final = 16
MAX_OWNER: Final = 128
"""Characters of an owner's name: a host has up to 64, what it listens on some more; a file may have 255."""
_OWNER: Final = re.compile(rf"[A-Za-z0-9_]{{1,{MAX_OWNER}}}")


class ImpressionFiles:
    """Appends impressions to a file; begins a new one before it would have more than ``max_file_bytes``.

    Of the files of ``owner``, a worker's name that stays the same over restarts, the ``max_files`` newest are kept.
    A line longer than a file has one of its own. ``clock_ms``: milliseconds since 1970, for the names. All work is
    done in a thread. Raises ConfigError.
    """

    def __init__(
        self,
        directory: Path,
        *,
        owner: str,
        clock_ms: Callable[[], int],
        max_file_bytes: int = MAX_FILE_BYTES,
        max_files: int = MAX_FILES,
    ) -> None:
        if _OWNER.fullmatch(owner) is None:
            raise ConfigError(f"impressions, owner: {owner!r} must be 1 to {MAX_OWNER} letters, digits and _")
        for name, value in (("max_file_bytes", max_file_bytes), ("max_files", max_files)):
            if value < 1:
                raise ConfigError(f"impressions, {name}: {value!r} must be at least 1")
        self._directory = directory
        self._prefix = f"impressions-{owner}"
        self._name = re.compile(rf"impressions-{owner}-(\d+)-(\d+)\.jsonl")
        self._clock_ms = clock_ms
        self._max_file_bytes = max_file_bytes
        self._max_files = max_files
        self._lock = Lock()  # a write that was given up may still run when the sink is closed
        self._file: FileIO | None = None
        self._path: Path | None = None
        self._size = 0
        self._closed = False

    def __repr__(self) -> str:
        file = f"{self._path}, {self._size} bytes" if self._file else "no file open"
        return f"ImpressionFiles({self._directory / self._prefix}-*.jsonl, {'closed' if self._closed else file})"

    def prepare(self) -> None:
        """Make the directory and see that files can be made in it. Blocks. Raises ConfigError."""
        trial = self._directory / f"{self._prefix}.trial"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            trial.touch()
            trial.unlink()
        except OSError as error:
            raise ConfigError(f"impressions: cannot write in {self._directory}: {error.strerror}") from error

    def paths(self) -> list[Path]:
        """Return the files there are, the oldest first. Blocks."""
        return [path for _, path in self._numbered()]

    async def write(self, impressions: Sequence[Impression]) -> None:
        """See ImpressionSink.write. Raises OSError; then the file ends with the last line that is whole."""
        await asyncio.to_thread(self._write, impressions)

    async def close(self) -> None:
        """See ImpressionSink.close."""
        await asyncio.to_thread(self._close)

    def _write(self, impressions: Sequence[Impression]) -> None:
        for impression in impressions:
            line = _line(impression)
            with self._lock:
                if self._closed:
                    raise OSError("impressions came after the files were closed")
                self._append(line)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            self._release()

    def _append(self, line: bytes) -> None:
        if self._file is not None and self._size + len(line) > self._max_file_bytes:
            self._release()
        file = self._file or self._begin()
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            with suppress(OSError):  # what the disk has no room for may be cut off even so
                file.truncate(self._size)
            self._release()
            raise
        self._size += len(line)

    def _begin(self) -> FileIO:
        """Open a file whose name comes after all others, whatever the clock says; then drop the oldest."""
        self._directory.mkdir(parents=True, exist_ok=True)
        there = self._numbered()
        number = (self._clock_ms(), 0)
        if there and number <= there[-1][0]:
            number = (there[-1][0][0], there[-1][0][1] + 1)
        self._path = self._directory / f"{self._prefix}-{number[0]:013d}-{number[1]:04d}.jsonl"
        self._file = FileIO(self._path, "xb")
        self._size = 0
        for _, path in there[: max(0, len(there) + 1 - self._max_files)]:
            path.unlink(missing_ok=True)
        return self._file

    def _numbered(self) -> list[tuple[tuple[int, int], Path]]:
        matches = ((self._name.fullmatch(path.name), path) for path in self._directory.glob(f"{self._prefix}-*"))
        return sorted(((int(m[1]), int(m[2])), path) for m, path in matches if m is not None)

    def _release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _line(impression: Impression) -> bytes:
    parts = []
    for part in line_parts(impression):
        parts.append(part)
        # Lets the event loop have the interpreter now, instead of after the 5 ms for which a thread may keep it.
        time.sleep(0)
    return b"".join(parts)
