"""Loads rows into the online store: read, convert, encode, and write in chunks of which several are in flight."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from recsvc.errors import ConfigError, StoreUnavailableError
from recsvc.online.ingest_convert import Converted, Converter
from recsvc.online.ingest_csv import DELIMITERS, CsvReader
from recsvc.online.ingest_flight import InFlight, Newest
from recsvc.online.ingest_readers import BatchReader, ParquetReader, Piece, Reader
from recsvc.online.ingest_report import End, LoadReport, Rejections
from recsvc.online.ingest_rules import TimeUnit
from recsvc.online.keys import KeyMaker
from recsvc.online.redis_writer import WriteResult
from recsvc.online.row import RowCodec
from recsvc.registry.model import FeatureView
from recsvc.registry.schema import Schema

_PARQUET: Final = frozenset({".parquet", ".pq"})
_T = TypeVar("_T")


class RowWriter(Protocol):
    """Where rows go; RedisRowWriter is one. Several writes may be in flight."""

    async def prepare(self, view: FeatureView, schema: Schema) -> None:
        """Refuse a schema that does not fit the rows that are stored."""
        ...

    async def write(
        self, view: FeatureView, keys: Sequence[bytes], rows: Sequence[bytes], *, force: bool = False
    ) -> WriteResult:
        """Write rows, keeping later ones that are stored, unless forced."""
        ...


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How to load. ``strict``: stop at the first row that is refused. ``force``: whatever the store has is replaced."""

    strict: bool = False
    force: bool = False
    rows_per_write: int = 2_000
    writes_in_flight: int = 4
    write_timeout_s: float = 30.0


def open_reader(path: Path, delimiter: str | None = None) -> Reader:
    """Open a file by its name's ending; whatever is not Parquet is CSV where a ``delimiter`` is given.

    Raises ConfigError where it cannot be read.
    """
    ending = (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()
    if ending in _PARQUET:
        return ParquetReader(path)
    found = delimiter or DELIMITERS.get(ending)
    if found is None:
        raise ConfigError(f"{path}: its name must end in .parquet, .csv, .tsv or .txt, or say --delimiter")
    return CsvReader(path, found)


async def load_batches(  # noqa: PLR0913  # all but the first four have defaults
    view: FeatureView,
    schema: Schema,
    batches: Any,  # noqa: ANN401  # anything that streams Arrow
    writer: RowWriter,
    *,
    now_micros: int,
    event_time_column: str | None = None,
    unit: TimeUnit | None = None,
    settings: LoadSettings = LoadSettings(),
) -> LoadReport:
    """Load what a program has at hand (see BatchReader) into a view.

    ``now_micros`` is the clock, and the write time of the first row. Raises ConfigError where the columns do not fit
    the view, DefinitionError where the stored rows do not, StoreUnavailableError.
    """
    converter = Converter(view, schema, now_micros=now_micros, event_time_column=event_time_column, unit=unit)
    return await Loader(converter, writer, now_micros=now_micros, settings=settings).load([BatchReader(batches)])


class Loader:
    """One load into one view. A row's write time is ``now_micros`` plus its number: of equals, the later one wins."""

    def __init__(  # noqa: PLR0913  # its parts and its settings
        self,
        converter: Converter,
        writer: RowWriter,
        *,
        now_micros: int,
        settings: LoadSettings,
        rejections: Rejections | None = None,
        on_progress: Callable[[LoadReport, int], None] = lambda _report, _done: None,
        should_stop: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``on_progress`` gets the counts so far and how much of all sources' size was read."""
        self._converter = converter
        self._writer = writer
        self._settings = settings
        self._rejections = rejections or Rejections()
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._clock = clock
        self._started = clock()
        self._keys = KeyMaker(converter.view)
        self._codec = RowCodec(converter.schema)
        self._next_write_micros = now_micros
        self._newest = Newest() if settings.force else None
        # Forced writes have no order but that of their arrival.
        self._flight = InFlight(1 if settings.force else settings.writes_in_flight)
        self._read = 0
        self._end = End.COMPLETE
        self._notes: list[str] = []

    def __repr__(self) -> str:
        return f"Loader({self._converter.view.label}, {self.report()})"

    def report(self) -> LoadReport:
        """Return what came of it so far."""
        newest = self._newest
        return LoadReport(
            self._end,
            self._read,
            self._flight.written,
            self._flight.stale + (newest.outdated if newest else 0),
            self._rejections.count,
            self._clock() - self._started,
            tuple(self._rejections.examples),
            tuple(self._notes),
        )

    async def load(self, readers: Sequence[Reader]) -> LoadReport:
        """Load all rows of ``readers``, in order; once only.

        Raises ConfigError where a source does not fit the view (before anything is written) or cannot be read on,
        DefinitionError where the stored rows do not fit, StoreUnavailableError. What was written until then stays.
        """
        self._started = self._clock()
        for reader in readers:
            surplus = self._converter.check(reader.columns, reader.name)
            if surplus:
                self._notes.append(f"{reader.name}: ignored column{'s' * (len(surplus) > 1)} {', '.join(surplus)}")
        await self._within(partial(self._writer.prepare, self._converter.view, self._converter.schema))
        async with self._flight:
            await self._load(readers)
        return self.report()

    async def _load(self, readers: Sequence[Reader]) -> None:
        done = 0
        for reader in readers:
            for piece in reader.pieces(self._converter.needed):
                for converted in self._chunks(reader, piece):
                    if self._must_end():
                        return
                    await self._send(converted)
                self._on_progress(self.report(), done + piece.done)
            done += reader.size

    def _must_end(self) -> bool:
        if self._settings.strict and self._rejections.count:
            self._end = End.STRICT
        elif self._should_stop():
            self._end = End.STOPPED
        return self._end is not End.COMPLETE

    def _chunks(self, reader: Reader, piece: Piece) -> Iterator[Converted]:
        """Convert a piece chunk by chunk; what is refused is noted before the chunk is given out."""
        size, numbers = self._settings.rows_per_write, piece.numbers
        malformed = deque(sorted(piece.malformed))
        # One more round without rows, for what is malformed at the end.
        for start in range(0, max(1, len(numbers)), size):
            converted = self._converter.convert(piece.batch.slice(start, size))
            rejected = [(int(numbers[start + i]), reason) for i, reason in converted.rejected]
            last = start + size >= len(numbers)
            while malformed and (last or malformed[0][0] < numbers[start + size]):
                rejected.append(malformed.popleft())
            self._read += len(converted) + len(rejected)
            self._rejections.add(reader.name, reader.unit, sorted(rejected))
            yield converted

    async def _send(self, converted: Converted) -> None:
        write_micros = self._next_write_micros + converted.rows
        self._next_write_micros += len(converted) + len(converted.rejected)
        if not len(converted):
            return
        keys = self._keys.keys(converted.ids)
        rows = self._codec.encode(converted.event_micros, write_micros, converted.columns)
        if self._newest is not None:
            keys, rows = self._newest.of(keys, rows, converted.event_micros.tolist())
        write = partial(self._writer.write, self._converter.view, keys, rows, force=self._settings.force)
        await self._flight.start(self._within(write))

    async def _within(self, call: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Give up on a store that does not answer, which the connections themselves never do."""
        try:
            async with asyncio.timeout(self._settings.write_timeout_s):
                return await call()
        except TimeoutError:
            seconds = self._settings.write_timeout_s
            raise StoreUnavailableError(f"the store did not answer a write within {seconds:g} s") from None
