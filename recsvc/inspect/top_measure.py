"""Works the figures of the live view out of the rates of the servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeVar

from recsvc.inspect.page_rates import Rates
from recsvc.inspect.page_series import Spread
from recsvc.inspect.top_figures import (
    Cache,
    Figures,
    HopTime,
    Method,
    Node,
    Number,
    Process,
    Slates,
    Store,
    View,
)
from recsvc.telemetry import metrics as m
from recsvc.telemetry import names
from recsvc.telemetry.calls import ERRORS, OK

MEDIAN: Final = 0.5
TAIL: Final = 0.99
NO_SPREAD: Final = Spread({}, 0.0)
UNAVAILABLE: Final = "UNAVAILABLE"
"""The status of rows that could not be read, and of nothing else."""


def figures_of(rates: Rates) -> Figures:
    """Return all figures."""
    calls = rates.spread(m.CALL_DURATION)
    return Figures(
        calls_per_s=None if calls is None else calls.total,
        rows_per_s=rates.growth(m.ROWS_SERVED),
        methods=_methods(rates),
        statuses=_statuses(rates),
        degraded=_degraded(rates),
        hops=_hops(rates, calls),
        store=_store(rates),
        cache=_cache(rates),
        nodes=_nodes(rates),
        views=_views(rates),
        slates=_slates(rates),
        process=_process(rates),
    )


def part(of: Number, whole: Number) -> Number:
    """Return which share one number is of another; None where there is nothing to share."""
    return None if of is None or not whole else of / whole


def _methods(rates: Rates) -> Sequence[Method]:
    by_code = rates.spread_by(m.CALL_DURATION, names.RPC_METHOD, names.RPC_STATUS)
    found = []
    for (method,), spread in rates.spread_by(m.CALL_DURATION, names.RPC_METHOD).items():
        failed = sum(one.total for (of, code), one in by_code.items() if of == method and code in ERRORS)
        name = method.rpartition("/")[2]
        p50, p99 = spread.quantile(MEDIAN), spread.quantile(TAIL)
        found.append(Method(name, spread.total, p50, p99, part(failed, spread.total)))
    return _busiest(found)


def _statuses(rates: Rates) -> Mapping[str, float]:
    """Return the share of calls that each status had that is not OK, the commonest first."""
    spreads = rates.spread_by(m.CALL_DURATION, names.RPC_STATUS)
    everything = sum(spread.total for spread in spreads.values())
    shares = {code: spread.total / everything for (code,), spread in spreads.items() if code != OK and spread.total}
    return dict(sorted(shares.items(), key=lambda found: -found[1]))


def _degraded(rates: Rates) -> Mapping[str, float]:
    """Return degraded answers a second by reason, the commonest first."""
    found = {reason: per_s for (reason,), per_s in rates.growth_by(m.DEGRADED, names.REASON).items() if per_s}
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _hops(rates: Rates, calls: Spread | None) -> Sequence[HopTime]:
    """Return the hops, those that take most of the calls' time first."""
    found = [
        HopTime(
            name,
            spread.total,
            spread.quantile(MEDIAN),
            spread.quantile(TAIL),
            spread.sum,
            part(spread.sum, None if calls is None else calls.sum),
        )
        for (name,), spread in rates.spread_by(m.HOP_DURATION, names.HOP).items()
    ]
    return sorted(found, key=lambda hop: (-hop.busy, hop.name))


def _store(rates: Rates) -> Store:
    commands = rates.spread(m.DB_DURATION)
    by_error = rates.spread_by(m.DB_DURATION, names.ERROR_TYPE)
    failed = sum(spread.total for (error,), spread in by_error.items() if error)
    fetches, crowds = rates.spread(m.FETCH_KEYS), rates.spread(m.FETCH_CALLERS)
    seen = commands or NO_SPREAD
    return Store(
        per_s=None if commands is None else commands.total,
        p50_s=seen.quantile(MEDIAN),
        p99_s=seen.quantile(TAIL),
        failed=part(failed, seen.total),
        keys=(fetches or NO_SPREAD).mean,
        callers=(crowds or NO_SPREAD).mean,
        waiting=rates.level(m.FETCH_WAITING),
        shed_per_s=rates.growth(m.FETCH_SHED),
    )


def _cache(rates: Rates) -> Cache:
    lookups = rates.growth_by(m.CACHE_LOOKUPS, names.RESULT)
    # A stale copy stands in for a row that was missed first, so it is no lookup of its own.
    looked_up = lookups.get(("hit",), 0.0) + lookups.get(("miss",), 0.0)
    return Cache(
        per_s=looked_up if lookups else None,
        hit=part(lookups.get(("hit",)), looked_up),
        stale=part(lookups.get(("stale",)), looked_up),
        rows=rates.level(m.CACHE_ROWS),
        bytes=rates.level(m.CACHE_BYTES),
        dropped_per_s=rates.growth(m.CACHE_EVICTIONS),
    )


