"""Where the store cannot be read a copy stands in, with its age and within bounds; else nothing does."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from recsvc.online.answer import UNREAD, Degraded, Row, Source, Unread
from recsvc.online.cache import CachingReader, RowCache
from recsvc.online.fallback import FallbackReader
from recsvc.online.policy import ViewPolicy
from recsvc.online.reader import Span, ViewRows, Wanted

A, B, C, D = b"a", b"b", b"c", b"d"
POLICY = ViewPolicy(5.0, 300.0)


class Rig:
    """A FallbackReader whose store answers ``rows`` (Unread where it says nothing), and a clock."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.rows: dict[bytes, Row] = {}
        self.cache = RowCache(max_entries=100, max_bytes=10**6, rng=random.Random(1))
        caching = CachingReader(self.cache, self, clock=lambda: self.now)
        self.reader = FallbackReader(caching, self.cache, clock=lambda: self.now)

    def __repr__(self) -> str:
        return "Rig()"

    async def fetch(self, wanted: Sequence[Wanted], until: float) -> list[Sequence[Row]]:
        """See Fetcher.fetch."""
        assert until >= self.now
        return [[self.rows.get(k, UNREAD) for k in want.keys] for want in wanted]

    def keep(self, age_s: float, **rows: bytes | None) -> None:
        """Keep copies that were sent for ``age_s`` seconds ago."""
        self.cache.keep([k.encode() for k in rows], list(rows.values()), self.now - age_s)

    async def read(self, *keys: bytes, policy: ViewPolicy = POLICY) -> ViewRows:
        """Read keys of one view."""
        (found,) = await self.reader.read([Span(keys, policy)], self.now, self.now)
        return found


def sources(found: ViewRows) -> list[Source]:
    """Return the source of each row."""
    return [Source(s) for s in np.broadcast_to(np.asarray(found.sources), len(found.rows)).tolist()]


def ages(found: ViewRows) -> list[int]:
    """Return the ages of stale copies, µs."""
    assert found.stale_micros is not None
    assert found.stale_micros.dtype == np.int64
    return list(found.stale_micros.tolist())


async def test_stale_copies_stand_in_with_their_age() -> None:
    """Each row says for itself where it is from; the reason stays, and rows without a copy stay Unread."""
    rig = Rig()
    rig.keep(60.0, a=b"old a", c=None)
    rig.keep(1.5, d=b"new d")
    rig.rows = {B: b"b"}
    found = await rig.read(A, B, C, D, b"e")
    assert found.rows == [b"old a", b"b", None, b"new d", UNREAD]
    assert sources(found)[:4] == [Source.STALE_CACHE, Source.STORE, Source.STALE_CACHE, Source.CACHE]
    assert ages(found) == [60_000_000, 0, 60_000_000, 0, 0]
    assert found.reasons == (Degraded.STORE_UNAVAILABLE,)
    assert repr(rig.reader).startswith("FallbackReader(2 stale, 3 unread, CachingReader(")


async def test_where_all_is_well_nothing_is_said() -> None:
    """Rows that were read, and hits, pass through as they are."""
    rig = Rig()
    rig.rows = {A: b"a"}
    rig.keep(60.0, a=b"old")
    rig.keep(1.0, b=b"b")
    found = await rig.read(A, B)
    assert (found.rows, found.stale_micros, found.reasons) == ([b"a", b"b"], None, ())
    hit = rig.reader.hit([Span([B], POLICY)], rig.now)
    assert hit is not None
    assert (hit[0].rows, hit[0].sources) == ([b"b"], Source.CACHE)
    assert rig.reader.hit([Span([A], POLICY)], rig.now) is None
    assert repr(rig.reader).startswith("FallbackReader(0 stale, 0 unread,")


async def test_without_copies_rows_stay_unread() -> None:
    """Nothing kept is nothing that stands in: no ages, and the reasons as they were."""
    rig = Rig()
    rig.rows = {A: Unread.SATURATED, B: Unread.REFUSED}
    found = await rig.read(A, B)
    assert (found.rows, found.stale_micros) == ([Unread.SATURATED, Unread.REFUSED], None)
    assert found.reasons == (Degraded.SATURATED, Degraded.CIRCUIT_OPEN)


@pytest.mark.parametrize(
    ("age_s", "policy", "stands_in"),
    [
        (299.9, POLICY, True),
        (300.1, POLICY, False),
        (10.0, ViewPolicy(5.0, 9.9), False),
        (10.0, ViewPolicy(5.0, 0.0), False),
        (10.0, ViewPolicy(0.0, 300.0), True),
        (10.0, POLICY.within(10.1), True),
        (10.0, POLICY.within(9.9), False),
        (0.001, POLICY.within(0.0), False),
        (0.0, POLICY.within(0.0), False),
    ],
)
async def test_no_copy_stands_in_that_is_too_old(age_s: float, policy: ViewPolicy, stands_in: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """Neither one older than the view allows, nor one older than the call does."""
    rig = Rig()
    rig.keep(age_s, a=b"copy")
    found = await rig.read(A, policy=policy)
    if stands_in:
        assert (found.rows, sources(found)) == ([b"copy"], [Source.STALE_CACHE])
        assert ages(found) == [pytest.approx(age_s * 1e6, abs=1)]
    else:
        assert (found.rows, found.stale_micros) == ([UNREAD], None)


async def test_a_copy_of_no_age_is_still_said_to_be_one() -> None:
    """The age of a row that stands in is never 0, which means that it is none."""
    rig = Rig()
    rig.keep(0.0, a=b"copy")
    found = await rig.read(A, policy=ViewPolicy(0.0, 300.0))
    assert ages(found) == [1]


async def test_each_view_has_its_own_bounds() -> None:
    """What stands in for one view's rows says nothing of another's."""
    rig = Rig()
    rig.keep(10.0, a=b"1", b=b"2", c=b"3")
    spans = [Span([A], POLICY), Span([B], ViewPolicy(5.0, 5.0)), Span([C], ViewPolicy(60.0, 60.0))]
    strict = await rig.reader.read(spans, rig.now, rig.now)
    assert [f.rows for f in strict] == [[b"1"], [UNREAD], [b"3"]]
    assert [f.stale_micros is None for f in strict] == [False, True, True]
    assert [f.reasons for f in strict] == [(Degraded.STORE_UNAVAILABLE,)] * 2 + [()]
