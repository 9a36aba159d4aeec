"""A request at its bounds is checked without holding the event loop for long: in few steps, and in another thread."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from recsvc.app import _limits
from recsvc.config import Settings
from recsvc.errors import LimitError
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend.asked import Asked
from recsvc.recommend.canonical import canonical
from recsvc.recommend.masks import Masks
from recsvc.registry.conditions import AnyOf
from recsvc.rpc.recommend_request import MAX_EXCLUSIONS, MAX_FILTERS, MAX_VALUES, is_large, recommend
from tests.rpc.shop import any_of, between, end
from tests.rpc.shop_definitions import registry

LIMITS = _limits(Settings())
TEXTS = any_of("goods:category", *(f"v{i}" for i in range(MAX_VALUES)))
NUMBERS = any_of("goods:stock", *range(1, MAX_VALUES + 1))


def checked(message: pb.RecommendRequest) -> Asked:
    """Return what a request asks."""
    return recommend(message, registry, LIMITS, overrides=False)


def steps(work: Callable[[], object]) -> int:
    """Return how many calls work makes in Python."""
    count = 0

    def step(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(step)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("wanted", [TEXTS, NUMBERS], ids=["texts", "numbers"])
def test_values_by_the_thousand_take_few_steps(wanted: pb.Filter) -> None:
    """Neither the check of as many values as there may be, nor what follows on the loop, is made value by value."""
    message = pb.RecommendRequest(placement="plain", filters=[wanted] * MAX_FILTERS)
    asked = checked(message)
    assert [len(c.predicate.values) for c in asked.filters if isinstance(c.predicate, AnyOf)] == [1_000] * 32
    few = MAX_FILTERS * MAX_VALUES // 4
    assert steps(lambda: checked(message)) < few
    assert steps(lambda: canonical(asked.filters)) < few
    assert steps(lambda: Masks().has((), asked.filters)) < few


def test_ids_by_the_thousand_take_few_steps() -> None:
    """Nor are the exclusions, as a list or as the set that the token of a page goes by."""
    ids = [f"i{n}" for n in range(MAX_EXCLUSIONS)]
    message = pb.RecommendRequest(placement="plain", exclude_item_ids=ids)
    assert checked(message).exclude == ids
    for work in (lambda: checked(message), lambda: canonical(ids), lambda: canonical(frozenset(ids))):
        assert steps(work) < MAX_EXCLUSIONS // 4


def test_values_past_the_limit_are_not_looked_at() -> None:
    """A filter with far too many values is refused by their number alone."""
    values: list[Any] = [*range(1, 20_001)]
    message = pb.RecommendRequest(placement="plain", filters=[any_of("goods:stock", *values)])
    with pytest.raises(LimitError, match=r"filters\[0\]\.any_of: asks for 20000 values, at most 1000 are allowed"):
        checked(message)

    def refused() -> None:
        with pytest.raises(LimitError):
            checked(message)

    assert steps(refused) < MAX_VALUES


def test_what_is_nought_is_a_value() -> None:
    """Zeros, false and empty texts are taken for what they are, whatever stands beside them."""
    wanted = [any_of("goods:stock", 0, 1), any_of("goods:category", "", "x"), any_of("goods:fragile", *[False, True])]
    message = pb.RecommendRequest(placement="plain", filters=[*wanted, between("goods:price", end(0), end(0.0))])
    found = [c.predicate for c in checked(message).filters]
    assert repr(found[:3]) == repr([AnyOf((0, 1)), AnyOf(("", "x")), AnyOf((False, True))])


def test_large_requests_are_known_by_what_they_have() -> None:
    """Many ids and values make a request large, whatever predicate has them; usual ones are not."""
    usual = pb.RecommendRequest(placement="plain", filters=[TEXTS], exclude_item_ids=["a"] * 900)
    assert not is_large(usual)
    assert is_large(pb.RecommendRequest(placement="plain", filters=[TEXTS] * 3))
    assert is_large(pb.RecommendRequest(placement="plain", filters=[pb.Filter(none_of=NUMBERS.any_of)] * 3))
    assert is_large(pb.RecommendRequest(placement="plain", exclude_item_ids=["a"] * MAX_EXCLUSIONS))
