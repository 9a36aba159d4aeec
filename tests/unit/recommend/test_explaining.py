"""Why an item is in a slate: codes with what they speak of, never sentences."""

from __future__ import annotations

import numpy as np
import pytest

from recsvc.recommend.asked import Reason, ReasonCode
from recsvc.recommend.candidates import Found
from recsvc.recommend.explaining import Explainer
from recsvc.recommend.merge import Candidates, Origin
from recsvc.recommend.slate_rules import Standing
from recsvc.registry.placement import (
    CandidateSource,
    Nearest,
    Newest,
    Placement,
    Popular,
    SimilarToRecent,
    SimilarToSeeds,
)
from tests.unit.recommend.queries import RECENT, TASTE, builder_of

SOURCES: list[CandidateSource] = [
    Nearest("near", "line", TASTE),
    SimilarToSeeds("seeds", "line"),
    SimilarToRecent("recent", "line", RECENT),
    Popular("popular"),
    Popular("by_genre", recent=RECENT),
    Popular("of_a_stranger", recent=RECENT),
    Newest("new"),
]


def found(source: str, like: dict[int, int]) -> Found:
    """Return what a source found at the places that are like others."""
    places = np.array(list(like), np.int64)
    return Found(Candidates(source, places, np.ones(len(places))), like, by_category=source == "by_genre")


def explainer() -> Explainer:
    """Return what explains a slate of seven items, some like others; the last has no genre."""
    builder = builder_of(6)
    builder.put("film", "i6", {"film:available": True})
    placement = Placement("home", "films", SOURCES)
    like = {"seeds": {1: 4, 2: 0}, "recent": {1: 5}}
    outcomes = [found(source.name, like.get(source.name, {})) for source in SOURCES]
    return Explainer(builder.snapshot(), placement, outcomes)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("near", Reason(ReasonCode.SIMILAR_TO_TASTE)),
        ("seeds", Reason(ReasonCode.SIMILAR_TO_SEED, item="i4")),
        ("recent", Reason(ReasonCode.SIMILAR_TO_RECENT, item="i5")),
        ("popular", Reason(ReasonCode.POPULAR)),
        ("by_genre", Reason(ReasonCode.POPULAR, category="comedy")),
        ("of_a_stranger", Reason(ReasonCode.POPULAR)),
        ("new", Reason(ReasonCode.NEW)),
    ],
)
def test_each_source_is_a_reason(source: str, reason: Reason) -> None:
    """The code is that of the kind of source; it names the item or the category that it speaks of."""
    assert explainer().reasons(1, [Origin(source, 1, 0.5)], Standing.RANKED) == (reason,)


def test_the_source_that_ranked_it_highest_is_first() -> None:
    """Of several sources that gave an item each is a reason, by the rank that it had there."""
    origins = [Origin("new", 9, 1.0), Origin("near", 1, 0.1), Origin("seeds", 3, 0.2)]
    codes = [reason.code for reason in explainer().reasons(2, origins, Standing.RANKED)]
    assert codes == [ReasonCode.SIMILAR_TO_TASTE, ReasonCode.SIMILAR_TO_SEED, ReasonCode.NEW]


def test_pins_and_filling_are_reasons() -> None:
    """A pin is told first, and with it what else found it; what only filled the slate says so, unless it was found."""
    of, near = explainer(), [Origin("near", 1, 0.1)]
    assert of.reasons(1, (), Standing.PINNED) == (Reason(ReasonCode.PINNED),)
    assert [r.code for r in of.reasons(1, near, Standing.PINNED)] == [ReasonCode.PINNED, ReasonCode.SIMILAR_TO_TASTE]
    assert of.reasons(1, (), Standing.FILLED) == (Reason(ReasonCode.FILLED),)
    assert of.reasons(1, near, Standing.FILLED) == (Reason(ReasonCode.SIMILAR_TO_TASTE),)
    assert of.reasons(1, (), np.int8(Standing.PINNED)) == (Reason(ReasonCode.PINNED),)  # type: ignore[arg-type]  # as slates have it


def test_an_item_without_a_category_has_none_in_its_reason() -> None:
    """Popularity by category of an item that has none names none."""
    assert explainer().reasons(6, [Origin("by_genre", 1, 1.0)], Standing.RANKED) == (Reason(ReasonCode.POPULAR),)


def test_an_explainer_shows_its_sources() -> None:
    """repr() names the sources."""
    assert repr(explainer()) == "Explainer(['near', 'seeds', 'recent', 'popular', 'by_genre', 'of_a_stranger', 'new'])"
