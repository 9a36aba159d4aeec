"""Looks at pages again and again, and keeps what they said of late: what is shown is what happened within seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from recsvc.inspect.page_fetch import Answer, PageAddress, Pages
from recsvc.inspect.page_rates import Rates, between, total
from recsvc.inspect.page_series import Page

SPAN_S: Final = 10.0
"""A p99 of one second is noise where there are few calls, and servers ask Redis itself only so often."""
LATE: Final = "no answer yet"


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen at one look: what all servers that answer do, over how many seconds (0: there is one reading).

    ``silent``: why the other pages cannot be read.
    """

    rates: Rates
    seconds: float
    answering: int
    silent: Mapping[PageAddress, str]


class Watch:
    """Readings of pages of the last ``span_s``, at least two of each page."""

    def __init__(self, pages: Pages, *, span_s: float = SPAN_S) -> None:
        self._pages = pages
        self._span_s = span_s
        self._kept: dict[PageAddress, deque[tuple[float, Page]]] = {address: deque() for address in pages.addresses}

    def __repr__(self) -> str:
        return f"Watch({self._pages!r}, {sum(map(len, self._kept.values()))} readings)"

    def look(self) -> Sight:
        """Read all pages once more and say what happened since the first reading that is kept."""
        silent: dict[PageAddress, str] = {}
        for address, answer in zip(self._pages.addresses, self._pages.look(), strict=True):
            problem = LATE if answer is None else self._keep(address, answer)
            if problem:
                silent[address] = problem
        heard = [kept for address, kept in self._kept.items() if kept and address not in silent]
        spans = [kept[-1][0] - kept[0][0] for kept in heard]
        rates = [_rates(kept) for kept in heard]
        return Sight(total(rates), max(spans, default=0.0), len(heard), silent)

    def _keep(self, address: PageAddress, answer: Answer) -> str:
        """Keep a reading and let old ones go; return what is wrong."""
        kept = self._kept[address]
        if answer.page is None:
            kept.clear()
            return answer.problem
        kept.append((answer.at, answer.page))
        while len(kept) > 2 and kept[1][0] <= answer.at - self._span_s:  # noqa: PLR2004  # a difference takes two
            kept.popleft()
        return ""


def _rates(kept: deque[tuple[float, Page]]) -> Rates:
    (began, before), (ended, after) = kept[0], kept[-1]
    return between(before if len(kept) > 1 else None, after, ended - began)
