"""Reads CSV and TSV: cells as bytes, empty ones as null, malformed rows as such, and the line that each begins on."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np

from recsvc.errors import ConfigError
from recsvc.online.ingest_arrow import pa, pa_csv, pc
from recsvc.online.ingest_lines import LineCounter, Malformed
from recsvc.online.ingest_readers import Piece, unreadable
from recsvc.online.row import Int64Array

DELIMITERS: Final = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
BLOCK_BYTES: Final = 1 << 20
"""What is parsed at a time; a row that is longer may be refused."""
_BREAK: Final = b"\n"


class CsvReader:
    """Reads a CSV file (gzipped where its name ends in .gz). The first line names the columns and is line 1.

    Cells may be quoted with ``"``, doubled inside, and then hold line breaks. Blank lines and rows of empty cells only
    are skipped.
    """

    unit = "line"

    def __init__(self, path: Path, delimiter: str, *, block_bytes: int = BLOCK_BYTES) -> None:
        self._block_bytes = block_bytes
        self.name = str(path)
        self._path = path
        self._delimiter = delimiter
        with unreadable(self.name):
            self.size = path.stat().st_size
            names = self._names()
        self.columns = pa.schema([(name, pa.binary()) for name in names])

    def __repr__(self) -> str:
        return f"CsvReader({self.name}, {len(self.columns)} columns, {self.size} bytes)"

    def _names(self) -> list[str]:
        with self._path.open("rb") as raw, _Tap(raw, self._path) as tap:
            try:
                names: list[str] = self._open(tap, lambda _: "skip", []).schema.names
            except pa.ArrowInvalid as error:
                if "Empty CSV" in str(error):
                    raise ConfigError(f"{self.name} is empty; its first line must name the columns") from None
                raise _explained(self.name, 1, error) from error
        return names

    def _open(self, tap: _Tap, on_malformed: Any, names: Sequence[str]) -> pa_csv.CSVStreamingReader:  # noqa: ANN401  # Arrow's InvalidRow -> str
        return pa_csv.open_csv(
            tap,
            # One thread: with several, Arrow does not know the number of a malformed row.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=self._block_bytes),
            parse_options=pa_csv.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=True,
                ignore_empty_lines=False,  # they would be missing in the count of lines
                invalid_row_handler=on_malformed,
            ),
            convert_options=pa_csv.ConvertOptions(
                # Bytes, not text: one cell that is not UTF-8 is a bad row, not the end of the file.
                column_types=dict.fromkeys(names, pa.binary()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )

    def pieces(self, needed: Sequence[str]) -> Iterator[Piece]:
        """See Reader.pieces."""
        del needed  # the others count too: their line breaks do
        lines = LineCounter("".join(self.columns.names).count("\n"))

        def on_malformed(row: Any) -> str:  # noqa: ANN401  # Arrow's InvalidRow
            lines.malformed(_malformed(row))
            return "skip"

        with unreadable(self.name), self._path.open("rb") as raw, _Tap(raw, self._path) as tap:
            try:
                yield from self._batches(tap, lines, self._open(tap, on_malformed, self.columns.names))
            except pa.ArrowInvalid as error:
                raise _explained(self.name, lines.next_line, error) from error
            yield Piece(pa.RecordBatch.from_pylist([], self.columns), np.zeros(0, np.int64), lines.rest(), self.size)

    def _batches(self, tap: _Tap, lines: LineCounter, batches: Any) -> Iterator[Piece]:  # noqa: ANN401  # a streaming reader
        for batch in batches:
            breaks = _breaks(batch)
            numbers, malformed = lines.batch(batch.num_rows, breaks)
            if breaks is not None and breaks[-1] and tap.never_closed:
                malformed.append((int(numbers[-1]), "a quoted cell is never closed, all that follows is in it"))
                batch, numbers = batch.slice(0, len(numbers) - 1), numbers[:-1]  # noqa: PLW2901  # the rest of it
            yield Piece(*_without_blank(batch, numbers), malformed, tap.done)


class _Tap:
    """A file as Arrow reads it, watched for how far it is and whether its quotes are in pairs."""

    def __init__(self, raw: IO[bytes], path: Path) -> None:
        self._raw = raw
        self._plain: Any = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw
        self._quotes = 0
        self._ended = False
        self.closed = False

    def __repr__(self) -> str:
        return f"_Tap({self.done} bytes read, {self._quotes} quotes{', ended' if self._ended else ''})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def done(self) -> int:
        """How many bytes of the file were read."""
        return self._raw.tell()

    @property
    def never_closed(self) -> bool:
        """Whether the file is at its end, and a quote is left over."""
        return self._ended and self._quotes % 2 == 1

    def read(self, size: int = -1) -> bytes:
        """Read on, as files do."""
        data: bytes = self._plain.read(size)
        self._quotes += data.count(b'"')
        self._ended = not data
        return data

    def readable(self) -> bool:
        """Say yes, as files do."""
        return True

    def close(self) -> None:
        """Stop reading; the file itself is its opener's."""
        self.closed = True


def _malformed(row: Any) -> Malformed:  # noqa: ANN401  # Arrow's InvalidRow
    breaks = row.text.count("\n")
    hint = " (or a quote that is not closed)" if breaks else ""
    return Malformed(row.number, breaks, f"has {row.actual_columns} cells, the header has {row.expected_columns}{hint}")


def _breaks(batch: pa.RecordBatch) -> Int64Array | None:
    """Return how many line breaks the cells of each row hold; None, after one look at the bytes, where none does."""
    if not any(_holds_break(column) for column in batch.columns):
        return None
    counts = (pc.count_substring(column.fill_null(b""), _BREAK.decode()) for column in batch.columns)
    return reduce(np.add, (np.asarray(c, np.int64) for c in counts))


def _holds_break(column: pa.Array) -> bool:
    data = column.buffers()[2]
    if data is None or not len(column):
        return False
    ends = np.frombuffer(column.buffers()[1], np.int32)[[column.offset, column.offset + len(column)]]
    return bool((np.frombuffer(data, np.uint8)[ends[0] : ends[1]] == _BREAK[0]).any())


def _without_blank(batch: pa.RecordBatch, numbers: Int64Array) -> tuple[pa.RecordBatch, Int64Array]:
    if any(column.null_count == 0 for column in batch.columns):
        return batch, numbers
    some = reduce(pc.or_, (column.is_valid() for column in batch.columns))
    return batch.filter(some), numbers[np.asarray(some)]


def _explained(name: str, line: int, error: Exception) -> ConfigError:
    if "straddl" in str(error):
        limit = f"{BLOCK_BYTES >> 20} MiB"
        return ConfigError(f"{name}: a row on line {line} or after is longer than {limit}; is a quote never closed?")
    return ConfigError(f"{name} is not CSV that can be read: {str(error).partition(chr(10))[0]}")
