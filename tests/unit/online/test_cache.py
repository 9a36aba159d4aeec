"""Copies are used while they are fresh, within bounds, in the order of an LRU, and never for another key."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from cachetools import LRUCache
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from recsvc.online.answer import UNREAD, Degraded, Row, Source, Unread
from recsvc.online.cache import COPY_BYTES, JITTER, CachingReader, RowCache
from recsvc.online.policy import ViewPolicy
from recsvc.online.reader import Span, ViewRows, Wanted
from tests.unit.online.strategies import MANY

A, B, C, D = b"a", b"b", b"c", b"d"
KEYS = [b"k%d" % i * (1 + i % 3) for i in range(8)]
LEAST, MOST = JITTER
BIG = 10**9

keys_of = st.lists(st.sampled_from(KEYS), unique=True, max_size=6)
row = st.none() | st.sampled_from(list(Unread)) | st.binary(max_size=40)


def cache_of(max_entries: int = 100, max_bytes: int = BIG) -> RowCache:
    """Return an empty cache."""
    return RowCache(max_entries=max_entries, max_bytes=max_bytes, rng=random.Random(7))


def size_of(key: bytes, value: bytes | None) -> int:
    """Return what a copy counts for."""
    return COPY_BYTES + len(key) + len(value or b"")


class CacheModel(RuleBasedStateMachine):
    """RowCache beside a plain dictionary whose last used key is its last, and a clock."""

    @initialize(max_entries=st.integers(1, 8), max_bytes=st.integers(1, 4_000))
    def begin(self, max_entries: int, max_bytes: int) -> None:
        """Choose the bounds."""
        self.cache = cache_of(max_entries, max_bytes)
        self.copies: dict[bytes, tuple[float, bytes | None]] = {}
        self.evictions = 0
        self.now = 0.0

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds

    @rule(keys=keys_of, data=st.data(), age=st.floats(0, 5))
    def keep(self, keys: list[bytes], data: st.DataObject, age: float) -> None:
        """Keep what a fetch of a while ago brings only now."""
        rows = data.draw(st.lists(row, min_size=len(keys), max_size=len(keys)))
        self.cache.keep(keys, rows, self.now - age)
        for key, value in zip(keys, rows, strict=True):
            newer = key in self.copies and self.copies[key][0] > self.now - age
            if not isinstance(value, Unread) and not newer:
                self.copies.pop(key, None)
                self.copies[key] = self.now - age, value
        while len(self.copies) > self.cache.max_entries or self._bytes() > self.cache.max_bytes:
            del self.copies[next(iter(self.copies))]
            self.evictions += 1

    @rule(keys=keys_of)
    def look(self, keys: list[bytes]) -> None:
        """Look keys up, whatever the age of their copies."""
        found = self.cache.look(keys)
        assert [None if c is None else (c[0], c[2]) for c in found] == [self.copies.get(k) for k in keys]
        self._use(keys)

    @rule(keys=keys_of, lifetime_s=st.floats(0, 12))
    def fresh(self, keys: list[bytes], lifetime_s: float) -> None:
        """Look for fresh copies of all of some keys."""
        found = self.cache.fresh(keys, self.now, lifetime_s)
        ages = [self.now - self.copies[k][0] if k in self.copies else np.inf for k in keys]
        oldest = max(ages, default=-1.0)
        if found is None:
            assert oldest >= lifetime_s * (1 - MOST) - 1e-9
        else:
            assert oldest <= lifetime_s * (1 - LEAST)
            assert found == [self.copies[k][1] for k in keys]
            self._use(keys)

    @rule(data=st.data(), other=st.binary(max_size=3), mine=st.booleans())
    def forget(self, data: st.DataObject, other: bytes, mine: bool) -> None:  # noqa: FBT001  # drawn
        """Forget a row, or one that is not the key's."""
        key = data.draw(st.sampled_from([*self.copies, KEYS[0]]))
        its = self.copies[key][1] if key in self.copies else None
        value = its if mine and its is not None else other
        self.cache.forget(key, value)
        if value == its:
            del self.copies[key]

    @invariant()
    def same(self) -> None:
        """The cache holds what the dictionary holds, in its order, within its bounds."""
        held = self.cache._copies
        assert [(k, (c[0], c[2])) for k, c in held.items()] == list(self.copies.items())
        assert all(1 / (1 - LEAST) <= c[1] <= 1 / (1 - MOST) for c in held.values())
        assert self.cache.bytes == self._bytes() <= self.cache.max_bytes
        assert len(self.cache) == len(self.copies) <= self.cache.max_entries
        assert repr(self.cache) == (
            f"RowCache({len(self.copies)} rows, {self._bytes()} bytes, {self.evictions} evicted)"
        )

    def _bytes(self) -> int:
        return sum(size_of(k, r) for k, (_, r) in self.copies.items())

    def _use(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            if key in self.copies:
                self.copies[key] = self.copies.pop(key)


TestCacheModel = CacheModel.TestCase
TestCacheModel.settings = settings(max_examples=30, stateful_step_count=25)


@given(
    st.lists(st.tuples(st.sampled_from(["keep", "look", "fresh"]), keys_of), max_size=40),
    st.integers(1, 6),
    st.booleans(),
)
@MANY
def test_eviction_is_that_of_cachetools(steps: list[tuple[str, list[bytes]]], bound: int, by_bytes: bool) -> None:  # noqa: FBT001  # drawn
    """Whatever is kept and looked up, the same keys stay as in an LRUCache, and would go in the same order."""
    rows = {key: bytes(37 * i) for i, key in enumerate(KEYS)}
    max_bytes = bound * size_of(KEYS[-1], rows[KEYS[-1]])
    cache = cache_of(BIG, max_bytes) if by_bytes else cache_of(bound)
    getsizeof: Callable[[bytes], int] = lambda key: size_of(key, rows[key]) if by_bytes else 1  # noqa: E731
    model: LRUCache[bytes, bytes] = LRUCache(max_bytes if by_bytes else bound, getsizeof)
    for name, keys in steps:
        if name == "keep":
            cache.keep(keys, [rows[k] for k in keys], 0.0)
            for key in keys:
                model[key] = key
        elif name == "look" or all(k in model for k in keys):
            found = cache.look(keys) if name == "look" else cache.fresh(keys, 1.0, 5.0)
            assert found is not None
            assert [f is not None for f in found] == [model.get(k) is not None for k in keys]
    assert list(cache._copies) == [model.popitem()[0] for _ in range(len(model))]


def test_a_row_larger_than_all_is_not_kept() -> None:
    """The bound on bytes holds, whatever comes; afterwards the cache works as ever."""
    cache = cache_of(max_bytes=1_000)
    cache.keep([A, B], [b"1", b"2"], 0.0)
    cache.keep([C], [bytes(2_000)], 0.0)
    assert (len(cache), cache.bytes, cache.evictions) == (0, 0, 3)
    cache.keep([A], [b"1"], 0.0)
    assert cache.fresh([A], 0.0, 1.0) == [b"1"]


def test_a_row_is_forgotten_for_what_it_is() -> None:
    """A corrupt row goes; one that has come in its place meanwhile, and a key without a copy, are left alone."""
    cache = cache_of()
    cache.keep([A, B], [b"bad", None], 0.0)
    cache.forget(A, b"worse")
    cache.forget(B, b"bad")
    cache.forget(C, b"bad")
    assert len(cache) == 2
    cache.forget(A, b"bad")
    assert cache.look([A, B])[0] is None
    assert (len(cache), cache.bytes) == (1, size_of(B, None))


def test_an_older_fetch_does_not_replace_a_newer_one() -> None:
    """Fetches may end in another order than they were sent in: the row of the later one stays."""
    cache = cache_of()
    cache.keep([A, B], [b"new", None], 2.0)
    cache.keep([A, B, C], [b"old", b"old", b"old"], 1.0)
    assert cache.fresh([A, B, C], 2.0, 5.0) == [b"new", None, b"old"]
    cache.keep([A], [b"newer"], 2.0)
    assert cache.fresh([A], 2.0, 5.0) == [b"newer"]


def test_copies_of_one_fetch_do_not_fall_due_together() -> None:
    """Each loses between 1 and 10 % of its lifetime, none gains any."""
    cache = cache_of(10_000)
    keys = [b"%d" % i for i in range(10_000)]
    cache.keep(keys, keys, 0.0)
    due = [sum(cache.fresh([k], now, 5.0) is None for k in keys) for now in (4.49, 4.6, 4.7, 4.8, 4.9, 4.951)]
    assert due[0] == 0
    assert due[-1] == 10_000
    assert all(1_500 < b - a < 3_000 for a, b in pairwise(due[:-1]))


def test_bytes_are_about_what_memory_it_takes() -> None:
    """The bound on bytes is one on the process: it counts within a fifth of what Python allocates."""
    cache = cache_of(BIG)
    tracemalloc.start()
    try:
        for i in range(500):
            keys = [b"fs:{user-%d-%d}:user:profile:v1" % (i, j) for j in range(100)]
            cache.keep(keys, [key * 5 for key in keys], float(i))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert cache.bytes * 0.8 < taken < cache.bytes * 1.2


class Clock:
    """Seconds that a test lets go by."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Fetches:
    """A Fetcher that takes ``takes_s``, gives rows by ``row``, and lets them land in the cache as a coalescer does."""

    def __init__(self, clock: Clock, cache: RowCache) -> None:
        self.clock = clock
        self.cache = cache
        self.asked: list[list[Wanted]] = []
        self.takes_s = 0.002
        self.row: Callable[[bytes], Row] = lambda key: key + b"@%.3f" % clock.now
        self.meanwhile: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return "Fetches()"

    async def fetch(self, wanted: Sequence[Wanted], until: float) -> list[Sequence[Row]]:
        """See Fetcher.fetch."""
        assert until > self.clock.now
        self.asked.append(list(wanted))
        sent_at = self.clock.now
        rows = [[self.row(k) for k in want.keys] for want in wanted]
        self.clock.now += self.takes_s
        self.meanwhile()
        for want, found in zip(wanted, rows, strict=True):
            if want.keep:
                self.cache.keep(want.keys, found, sent_at)
        return list(rows)

    def keys(self) -> list[list[list[bytes]]]:
        """Return the keys of each want of each call."""
        return [[list(want.keys) for want in call] for call in self.asked]


class Rig:
    """A CachingReader over Fetches."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cache = cache_of()
        self.fetches = Fetches(self.clock, self.cache)
        self.reader = CachingReader(self.cache, self.fetches, clock=self.clock)

    def __repr__(self) -> str:
        return repr(self.reader)

    async def read(self, *spans: Span, wait_s: float = 0.05) -> list[ViewRows]:
        """Read spans."""
        return await self.reader.read(spans, self.clock.now, self.clock.now + wait_s)

    async def fill(self, *keys: bytes, ago_s: float = 0.0) -> None:
        """Have copies of keys in the cache that were fetched ``ago_s`` seconds ago."""
        self.clock.now -= ago_s
        await self.read(span(*keys))
        self.clock.now += ago_s - self.fetches.takes_s
        self.fetches.asked.clear()


def span(*keys: bytes, lifetime_s: float = 5.0, kept: bool = True) -> Span:
    """Return a span of keys."""
    return Span(keys, ViewPolicy(lifetime_s, 300.0, kept))


def sources(found: ViewRows) -> list[Source]:
    """Return the source of each row."""
    n = len(found.rows)
    return [Source(s) for s in np.broadcast_to(np.asarray(found.sources), n).tolist()]


async def test_what_was_fetched_is_a_hit() -> None:
    """Fresh copies of all keys answer without a fetch, rows that there are not among them."""
    rig = Rig()
    rig.fetches.row = {A: b"1", B: None}.__getitem__
    (read,) = await rig.read(span(A, B))
    assert (read.rows, read.sources, read.reasons, read.stale_micros) == ([b"1", None], Source.STORE, (), None)
    for _ in range(2):
        hit = rig.reader.hit([span(B, A), span(A)], rig.clock.now)
        assert hit is not None
        assert [(f.rows, f.sources) for f in hit] == [([None, b"1"], Source.CACHE), ([b"1"], Source.CACHE)]
    assert rig.fetches.keys() == [[[A, B]]]
    size = size_of(A, b"1") + size_of(B, None)
    assert repr(rig) == f"CachingReader(RowCache(2 rows, {size} bytes, 0 evicted), 6 hits, 2 misses, Fetches())"


async def test_one_that_is_missing_is_no_hit() -> None:
    """A key without a copy, a copy that is too old, a lifetime of 0: each alone is no hit, and counts as none."""
    rig = Rig()
    await rig.fill(A, ago_s=10.0)
    await rig.fill(B)
    assert rig.reader.hit([span(B)], rig.clock.now) is not None
    for spans in ([span(B), span(C)], [span(B, A)], [span(B, lifetime_s=0.0)], [span(B), span(B, lifetime_s=0.001)]):
        assert rig.reader.hit(spans, rig.clock.now + 0.001) is None
    assert rig.reader.hits == 1
    assert rig.reader.hit([], rig.clock.now) == []


async def test_only_what_is_missing_is_fetched() -> None:
    """Rows come in the order asked, each with its own source; what was fetched counts as a miss, the rest as hits."""
    rig = Rig()
    await rig.fill(A, C)
    first, second = await rig.read(span(A, B, C), span(D))
    assert rig.fetches.keys() == [[[B, D]]]
    assert [r[:1] for r in first.rows if isinstance(r, bytes)] == [A, B, C]
    assert sources(first) == [Source.CACHE, Source.STORE, Source.CACHE]
    assert (sources(second), second.sources) == ([Source.STORE], Source.STORE)
    assert (rig.reader.hits, rig.reader.misses) == (2, 4)
    (whole,) = await rig.read(span(A, D))
    assert (sources(whole), len(rig.fetches.asked)) == ([Source.CACHE] * 2, 1)


async def test_views_without_keys_are_read_at_once() -> None:
    """No rows wanted are no rows read."""
    rig = Rig()
    found = await rig.read(span(), span(lifetime_s=0.0))
    assert [f.rows for f in found] == [[], []]
    assert rig.fetches.asked == []


async def test_views_of_one_kind_are_fetched_together() -> None:
    """Keys of all views that may come from the same fetches are one want; others have their own."""
    rig = Rig()
    spans = [span(A), span(B, lifetime_s=0.0), span(C), span(D, kept=False)]
    found = await rig.read(*spans)
    came = rig.clock.now - rig.fetches.takes_s
    assert rig.fetches.keys() == [[[A, C], [B], [D]]]
    assert [want.since for want in rig.fetches.asked[0]] == pytest.approx([came + 0.05 - 5.0, came, came + 0.05 - 5.0])
    assert [want.keep for want in rig.fetches.asked[0]] == [True, True, False]
    assert [r[:1] for f in found for r in f.rows if isinstance(r, bytes)] == [A, B, C, D]


async def test_no_copy_is_used_where_none_may_be() -> None:
    """A lifetime of 0 reads the store each time, with a fetch sent after the call came, and refreshes the cache."""
    rig = Rig()
    await rig.fill(A)
    rig.clock.now += 1
    came = rig.clock.now
    (found,) = await rig.read(span(A, lifetime_s=0.0))
    assert rig.fetches.asked[0][0].since == came
    assert (found.rows, found.sources) == ([A + b"@%.3f" % came], Source.STORE)
    hit = rig.reader.hit([span(A)], rig.clock.now)
    assert hit is not None
    assert hit[0].rows == found.rows


async def test_a_short_lifetime_joins_no_old_flight() -> None:
    """Only fetches that cannot get too old before the answer will do: the deadline less the lifetime."""
    rig = Rig()
    came = rig.clock.now
    await rig.read(span(A, lifetime_s=0.03), wait_s=0.05)
    await rig.read(span(B, lifetime_s=0.2), wait_s=0.05)
    assert [want.since for (want,) in rig.fetches.asked] == [came, pytest.approx(came + 0.002 + 0.05 - 0.2)]


async def test_copies_that_would_expire_while_others_are_awaited_are_fetched() -> None:
    """A copy is judged at the time of the answer: one that is fresh only until then is read afresh with the others."""
    rig = Rig()
    await rig.fill(A, ago_s=4.47)
    assert rig.reader.hit([span(A)], rig.clock.now) is not None
    await rig.read(span(A, B), wait_s=0.5)
    assert rig.fetches.keys() == [[[A, B]]]


async def test_late_answers_have_no_copies_that_expired() -> None:
    """Where the answer comes after its time, copies that were to be fresh until then are judged again."""
    rig = Rig()
    await rig.fill(A, B, ago_s=4.0)
    rig.fetches.takes_s = 0.9
    rig.fetches.meanwhile = lambda: rig.cache.keep([B], [b"fresh"], rig.clock.now - 0.1)
    (found,) = await rig.read(span(A, B, C), wait_s=0.05)
    assert found.rows[:2] == [UNREAD, b"fresh"]
    assert sources(found)[1:] == [Source.CACHE, Source.STORE]
    assert found.reasons == (Degraded.STORE_UNAVAILABLE,)


async def test_late_answers_of_hits_alone_are_judged_again() -> None:
    """Also where nothing had to be fetched for a view, but another view's rows were awaited for too long."""
    rig = Rig()
    await rig.fill(A, B, ago_s=4.0)
    rig.fetches.takes_s = 0.9
    hits, misses = await rig.read(span(A, B), span(C), wait_s=0.05)
    assert hits.rows == [UNREAD] * 2
    assert hits.reasons == (Degraded.STORE_UNAVAILABLE,)
    assert (misses.sources, misses.reasons) == (Source.STORE, ())
    rig.fetches.takes_s = 0.2
    await rig.fill(A, B)
    hits, _ = await rig.read(span(A, B), span(D), wait_s=0.05)
    assert (hits.sources, hits.reasons) == (Source.CACHE, ())


async def test_what_came_meanwhile_stands_in_while_it_is_fresh() -> None:
    """A row that was not fetched in time, but of which another call has brought a copy, is a hit and no failure."""
    rig = Rig()
    rig.fetches.row = lambda key: UNREAD if key in (A, B) else key
    rig.fetches.meanwhile = lambda: rig.cache.keep([A], [b"copy"], rig.clock.now)
    (found,) = await rig.read(span(A, C))
    assert (found.rows, sources(found), found.reasons) == ([b"copy", C], [Source.CACHE, Source.STORE], ())
    (uncached,) = await rig.read(span(A, B, lifetime_s=0.0))
    assert (uncached.rows, uncached.reasons) == ([UNREAD] * 2, (Degraded.STORE_UNAVAILABLE,))


async def test_each_reason_is_told_once() -> None:
    """Why rows are Unread is said of the view, by reason and in their order."""
    rig = Rig()
    why: dict[bytes, Row] = {A: Unread.REFUSED, B: Unread.NO_ANSWER, C: Unread.REFUSED, D: b"row"}
    rig.fetches.row = why.__getitem__
    first, second = await rig.read(span(A, B, C, D), span(D))
    assert first.rows == list(why.values())
    assert first.reasons == (Degraded.STORE_UNAVAILABLE, Degraded.CIRCUIT_OPEN)
    assert second.reasons == ()
    assert len(rig.cache) == 1
    assert (rig.reader.hits, rig.reader.misses) == (0, 5)


async def test_rows_of_a_call_are_its_own() -> None:
    """What a stage does with the rows that it was given reaches neither the cache nor the fetcher's lists."""
    rig = Rig()
    given = [b"1", b"2"]

    async def fetch(wanted: Sequence[Wanted], until: float) -> list[Sequence[Row]]:
        return [given]

    rig.fetches.fetch = fetch  # type: ignore[method-assign]
    (found,) = await rig.read(span(A, B))
    found.rows[0] = None
    assert given == [b"1", b"2"]
