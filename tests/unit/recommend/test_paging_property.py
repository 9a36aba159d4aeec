"""Pages over two replicas whose items, places and indexes differ, and change between pages."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc.recommend.asked import Explain, ReasonCode, Recommendation
from recsvc.registry.conditions import AnyOf, Condition
from tests.unit.recommend.replica import GENRES, PINS, REGISTRY, Replica

COUNT: Final = 16
NUMBERS: Final = st.integers(0, COUNT - 1)
MOST_PAGES: Final = 12


class Reading:
    """Somebody who reads page after page, and minds what was there before."""

    def __init__(self, data: st.DataObject) -> None:
        draw = self._draw = data.draw
        self.replicas = [Replica(seed) for seed in range(2)]
        for replica in self.replicas:  # in orders of their own, so that places differ
            for number in draw(st.permutations(range(COUNT))):
                replica.put(number, available=draw(st.booleans()) or number % 2 == 0, popularity=float(number % 5))
            replica.swap(draw(st.lists(NUMBERS, unique=True)))
        self.placement = draw(st.sampled_from(sorted(REGISTRY.placements)))
        self.genres = draw(st.sampled_from([GENRES, GENRES[:2], GENRES[2:]]))
        self.exclude = [f"i{n}" for n in draw(st.lists(NUMBERS, max_size=3))]
        self.seeds = [f"i{n}" for n in draw(st.lists(NUMBERS, max_size=3))]
        self.before: list[str] = []

    def __repr__(self) -> str:
        return f"Reading({self.placement}, {self.before})"

    def change(self) -> None:
        """Let something happen to one replica or the other: they need not know the same."""
        draw = self._draw
        for _ in range(draw(st.integers(0, 4))):
            replica, number = draw(st.sampled_from(self.replicas)), draw(NUMBERS)
            match draw(st.sampled_from(["put", "delete", "index", "anew"])):
                case "put":
                    replica.put(number, available=draw(st.booleans()), popularity=draw(st.floats(0, 9)))
                case "delete":
                    replica.delete(number)
                case "anew":  # so many deleted that all items get other places
                    for other in range(COUNT):
                        replica.delete(other)
                        _ = replica.snapshot
                    for other in draw(st.permutations(range(COUNT))):
                        replica.put(other, available=True, popularity=float(other % 5))
                case "index":
                    replica.swap(draw(st.lists(NUMBERS, unique=True)))

    async def next(self, token: str) -> str:
        """Read a page at one of them, see that it is right, and return the token of the next."""
        replica, limit = self._draw(st.sampled_from(self.replicas)), self._draw(st.integers(1, 7))
        filters = () if self.genres == GENRES else (Condition("film:genres", AnyOf(self.genres)),)
        asked: dict[str, Any] = {"filters": filters, "exclude": self.exclude, "seeds": self.seeds}
        page = await replica.page(self.placement, limit, token, explain=Explain.REASONS, **asked)
        left = replica.passing(self.genres, [*self.before, *self.exclude, *self.seeds]).keys()
        names = [item.id for item in page.items]
        assert len({*names}) == len(names)
        assert left >= {*names}
        assert len(names) == min(limit, len(left))
        assert bool(page.next_page_token) == (len(left) > len(names))
        assert [item.rank for item in page.items] == [len(self.before) + k + 1 for k in range(len(names))]
        assert pinned(page) == ({} if token else standing(self.placement, left, len(names)))
        self.before += names
        return page.next_page_token


def pinned(page: Recommendation) -> dict[str, int]:
    """Return the items that say that they are pinned, with their ranks."""
    return {i.id: i.rank for i in page.items if ReasonCode.PINNED in {reason.code for reason in i.reasons}}


def standing(placement: str, passing: Any, size: int) -> dict[str, int]:  # noqa: ANN401  # a set of names
    """Return the pins that can stand on a first page of ``size`` items."""
    pins = PINS if placement == "pinned" else {}
    return {name: position for name, position in pins.items() if name in passing and position <= size}


@settings(max_examples=60)
@given(st.data())
def test_pages_over_swaps_and_replicas(data: st.DataObject) -> None:
    """No item comes twice, ranks go on, pins are on the first page, and a page is short only when nothing is left.

    Whatever happens to the items and indexes of two replicas between pages, and whichever is asked.
    """

    async def read() -> None:
        reading = Reading(data)
        token = await reading.next("")
        for _ in range(MOST_PAGES):
            if not token:
                return
            reading.change()
            token = await reading.next(token)

    asyncio.run(read())
