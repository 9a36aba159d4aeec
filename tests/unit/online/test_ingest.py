"""The load itself: counts, order, bounds, what strict, force and stopping do, and what stays when something fails."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsvc import FLOAT64, INT64, Entity, Feature, FeatureView
from recsvc.errors import ConfigError, DefinitionError, StoreUnavailableError
from recsvc.online.ingest import Loader, LoadSettings, load_batches
from recsvc.online.ingest_convert import Converter
from recsvc.online.ingest_flight import InFlight
from recsvc.online.ingest_readers import BatchReader
from recsvc.online.ingest_report import End, LoadReport, Rejections
from recsvc.online.keys import KeyMaker
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import OpenRedis, open_redis
from recsvc.online.redis_writer import RedisRowWriter, WriteResult
from recsvc.online.row import RowCodec
from recsvc.registry.schema import Schema
from tests.parts.topologies import Endpoint

NOW = 1_800_000_000_000_000
USER = Entity("user", "user_id", INT64)
VIEW = FeatureView("profile", [USER], [Feature("age", FLOAT64)])
SCHEMA = Schema.of(VIEW.features)
SMALL = LoadSettings(rows_per_write=3, writes_in_flight=2)


@pytest.fixture
async def store(redis_8: Endpoint) -> AsyncIterator[OpenRedis]:
    """An empty store."""
    async with open_redis(redis_8.url, ConnectionSettings()) as opened:
        await opened.client.flushall()
        yield opened


def table(users: Sequence[int], ages: Sequence[float], hours: Sequence[float] = (0.0,)) -> pa.Table:
    """Make rows whose event time is some hours before NOW."""
    ago = np.broadcast_to(np.asarray(hours, float), len(users))
    times = pa.array((NOW - ago * 3.6e9).astype(np.int64), pa.timestamp("us", "UTC"))
    return pa.table({"user_id": pa.array(users, pa.int64()), "event_time": times, "age": pa.array(ages, pa.float64())})


async def load(store: OpenRedis, rows: Any, *, now: int = NOW, **settings: Any) -> LoadReport:  # noqa: ANN401  # Arrow is untyped
    """Load rows in small chunks."""
    return await load_batches(VIEW, SCHEMA, rows, store.writer(), now_micros=now, settings=replace(SMALL, **settings))


async def ages(store: OpenRedis, users: Sequence[int]) -> list[float | None]:
    """Read what the store has of users; None where there is no row."""
    keys = KeyMaker(VIEW).keys([[str(user) for user in users]])
    rows: list[Any] = await store.client.mget(keys)
    block = RowCodec(SCHEMA).decode([row for row in rows if row is not None], [0])
    values = iter(block.values[0].tolist())
    return [None if row is None else next(values) for row in rows]


def counts(report: LoadReport) -> tuple[int, int, int, int]:
    """Return read, written, stale and rejected."""
    return report.read, report.written, report.stale, report.rejected


async def test_every_row_is_in_the_store_afterwards(store: OpenRedis) -> None:
    """Chunks and writes in flight lose nothing."""
    report = await load(store, table(range(100), range(100)))
    assert counts(report) == (100, 100, 0, 0)
    assert report.end is End.COMPLETE
    assert await ages(store, range(100)) == list(range(100))


async def test_loading_again_changes_nothing_but_the_write_time(store: OpenRedis) -> None:
    """A reload is safe: the same rows are there, written later."""
    rows = table(range(10), range(10), range(10))
    await load(store, rows)
    before: dict[Any, Any] = {key: await store.client.get(key) for key in await store.client.keys("fs:{*")}
    report = await load(store, rows, now=NOW + 10**6)
    assert counts(report) == (10, 10, 0, 0)
    for key, row in before.items():
        again: Any = await store.client.get(key)
        assert (again[:16], again[24:]) == (row[:16], row[24:])
        assert int.from_bytes(again[16:24], "little") == int.from_bytes(row[16:24], "little") + 10**6


async def test_older_rows_never_replace_newer_ones(store: OpenRedis) -> None:
    """Rows of an older event time are counted as such, and the store keeps what it has."""
    await load(store, table([1, 2], [10.0, 20.0], [1.0]))
    report = await load(store, table([1, 2, 3], [11.0, 21.0, 31.0], [2.0, 0.5, 9.0]), now=NOW + 1)
    assert counts(report) == (3, 2, 1, 0)
    assert await ages(store, [1, 2, 3]) == [10.0, 21.0, 31.0]


async def test_of_equal_event_times_in_a_load_the_last_line_wins(store: OpenRedis) -> None:
    """Whichever write arrives first, the last row of an entity stays; of different event times, the newest."""
    users = [1, 2] * 20
    hours = [0.0, 0.0] * 19 + [0.0, 5.0]
    await load(store, table(users, range(40), hours), writes_in_flight=8, rows_per_write=2)
    assert await ages(store, [1, 2]) == [38.0, 37.0]


async def test_force_replaces_newer_rows_of_the_store(store: OpenRedis) -> None:
    """What is forced is in the store afterwards, older than what was there."""
    await load(store, table([1, 2], [10.0, 20.0]))
    report = await load(store, table([1], [11.0], [48.0]), force=True, now=NOW - 10**9)
    assert counts(report) == (1, 1, 0, 0)
    assert await ages(store, [1, 2]) == [11.0, 20.0]


async def test_a_forced_load_keeps_the_newest_of_its_own_rows(store: OpenRedis) -> None:
    """Force overrides the store, not the order of the load's own rows, in one chunk and over several."""
    await load(store, table([1, 2, 3], [0.0, 0.0, 0.0]))
    users, hours = [1, 1, 2, 1, 2, 3, 2, 3], [9.0, 8.0, 7.0, 9.5, 7.0, 1.0, 7.5, 1.0]
    report = await load(store, table(users, range(8), hours), force=True)
    assert await ages(store, [1, 2, 3]) == [1.0, 4.0, 7.0]
    assert report.written + report.stale == 8


