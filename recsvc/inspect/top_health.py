"""Says whether servers are healthy, and if not, why: the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import chain
from typing import Final, NamedTuple

from recsvc.inspect.top_figures import Figures, Number
from recsvc.inspect.top_measure import part
from recsvc.inspect.top_watch import Sight
from recsvc.telemetry import metrics as m
from recsvc.telemetry.names import OTHER_METHOD

Limits = tuple[float, float]
"""Above the first it is worth a look, from the second on somebody has to act. Of what there is an alert of in deploy/
it is the same: a warning's threshold is the first, a critical one's the second."""

FAILED: Final = (0.001, 0.01)
"""Share of calls that fail for a reason of ours: what an availability of 99.9 % leaves, and ten times that."""
SLOW_S: Final = (0.1, 0.5)
"""p99 of a method: after so long a call leaves a late span, and the deadline of those that come without one."""
LAG_S: Final = (0.05, 0.1)
"""p99 of the event loop's lag, which every call pays: half of what a call may take, and all of it."""
UNAVAILABLE: Final = (0.001, 0.01)
"""Share of a view's rows that could not be read; as of calls that fail."""
DEFAULTS_UP: Final = (0.1, 0.25)
"""By how much a view has more defaults than usual; some always have many, such as those of user x item."""
DEGRADED: Final = (0.05, 0.25)
"""Answers a call in which something did not work, by reason: callers have one, but not the best."""
SHED: Final = (0.0, 0.01)
"""Rows not asked for because too much waits, of those served: any is too much load, 1 % is what users see."""
MEMORY: Final = (0.9, 0.95)
"""Of Redis' limit: time to add some before it evicts, and hardly any left."""
SHORT: Final = (0.1, 0.25)
"""Share of slates with fewer items than asked for: filters can be strict, but seldom that strict."""
EMPTY: Final = (0.001, 0.01)
"""Share of slates without any item, which are holes in a page."""
QUALITY: Final = 0.9
"""Part of the candidates that slates look for: it goes up and down a little with the load, and a tenth can be felt."""
LATE: Final = 0.5
"""Share of a view's rows that have missed an update: some entities always do, but not half of them."""


class Level(IntEnum):
    """How bad it is."""

    HEALTHY = 0
    DEGRADED = 1
    UNHEALTHY = 2


class Finding(NamedTuple):
    """Something that is not as it should be: ``where`` is the row of the view that shows it."""

    level: Level
    text: str
    where: str = ""


def findings(figures: Figures, sight: Sight) -> Sequence[Finding]:
    """Return all that is not as it should be, the worst first."""
    rules = (_pages(sight), _nodes(figures), _calls(figures), _views(figures), _load(figures), _slates(figures))
    return sorted(chain.from_iterable(rules), key=lambda finding: -finding.level)


def _pages(sight: Sight) -> Iterator[Finding]:
    level = Level.DEGRADED if sight.answering else Level.UNHEALTHY
    for address, problem in sight.silent.items():
        yield Finding(level, f"page {address}: {problem}", address.name)


def _nodes(figures: Figures) -> Iterator[Finding]:
    for node in figures.nodes:
        if node.breaker:
            open_ = node.breaker > 1
            state = "open" if open_ else "half-open"
            yield Finding(Level.UNHEALTHY if open_ else Level.DEGRADED, f"breaker of {node.name} is {state}", node.name)
        if node.evicted_per_s:
            text = f"{node.name} evicts {node.evicted_per_s:,.1f} keys/s for want of memory"
            yield Finding(Level.UNHEALTHY, text, node.name)
        used = part(node.memory, node.limit)
        yield from _over(used, MEMORY, f"{node.name} uses {percent(used)} of its memory", node.name)


def _calls(figures: Figures) -> Iterator[Finding]:
    known = [method for method in figures.methods if method.name != OTHER_METHOD]
    for method in known:
        yield from _over(method.failed, FAILED, f"{percent(method.failed)} of {method.name} fail", method.name)
        yield from _over(method.p99_s, SLOW_S, f"p99 of {method.name} is {_ms(method.p99_s)}", method.name)
    for reason, per_s in figures.degraded.items():
        share = part(per_s, sum(method.per_s for method in known))
        yield from _over(share, DEGRADED, f"{percent(share)} of answers are degraded: {reason}")


def _views(figures: Figures) -> Iterator[Finding]:
    for view in figures.views:
        text = f"{percent(view.unavailable)} of {view.name} could not be read"
        unread = [*_over(view.unavailable, UNAVAILABLE, text, view.name)]
        yield from unread
        more = None if view.defaults is None or view.usual is None else view.defaults - view.usual
        if not unread:
            text = f"{percent(view.defaults)} of {view.name} are defaults, usually {percent(view.usual)}: {view.why}"
            yield from _over(more, DEFAULTS_UP, text, view.name)
        if view.late is not None and view.late > LATE:
            text = f"{percent(view.late)} of rows of {view.name} are over {m.LATE:g} times as old as promised"
            yield Finding(Level.DEGRADED, text, view.name)


def _load(figures: Figures) -> Iterator[Finding]:
    lag, store = figures.process.lag_p99_s, figures.store
    yield from _over(lag, LAG_S, f"p99 of the event loop's lag is {_ms(lag)}")
    if store.shed_per_s:
        share = part(store.shed_per_s, figures.rows_per_s)
        text = f"{store.shed_per_s:,.1f} rows/s are shed: too much waits for the store"
        yield from _over(1.0 if share is None else share, SHED, text)


def _slates(figures: Figures) -> Iterator[Finding]:
    for one in figures.slates:
        empty = [*_over(one.empty, EMPTY, f"{percent(one.empty)} of slates of {one.name} are empty", one.name)]
        yield from empty or _over(one.short, SHORT, f"{percent(one.short)} of slates of {one.name} are short", one.name)
        if one.quality is not None and one.quality < QUALITY:
            text = f"slates of {one.name} look for {percent(one.quality)} of the candidates: too slow for more"
            yield Finding(Level.DEGRADED, text, one.name)


def _over(value: Number, limits: Limits, text: str, where: str = "") -> Iterator[Finding]:
    """Yield the finding where ``value`` is over the limits."""
    if value is not None and value > limits[0]:
        yield Finding(Level.UNHEALTHY if value >= limits[1] else Level.DEGRADED, text, where)


def percent(share: Number) -> str:
    """Return a share for a sentence."""
    return "-" if share is None else f"{share * 100:.2g} %" if share < 1 else "100 %"


def _ms(seconds: Number) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:,.0f} ms"