def _nodes(rates: Rates) -> Sequence[Node]:
    breakers = rates.level_by(m.BREAKER_STATE, names.NODE)
    changes = rates.level_by(m.BREAKER_CHANGES, names.NODE)
    themselves = rates.level_by(m.REDIS_MEMORY, names.NODE)
    alone = len(breakers) == len(themselves) == 1  # a single server does not say by which name others know it
    found = []
    for node, state in breakers.items():
        itself = next(iter(themselves)) if alone else node
        changed = changes.get(node, 0.0 if m.BREAKER_CHANGES in rates.now else None)
        found.append(_node(rates, node[0], itself[0], state, changed))
    others = [] if alone else [_node(rates, node[0], node[0]) for node in themselves if node not in breakers]
    return sorted([*found, *others], key=lambda node: (-(node.breaker or 0.0), node.name))


def _node(rates: Rates, name: str, itself: str, state: Number = None, changes: Number = None) -> Node:
    """Return what is known of a node, which calls itself as ``itself`` says."""
    lookups = rates.growth_by(m.REDIS_LOOKUPS, names.NODE, names.RESULT)
    hits, misses = (lookups.get((itself, result)) for result in ("hit", "miss"))
    return Node(
        name,
        state,
        changes,
        memory=rates.level_by(m.REDIS_MEMORY, names.NODE).get((itself,)),
        limit=rates.level_by(m.REDIS_MAX_MEMORY, names.NODE).get((itself,)) or None,
        evicted_per_s=rates.growth_by(m.REDIS_EVICTED, names.NODE).get((itself,)),
        hit=part(hits, (hits or 0.0) + (misses or 0.0)),
    )


def _views(rates: Rates) -> Sequence[View]:
    """Return the views, those first that have most defaults more than they usually have."""
    served = rates.growth_by(m.ROWS_SERVED, names.VIEW)
    found = [_view(rates, view, per_s) for (view,), per_s in served.items() if per_s]
    return sorted(found, key=lambda view: (-_unusual(view), -(view.stale or 0.0), -(view.defaults or 0.0), -view.per_s))


def _unusual(view: View) -> float:
    return max(view.unavailable or 0.0, (view.defaults or 0.0) - (view.usual or 0.0))


def _view(rates: Rates, view: str, per_s: float) -> View:
    defaulted = {
        status: count
        for (of, status), count in rates.growth_by(m.ROWS_DEFAULTED, names.VIEW, names.STATUS).items()
        if of == view and count
    }
    known = m.ROWS_DEFAULTED in rates.now
    began = rates.level_by(m.ROWS_DEFAULTED, names.VIEW).get((view,), 0.0) if known else None
    ages = rates.spread_by(m.ROW_AGE, names.VIEW).get((view,), NO_SPREAD)
    return View(
        view,
        per_s,
        defaults=part(sum(defaulted.values()), per_s) if known else None,
        usual=part(began, rates.level_by(m.ROWS_SERVED, names.VIEW).get((view,))),
        unavailable=part(defaulted.get(UNAVAILABLE, 0.0), per_s) if known else None,
        why=max(defaulted, key=lambda status: defaulted[status], default=""),
        stale=part(rates.growth_by(m.ROWS_STALE, names.VIEW).get((view,)), per_s),
        age_s=ages.quantile(MEDIAN),
        freshness_s=rates.level_by(m.FRESHNESS, names.VIEW).get((view,)),
        late=part(rates.growth_by(m.ROWS_LATE, names.VIEW).get((view,)), ages.total),
    )


def _slates(rates: Rates) -> Sequence[Slates]:
    items = rates.spread_by(m.SLATE_ITEMS, names.PLACEMENT)
    candidates = rates.spread_by(m.CANDIDATES, names.PLACEMENT)
    short = rates.growth_by(m.SLATE_SHORT, names.PLACEMENT)
    quality = rates.level_by(m.QUALITY, names.PLACEMENT)
    ranks = rates.spread_by(m.RANK_DURATION, names.PLACEMENT)
    known = 0.0 if m.SLATE_SHORT in rates.per_s else None
    return _busiest(
        [
            Slates(
                key[0],
                spread.total,
                spread.mean,
                part(candidates.get(key, NO_SPREAD).sum, spread.total),
                part(short.get(key, known), spread.total),
                part(spread.counts.get(0.0, 0.0), spread.total),
                quality.get(key),
                ranks.get(key, NO_SPREAD).quantile(TAIL),
            )
            for key, spread in items.items()
        ]
    )


def _process(rates: Rates) -> Process:
    lag, spans = rates.spread(m.LOOP_LAG), rates.growth_by(m.SPANS, names.RESULT)
    connections = rates.level_by(m.CONNECTIONS, names.POOL_STATE)
    return Process(
        active=rates.level(m.CALLS_ACTIVE),
        lag_p99_s=None if lag is None else lag.quantile(TAIL),
        used=connections.get(("used",)),
        idle=connections.get(("idle",)),
        spans_per_s=spans.get(("exported",)),
        spans_dropped_per_s=spans.get(("dropped",)),
        spans_failed_per_s=spans.get(("failed",)),
    )


class _Busy(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def per_s(self) -> float: ...


_B = TypeVar("_B", bound=_Busy)


def _busiest(found: Sequence[_B]) -> Sequence[_B]:
    return sorted(found, key=lambda one: (-one.per_s, one.name))
