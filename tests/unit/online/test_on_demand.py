"""On-demand features: what the function gets, what it may return, and what is known of the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from recsvc import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    INT64_LIST,
    STRING,
    STRING_LIST,
    TIMESTAMP,
    VECTOR,
    OnDemandFeature,
)
from recsvc.online.answer import Column, Source, Status
from recsvc.online.on_demand import WrongResultError, apply, compute, failed
from recsvc.online.row import blank, objects
from recsvc.registry.types import FeatureType

PRESENT, NULL, NOT_FOUND, OLD, UNAVAILABLE = Status
STORE, DEFAULT, COMPUTED, REQUEST, NONE = Source.STORE, Source.DEFAULT, Source.COMPUTED, Source.REQUEST, Source.NONE


def column(values: list[float], statuses: list[Status], sources: list[Source]) -> Column:
    """Return a FLOAT64 column; statuses and sources are one for all, or one each."""
    return Column(FLOAT64, np.array(values, np.float64), np.array(statuses, np.uint8), np.array(sources, np.uint8))


def feature(function: Any, *, default: object = None, of: FeatureType = FLOAT64) -> OnDemandFeature:  # noqa: ANN401  # right and wrong functions
    """Return a feature of the inputs a and b."""
    return OnDemandFeature("sum", of, {"a": "v:a", "b": "v:b"}, function, default)


def add(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Add."""
    return np.asarray(a + b)


def returning(result: object) -> Callable[..., Any]:
    """Return a function of a and b that returns this, whatever it is given."""
    return lambda a, b: result if len(a) == len(b) else None


