"""Made-up slates to compose, and what an exhaustive search says of the best that their rules allow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from hypothesis import strategies as st

from recsvc.recommend.slate import compose, standing_pins
from recsvc.recommend.slate_rules import CategoryCap, Ranked, Rules, Slate, SourceQuota, Variety

CATEGORIES = 3


@dataclass(frozen=True)
class Case:
    """All that `compose` is told."""

    ranked: Ranked
    mask: np.ndarray[tuple[int], np.dtype[np.bool_]]
    limit: int
    filler: np.ndarray[tuple[int], np.dtype[np.int64]]
    rules: Rules

    def compose(self) -> Slate:
        """Compose the slate of this case."""
        return compose(self.ranked, self.mask, self.limit, filler=self.filler, rules=self.rules)

    def under(self, rules: Rules) -> Slate:
        """Compose the slate with other rules."""
        return replace(self, rules=rules).compose()

    @property
    def allowed(self) -> set[int]:
        """The places that may be shown."""
        return set(np.flatnonzero(self.mask).tolist())

    @property
    def size(self) -> int:
        """How many items there must be."""
        return min(self.limit, len(self.allowed))

    def usable(self) -> list[int]:
        """List the candidates that may be shown, each once, in order."""
        return list(dict.fromkeys(place for place in self.ranked.places.tolist() if place in self.allowed))


@st.composite
def cases(draw: st.DrawFn, *, most_items: int = 12, shared: bool = True, ruled: bool = True) -> Case:
    """Draw a case: candidates may be rubbish, the filler a part of all; sources share items where `shared`."""
    items = draw(st.integers(0, most_items))
    mask = np.array(draw(st.lists(st.booleans(), min_size=items, max_size=items)), dtype=np.bool_)
    places = st.integers(-2, items + 2)
    candidates = draw(st.lists(places, max_size=items + 4))
    scores = sorted(draw(st.lists(st.floats(-3, 3), min_size=len(candidates), max_size=len(candidates))), reverse=True)
    ranked = Ranked(np.array(candidates, dtype=np.int64), np.array(scores, dtype=np.float64))
    filler = np.array(draw(st.lists(places, max_size=items)), dtype=np.int64)
    rules = draw(all_rules(candidates, items, shared=shared)) if ruled else Rules()
    return Case(ranked, mask, draw(st.integers(0, items + 2)), filler, rules)


@st.composite
def all_rules(draw: st.DrawFn, candidates: list[int], items: int, *, shared: bool) -> Rules:
    """Draw pins, a cap, quotas and variety, or none of each."""
    count = len(candidates)
    codes = draw(st.lists(st.integers(-1, CATEGORIES - 1), min_size=items, max_size=items))
    cap = CategoryCap(np.array(codes, dtype=np.int32), CATEGORIES, draw(st.integers(0, 3)))
    flags = st.lists(st.sampled_from([set(), {0}, {1}, {0, 1} if shared else {1}]), min_size=items + 5)
    # By place: a place that comes twice is of the same sources both times.
    sources = draw(flags)
    quotas = [
        SourceQuota(
            name, draw(st.integers(0, 3)), np.array([i in sources[place] for place in candidates], dtype=np.bool_)
        )
        for i, name in enumerate(["near", "new"])
    ]
    vectors = draw(
        st.lists(st.sampled_from([(0, 1), (1, 0), (1, 1), (0, 0), (np.nan, 1)]), min_size=count, max_size=count)
    )
    return Rules(
        pins=draw(st.dictionaries(st.integers(-1, items + 1), st.integers(1, items + 2), max_size=3)),
        cap=draw(st.sampled_from([cap, None])),
        quotas=draw(st.sampled_from([quotas, []])),
        variety=draw(
            st.none()
            | st.builds(
                Variety, st.sampled_from([0.0, 0.5, 1.0]), st.just(np.array(vectors, np.float32).reshape(count, 2))
            )
        ),
    )


def excess(places: tuple[int, ...], cap: CategoryCap | None) -> int:
    """Count the items over the cap."""
    if cap is None:
        return 0
    counts = Counter(int(cap.codes[place]) for place in places)
    return sum(max(0, count - cap.most) for code, count in counts.items() if code >= 0)


def keeps_quotas(places: tuple[int, ...], case: Case) -> bool:
    """Tell whether a set of items has enough of each source."""
    ranked = case.ranked.places.tolist()
    return all(
        sum(quota.given[ranked.index(place)] for place in places if place in ranked) >= quota.least
        for quota in case.rules.quotas
    )


def best_possible(case: Case) -> tuple[int, bool]:
    """Find by trying every set of items: the least excess over the cap, and whether the quotas can be kept with it."""
    pinned = tuple(standing_pins(case.rules.pins, case.mask, case.size).values())
    others = sorted(case.allowed - set(pinned))
    slates = [pinned + rest for rest in combinations(others, case.size - len(pinned))]
    least = min(excess(slate, case.rules.cap) for slate in slates)
    return least, any(keeps_quotas(slate, case) for slate in slates if excess(slate, case.rules.cap) == least)
