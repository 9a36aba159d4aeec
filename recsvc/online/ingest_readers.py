"""Where rows come from: Parquet files, CSV files, and batches that a program has at hand."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from recsvc.errors import ConfigError
from recsvc.online.ingest_arrow import pa, pa_parquet
from recsvc.online.row import Int64Array

ROWS_PER_READ: Final = 16_384


@dataclass(slots=True)
class Piece:
    """Some rows; ``numbers`` says where in the source each is, ``malformed`` has (number, reason) of lost ones.

    ``done`` is how much of the source's ``size`` was read.
    """

    batch: pa.RecordBatch
    numbers: Int64Array
    malformed: Sequence[tuple[int, str]]
    done: int


class Reader(Protocol):
    """A source of rows. ``unit`` is what its places are called, line or row; both count from 1."""

    name: str
    unit: str
    size: int
    columns: pa.Schema

    def pieces(self, needed: Sequence[str]) -> Iterator[Piece]:
        """Yield all rows, with at least the columns ``needed``. Raises ConfigError where it cannot be read on."""
        ...


class ParquetReader:
    """Reads a Parquet file."""

    unit = "row"

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        with unreadable(self.name):
            self.size = path.stat().st_size
            self._file = pa_parquet.ParquetFile(path)
        self.columns = self._file.schema_arrow

    def __repr__(self) -> str:
        return f"ParquetReader({self.name}, {self._file.metadata.num_rows} rows)"

    def pieces(self, needed: Sequence[str]) -> Iterator[Piece]:
        """See Reader.pieces."""
        total = max(1, self._file.metadata.num_rows)
        read = 0
        with unreadable(self.name), self._file:
            for batch in self._file.iter_batches(batch_size=ROWS_PER_READ, columns=list(dict.fromkeys(needed))):
                numbers = np.arange(read + 1, read + 1 + batch.num_rows, dtype=np.int64)
                read += batch.num_rows
                yield Piece(batch, numbers, (), self.size * read // total)


class BatchReader:
    """Reads what a program has: a Table, a RecordBatch, several of them, whatever streams Arrow (a DuckDB relation)."""

    unit = "row"

    def __init__(self, batches: Any, name: str = "batches") -> None:  # noqa: ANN401  # anything that streams Arrow
        self.name = name
        self.size = getattr(batches, "num_rows", 0)
        self._stream = _stream(batches)
        self.columns = self._stream.schema

    def __repr__(self) -> str:
        return f"BatchReader({self.name}, {self.size or 'an unknown number of'} rows)"

    def pieces(self, needed: Sequence[str]) -> Iterator[Piece]:
        """See Reader.pieces; once only."""
        del needed
        read = 0
        with unreadable(self.name):
            for batch in self._stream:
                numbers = np.arange(read + 1, read + 1 + batch.num_rows, dtype=np.int64)
                read += batch.num_rows
                yield Piece(batch, numbers, (), read)


def _stream(batches: Any) -> pa.RecordBatchReader:  # noqa: ANN401  # anything that streams Arrow
    if isinstance(batches, pa.RecordBatchReader):
        return batches
    if hasattr(batches, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(batches)
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        raise ConfigError("there are no batches to load; pass a Table, which knows its columns even where it is empty")
    return pa.RecordBatchReader.from_batches(first.schema, chain([first], rest))


@contextmanager
def unreadable(name: str) -> Iterator[None]:
    """Turn what reading raises into one line with the name of the source."""
    try:
        yield
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise ConfigError(f"{name} cannot be read: {reason}") from error