def first(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the first input as it is."""
    assert len(a) == len(b)
    return a


def codes(of: Column) -> list[tuple[int, int]]:
    """Return status and source of each value."""
    n = len(of)
    return list(zip(np.broadcast_to(of.statuses, n).tolist(), np.broadcast_to(of.sources, n).tolist(), strict=True))


def test_the_status_is_the_worst_of_the_inputs() -> None:
    """With a value for every input it is computed, whatever the values stand for; its status is the worst."""
    states = [PRESENT, NOT_FOUND, OLD, UNAVAILABLE]
    a = column([1, 2, 3, 4], states, [STORE, DEFAULT, DEFAULT, DEFAULT])
    b = column([10], [PRESENT], [REQUEST])
    result = compute(feature(add), [("a", a), ("b", b)], 4)
    assert result.values.tolist() == [11, 12, 13, 14]
    assert codes(result) == [(s, COMPUTED) for s in states]
    worse = column([0] * 4, [OLD, OLD, PRESENT, PRESENT], [DEFAULT, DEFAULT, STORE, STORE])
    both = compute(feature(add), [("a", a), ("b", worse)], 4)
    assert [s for s, _ in codes(both)] == [OLD, OLD, OLD, UNAVAILABLE]


@pytest.mark.parametrize(("default", "source"), [(7.0, DEFAULT), (None, NONE)])
def test_without_an_input_there_is_no_result(default: float | None, source: Source) -> None:
    """A null input makes null; an input without value or default makes the feature's own default, or none."""
    a = column([np.nan, np.nan, np.nan, 1], [NULL, NOT_FOUND, UNAVAILABLE, PRESENT], [STORE, NONE, NONE, STORE])
    b = column([1, 1, np.nan, 1], [PRESENT, PRESENT, NULL, PRESENT], [STORE] * 4)
    result = compute(feature(add, default=default), [("a", a), ("b", b)], 4)
    assert codes(result) == [(NULL, COMPUTED), (NOT_FOUND, source), (UNAVAILABLE, source), (PRESENT, COMPUTED)]
    blank = np.nan if default is None else default
    assert np.array_equal(result.values, [np.nan, blank, blank, 2], equal_nan=True)


def test_the_result_of_a_row_without_inputs_is_not_used() -> None:
    """Whatever a function makes of an empty slot stays inside."""
    a = column([np.nan], [NULL], [STORE])
    result = compute(feature(returning(np.array([99.0])), default=7.0), [("a", a), ("b", a)], 1)
    assert np.isnan(result.values[0])


def test_inputs_of_one_value_are_there_for_each_row() -> None:
    """A broadcast input reaches the function with n values; so do vectors."""
    seen: dict[str, tuple[int, ...]] = {}

    def look(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
        seen.update(a=a.shape, b=b.shape)
        return a

    vector = Column(VECTOR[2], np.ones((1, 2), np.float32), np.array([1], np.uint8), np.array([1], np.uint8))
    compute(feature(look), [("a", column([1, 2, 3], [PRESENT], [STORE])), ("b", vector)], 3)
    assert seen == {"a": (3,), "b": (3, 2)}


def test_a_feature_that_varies_with_nothing_has_one_value() -> None:
    """Where all inputs are broadcast, one value is computed for all rows."""
    one = column([1], [PRESENT], [STORE])
    assert compute(feature(add), [("a", one), ("b", one)], 1).values.tolist() == [2]


def test_no_rows_do_not_run_the_function() -> None:
    """For no rows there is an empty column, and functions need not expect that."""

    def never(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
        raise AssertionError

    none = column([], [], [])
    result = compute(feature(never), [("a", none), ("b", column([1], [PRESENT], [STORE]))], 0)
    assert (len(result), codes(result)) == (0, [])


def test_a_function_cannot_change_its_inputs() -> None:
    """Arrays are read-only: an input is another output, or another function's input."""

    def spoil(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
        a += 1
        return np.asarray(a + b)

    a = column([1, 2], [PRESENT], [STORE])
    with pytest.raises(ValueError, match="read-only"):
        compute(feature(spoil), [("a", a), ("b", a)], 2)
    assert a.values.tolist() == [1, 2]


def test_an_input_returned_as_it_is_is_copied() -> None:
    """A result never shares memory with an input."""
    a = column([1, 2], [PRESENT], [STORE])
    result = compute(feature(first), [("a", a), ("b", a)], 2)
    assert not np.shares_memory(result.values, a.values)


def test_warnings_of_numpy_are_not_errors() -> None:
    """Division by zero and the like give infinity and NaN, as the function's author expects."""
    a = column([1, 0], [PRESENT], [STORE])
    result = compute(feature(lambda a, b: a / (b * 0)), [("a", a), ("b", a)], 2)
    assert np.isinf(result.values[0])
    assert np.isnan(result.values[1])
    large = compute(feature(lambda a, b: (a + b) * 1e300, of=FLOAT32), [("a", a), ("b", a)], 2)
    assert large.values.tolist() == [np.inf, 0]


GOOD: list[tuple[FeatureType, Any, Any]] = [
    (INT64, np.array([1, 2], np.int32), [1, 2]),
    (FLOAT64, np.array([1, 2]), [1.0, 2.0]),
    (FLOAT64, np.array([1, 2], np.float32), [1.0, 2.0]),
    (FLOAT32, np.array([0.5, 2.0]), [0.5, 2.0]),
    (BOOL, np.array([True, False]), [True, False]),
    (TIMESTAMP, np.array([1, 2]), [1, 2]),
    (STRING[4], np.array(["a", "b"]), ["a", "b"]),
    (STRING[4], objects(["a", "b"]), ["a", "b"]),
    (VECTOR[2], np.array([[1, 2], [3, 4]]), [[1.0, 2.0], [3.0, 4.0]]),
    (STRING_LIST[2, 4], objects([["a"], ()]), [("a",), ()]),
]


@pytest.mark.parametrize(("of", "returned", "values"), GOOD, ids=lambda v: str(v) if isinstance(v, FeatureType) else "")
def test_a_result_becomes_the_declared_type(of: FeatureType, returned: npt.NDArray[Any], values: list[object]) -> None:
    """Whatever numpy type fits is taken, and comes out as the type's own."""
    result = apply(feature(returning(returned), of=of), {"a": np.zeros(2), "b": np.zeros(2)}, 2)
    assert result.tolist() == values


def test_integer_lists_come_out_as_arrays() -> None:
    """INT64_LIST results are int64 arrays, however they were returned."""
    returned = objects([np.array([1, 2]), [3]])
    result = apply(feature(returning(returned), of=INT64_LIST[2]), {"a": np.zeros(2), "b": np.zeros(2)}, 2)
    assert [(v.dtype.kind, v.tolist()) for v in result] == [("i", [1, 2]), ("i", [3])]


BAD: list[tuple[FeatureType, Any, str]] = [
    (FLOAT64, [1.0, 2.0], "returned list, not a numpy array"),
    (FLOAT64, None, "returned NoneType"),
    (FLOAT64, 1.0, "returned float"),
    (FLOAT64, np.float64(1), "returned float64"),
    (FLOAT64, np.zeros(1), r"returned shape \(1,\), not \(2,\)"),
    (FLOAT64, np.zeros((2, 1)), r"returned shape \(2, 1\)"),
    (FLOAT64, np.array(["a", "b"]), "returned <U1, not FLOAT64"),
    (FLOAT64, np.array([1j, 2j]), "returned complex128"),
    (FLOAT64, np.array([True, False]), "returned bool"),
    (INT64, np.array([1.0, 2.0]), "returned float64, not INT64"),
    (INT64, np.array([1, 2**63], np.uint64), "returned uint64, not INT64"),
    (BOOL, np.array([0, 1]), "returned int64, not BOOL"),
    (TIMESTAMP, np.array([1, 2], "M8[us]"), "not TIMESTAMP"),
    (VECTOR[2], np.zeros((2, 3)), r"returned shape \(2, 3\), not \(2, 2\)"),
    (VECTOR[2], np.zeros(2), r"returned shape \(2,\), not \(2, 2\)"),
    (STRING[4], objects(["a", None]), "None is not a string"),
    (STRING[4], objects(["a", "abcde"]), "has 5 bytes, more than the bound 4"),
    (STRING[4], np.array([1, 2]), "1 is not a string"),
    (INT64_LIST[1], objects([[1, 2], []]), "has 2 items, more than the bound 1"),
    (STRING_LIST[2, 4], objects(["a", "b"]), "is not a sequence"),
]


@pytest.mark.parametrize(("of", "returned", "words"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_a_wrong_result_is_refused(of: FeatureType, returned: object, words: str) -> None:
    """A result of another type or shape is an error that says what it was and what it must be."""
    with pytest.raises(WrongResultError, match=words):
        apply(feature(returning(returned), of=of), {"a": np.zeros(2), "b": np.zeros(2)}, 2)


@pytest.mark.parametrize(("default", "source", "values"), [(7.0, DEFAULT, [7.0] * 3), (None, NONE, [np.nan] * 3)])
def test_a_failed_function_costs_its_own_column(default: float | None, source: Source, values: list[float]) -> None:
    """The column of a feature whose function failed is UNAVAILABLE, with the default or nothing."""
    result = failed(feature(add, default=default), 3)
    assert np.array_equal(result.values, values, equal_nan=True)
    assert codes(result) == [(UNAVAILABLE, source)] * 3


@pytest.mark.parametrize(
    ("of", "default"), [(STRING_LIST[2, 4], ["a", "b"]), (INT64_LIST[2], [1, 2]), (VECTOR[2], [1.0, 2.0]), (BOOL, True)]
)
def test_defaults_of_every_kind_stand_in(of: FeatureType, default: object) -> None:
    """Lists and vectors stand in as wholes."""
    a = column([0, 0], [NOT_FOUND], [NONE])
    normal = of.normalize(default)
    returned = {"V": np.zeros((2, 2)), "B": np.array([False, False])}.get(of.kind.value[0], objects([(), ()]))
    computed = compute(feature(returning(returned), default=default, of=of), [("a", a), ("b", a)], 2)
    for result in (computed, failed(feature(add, default=default, of=of), 2)):
        items = [tuple(v) if isinstance(normal, tuple) else v for v in result.values.tolist()]
        assert [tuple(i) if isinstance(normal, tuple) else i for i in items] == [normal, normal]


def test_the_same_function_serves_and_trains() -> None:
    """apply() over a table gives bit by bit what compute() gives a request."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=500), rng.normal(size=500)
    of = feature(lambda a, b: np.log1p(np.abs(a)) / (b - a))
    whole = apply(of, {"a": a, "b": b}, 500)
    for place in range(0, 500, 50):
        one = compute(
            of,
            [("a", column([a[place]], [PRESENT], [STORE])), ("b", column([b[place]], [PRESENT], [STORE]))],
            1,
        )
        assert one.values.tobytes() == whole[place : place + 1].tobytes()


def test_rows_without_inputs_are_not_seen_by_the_function() -> None:
    """A function that cannot bear blanks fails for no other row: it gets only rows whose inputs all have a value."""
    seen: list[list[float]] = []

    def choosy(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
        assert not np.isnan(a).any()
        seen.append(a.tolist())
        return np.asarray(a + b)

    a = column([1, np.nan, 3], [PRESENT, NULL, PRESENT], [STORE] * 3)
    result = compute(feature(choosy), [("a", a), ("b", column([10], [PRESENT], [REQUEST]))], 3)
    assert seen == [[1, 3]]
    assert np.array_equal(result.values, [11, np.nan, 13], equal_nan=True)
    compute(feature(choosy), [("a", column([np.nan], [NULL], [STORE])), ("b", a)], 3)
    assert seen == [[1, 3]]


@pytest.mark.parametrize("of", [VECTOR[2], INT64_LIST[3], STRING[4]], ids=str)
def test_results_of_every_shape_go_to_their_rows(of: FeatureType) -> None:
    """Vectors, lists and strings are put where their inputs are, blanks elsewhere."""
    results = {"V": np.ones((1, 2), np.float32), "I": objects([[1, 2]]), "S": objects(["text"])}
    a = column([np.nan, 1], [NULL, PRESENT], [STORE] * 2)
    found = compute(feature(returning(results[of.kind.value[0]]), of=of), [("a", a), ("b", a)], 2).values
    assert [np.asarray(v).tolist() for v in found][1] == np.asarray(results[of.kind.value[0]][0]).tolist()
    assert repr(found[0]) == repr(blank(of, 1)[0])
