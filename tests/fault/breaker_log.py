"""Reads the changes of circuit breakers off the server's log lines, which is how an operator learns of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

CHANGE: Final = re.compile(r"breaker of redis (\S*): ([\w-]+) -> ([\w-]+) \((.*)\)")
CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half-open"
_LEGAL: Final = {(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, OPEN), (HALF_OPEN, CLOSED)}


class Change(NamedTuple):
    """A breaker's change; ``node`` is HOST:PORT."""

    node: str
    before: str
    after: str
    why: str


def changes(lines: Iterable[str]) -> list[Change]:
    """Return the changes that log lines tell of, in order."""
    return [Change(*found.groups()) for line in lines if (found := CHANGE.search(line))]


def illegal(found: Sequence[Change]) -> list[str]:
    """Return what is wrong with the order in which each breaker changed; it begins closed."""
    wrong = [f"{c} is no step of a breaker" for c in found if (c.before, c.after) not in _LEGAL]
    for node in {c.node for c in found}:
        steps = [c for c in found if c.node == node]
        if steps[0].before != CLOSED:
            wrong.append(f"{steps[0]} comes first")
        wrong += [f"{later} after {earlier}" for earlier, later in pairwise(steps) if earlier.after != later.before]
    return wrong
