"""Mistakes in what holds rows or passes them on: cache, fallback, by_node, and the chain itself."""

from __future__ import annotations

from typing import Final

from tests.simulation.findings import Invariant
from tests.simulation.mutant import Mutant

IN_ROWS: Final = (
    Mutant(
        "copies stored under the wrong keys",
        "cache:RowCache.keep",
        "zip(keys, zip(",
        "zip(reversed(keys), zip(",
        Invariant.OWN,
    ),
    Mutant(
        "copies stored under the wrong keys, one by one",
        "cache:RowCache._keep_each",
        "zip(keys, rows,",
        "zip(reversed(keys), rows,",
        Invariant.OWN,
    ),
    Mutant(
        "the size of a replaced copy counted twice",
        "cache:RowCache._keep_each",
        "added -= _size(key, old[2])",
        "pass",
        Invariant.BOUNDED,
    ),
    Mutant(
        "no bound on copies",
        "cache:RowCache.keep",
        "len(copies) > self.max_entries",
        "False",
        Invariant.BOUNDED,
    ),
    Mutant(
        "no bound on bytes of copies",
        "cache:RowCache.keep",
        "self.bytes > self.max_bytes",
        "False",
        Invariant.BOUNDED,
    ),
    Mutant(
        "a hit of any age",
        "cache:RowCache.fresh",
        "(now - sent_at) * pace >= lifetime_s",
        "False",
        Invariant.FRESH,
    ),
    Mutant(
        "fresh at the time of the look",
        "cache:CachingReader.read",
        "_Lookup(span, self._cache, until)",
        "_Lookup(span, self._cache, came)",
        Invariant.REASONS,  # what would be past its lifetime is dropped again when the answer goes out
    ),
    Mutant(
        "fresh by the deadline, answered later",
        "cache:_Lookup.found",
        "if now > self.until:",
        "if False:",
        Invariant.FRESH,
    ),
    Mutant(
        "any flight will do",
        "cache:_wanted",
        "min(came, until - lookup.span.policy.lifetime_s)",
        "-1.0",
        Invariant.SINCE,
    ),
    Mutant(
        "what is read past the cache is not kept",
        "cache:_wanted",
        "(since, lookup.span.policy.kept)",
        "(since, lookup.span.policy.lifetime_s > 0)",
        Invariant.KEPT,
    ),
    Mutant(
        "sources mixed up",
        "cache:_Lookup._sources",
        "sources[self.missing] = Source.STORE",
        "pass",
        Invariant.TOLD,
    ),
    Mutant(
        "stale copies of any age",
        "fallback:FallbackReader._stand_in",
        "now - copy[0] < span.policy.stale_s",
        "True",
        Invariant.STALE,
    ),
    Mutant(
        "the age of a stale copy in milliseconds",
        "fallback:FallbackReader._stand_in",
        "* 1e6",
        "* 1e3",
        Invariant.STALE,
    ),
    Mutant(
        "rows of a node in each other's places",
        "by_node:ByNode._fetch_all",
        "found[index][place] = row",
        "found[index][-1 - place] = row",
        Invariant.OWN,
    ),
    Mutant(
        "calls that go early stay counted at later nodes",
        "by_node:ByNode._fetch_all",
        "lane.leave(call)",
        "call.expire()",
        Invariant.ENDS,
    ),
    Mutant(
        "callers wait as long as they have time",
        "chain:ReadChain.read",
        "min(until, latest)",
        "until",
        Invariant.ANSWERED,
    ),
)