async def test_bad_rows_do_not_stop_the_rest(store: OpenRedis) -> None:
    """Rejected rows are counted and kept with place and reason; the others are written."""
    rows = table(range(10), range(10), [0.0] * 4 + [-2.0] + [0.0] * 5)
    report = await load(store, rows)
    assert counts(report) == (10, 9, 0, 1)
    (example,) = report.examples
    assert str(example).startswith("batches row 5: event_time: ")
    assert (await ages(store, [4, 5])) == [None, 5.0]


async def test_strict_stops_before_the_chunk_of_the_first_bad_row(store: OpenRedis) -> None:
    """Chunks before the bad row are written, its own and later ones are not."""
    rows = table(range(12), range(12), [0.0] * 7 + [-2.0] + [0.0] * 4)
    report = await load(store, rows, strict=True)
    assert report.end is End.STRICT
    assert counts(report) == (9, 6, 0, 1)
    assert await ages(store, range(5, 12)) == [5.0, *[None] * 6]


async def test_a_stop_leaves_what_was_written(store: OpenRedis) -> None:
    """Once a stop is wanted nothing more is sent, what is under way ends, and the report says so."""
    sent: list[int] = []

    class Counting(RedisRowWriter):
        async def write(
            self, view: FeatureView, keys: Sequence[bytes], rows: Sequence[bytes], *, force: bool = False
        ) -> WriteResult:
            sent.append(len(keys))
            return await super().write(view, keys, rows, force=force)

    loader = Loader(
        Converter(VIEW, SCHEMA, now_micros=NOW),
        Counting(store.client),
        now_micros=NOW,
        settings=SMALL,
        should_stop=lambda: len(sent) >= 2,
    )
    report = await loader.load([BatchReader(table(range(30), range(30)))])
    assert report.end is End.STOPPED
    assert report.written == sum(sent) < 30
    assert await ages(store, range(7)) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, None]


async def test_a_store_that_goes_away_ends_the_load_and_the_counts_stay(store: OpenRedis) -> None:
    """A failing write raises, after the writes beside it have ended; what they wrote is counted."""

    class Failing(RedisRowWriter):
        async def write(
            self, view: FeatureView, keys: Sequence[bytes], rows: Sequence[bytes], *, force: bool = False
        ) -> WriteResult:
            if b"fs:{9}:user:profile:v1" in keys:
                raise StoreUnavailableError("gone")
            return await super().write(view, keys, rows, force=force)

    loader = Loader(Converter(VIEW, SCHEMA, now_micros=NOW), Failing(store.client), now_micros=NOW, settings=SMALL)
    with pytest.raises(StoreUnavailableError, match="gone"):
        await loader.load([BatchReader(table(range(30), range(30)))])
    written = sum(age is not None for age in await ages(store, range(30)))
    assert 9 <= loader.report().written == written < 30


async def test_a_store_that_does_not_answer_is_given_up(store: OpenRedis) -> None:
    """A write that hangs, the first one or a later one, ends the load with one line, not never."""
    await store.client.client_pause(60_000, all=False)
    try:
        with pytest.raises(StoreUnavailableError, match=r"did not answer a write within 0.05 s"):
            await load(store, table([1], [1.0]), write_timeout_s=0.05)
    finally:
        await store.client.client_unpause()
    await load(store, table([1], [1.0]))
    await store.client.client_pause(60_000, all=False)
    try:
        with pytest.raises(StoreUnavailableError, match=r"did not answer a write within 0.05 s"):
            await load(store, table([2], [2.0]), write_timeout_s=0.05)
    finally:
        await store.client.client_unpause()


async def test_nothing_is_written_where_a_source_does_not_fit(store: OpenRedis) -> None:
    """All sources are checked before the first row goes out."""
    loader = Loader(Converter(VIEW, SCHEMA, now_micros=NOW), store.writer(), now_micros=NOW, settings=SMALL)
    wrong = table([1], [1.0]).rename_columns(["user_id", "event_time", "aged"])
    with pytest.raises(ConfigError, match="no column 'age'"):
        await loader.load([BatchReader(table([1], [1.0])), BatchReader(wrong)])
    assert await store.client.dbsize() == 0


async def test_rows_of_another_schema_in_the_store_refuse_the_load(store: OpenRedis) -> None:
    """A view that changed without a new version is not loaded over rows of the old one."""
    await load(store, table([1], [1.0]))
    changed = FeatureView("profile", [USER], [Feature("age", INT64)])
    with pytest.raises(DefinitionError, match="give the view a new version"):
        await load_batches(
            changed, Schema.of(changed.features), table([1], [1.0]), store.writer(), now_micros=NOW, settings=SMALL
        )


@pytest.mark.parametrize(
    "rows",
    [
        table([1, 2], [1.0, 2.0]),
        table([1, 2], [1.0, 2.0]).to_batches()[0],
        table([1, 2], [1.0, 2.0]).to_batches(max_chunksize=1),
        iter(table([1, 2], [1.0, 2.0]).to_batches(max_chunksize=1)),
        table([1, 2], [1.0, 2.0]).to_reader(),
    ],
    ids=["table", "batch", "batches", "iterator", "reader"],
)
async def test_a_program_loads_whatever_arrow_it_has(store: OpenRedis, rows: Any) -> None:  # noqa: ANN401  # Arrow is untyped
    """Tables, batches, several of them and streams are all loaded."""
    if isinstance(rows, pa.RecordBatchReader):
        rows = table([1, 2], [1.0, 2.0]).to_reader()
    assert counts(await load(store, rows)) == (2, 2, 0, 0)


async def test_no_batches_at_all_are_refused(store: OpenRedis) -> None:
    """Nothing says what columns an empty list has; an empty table does, and loads nothing."""
    assert counts(await load(store, table([], []))) == (0, 0, 0, 0)
    with pytest.raises(ConfigError, match="there are no batches to load"):
        await load(store, [])


async def test_progress_is_told_piece_by_piece(store: OpenRedis) -> None:
    """Counts only grow, and what is done reaches the size of all sources."""
    seen: list[tuple[int, int]] = []
    readers = [BatchReader(table(range(10), range(10))), BatchReader(table(range(5), range(5)))]
    loader = Loader(
        Converter(VIEW, SCHEMA, now_micros=NOW),
        store.writer(),
        now_micros=NOW,
        settings=SMALL,
        on_progress=lambda report, done: seen.append((report.read, done)),
    )
    await loader.load(readers)
    assert seen == [(10, 10), (15, 15)]


async def test_never_more_writes_are_in_flight_than_allowed() -> None:
    """A write starts when there is room for it, and leaving the block waits for the rest."""
    gate, running, most = asyncio.Event(), 0, 0

    async def write() -> WriteResult:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return WriteResult(2, 1)

    async with InFlight(3) as flight:
        for _ in range(3):
            await flight.start(write())
        fourth = asyncio.create_task(flight.start(write()))
        await asyncio.sleep(0)
        assert not fourth.done()
        gate.set()
        await fourth
    assert (most, running) == (3, 0)
    assert (flight.written, flight.stale) == (8, 4)


async def test_a_cancelled_load_leaves_no_write_behind() -> None:
    """Cancelling ends the writes that are under way too."""
    ended = asyncio.Event()

    async def write() -> WriteResult:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    async def run() -> None:
        async with InFlight(1) as flight:
            await flight.start(write())
            await flight.start(write())

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def test_all_rejected_rows_are_in_the_file_and_a_few_in_memory() -> None:
    """The file has one line per row, whatever its name and reason hold; memory is bounded."""
    file = io.StringIO()
    rejections = Rejections(file, kept=2)
    rejections.add("a\tb.csv", "line", [(3, "one\nline"), (4, "tab\there"), (5, "plain")])
    assert rejections.count == 3
    assert [e.number for e in rejections.examples] == [3, 4]
    assert file.getvalue().splitlines() == [
        "place\treason",
        "a b.csv line 3\tone line",
        "a b.csv line 4\ttab here",
        "a b.csv line 5\tplain",
    ]


def test_a_report_is_one_line() -> None:
    """The summary has all counts and the speed."""
    report = LoadReport(End.COMPLETE, 12_345, 12_000, 300, 45, 0.5, (), ())
    expected = "12,345 rows read, 12,000 written, 300 older than the store's, 45 rejected (24,690 rows/s)"
    assert str(report) == expected
