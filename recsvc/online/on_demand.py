"""On-demand features: the same function over a request's columns and over a training table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Bytes, Column, Source, Status
from recsvc.online.columns import fill, repeated
from recsvc.online.row import blank, objects
from recsvc.registry.model import OnDemandFeature
from recsvc.registry.types import VARIABLE, FeatureType, Kind

_DTYPES: Final[dict[Kind, tuple[str, type[np.generic]]]] = {
    Kind.INT64: ("iu", np.int64),
    Kind.FLOAT64: ("fiu", np.float64),
    Kind.FLOAT32: ("fiu", np.float32),
    Kind.BOOL: ("b", np.bool_),
    Kind.TIMESTAMP: ("i", np.int64),
    Kind.VECTOR: ("fiu", np.float32),
}
"""Which numpy kinds a function may return for a type, and what they become."""


class WrongResultError(Exception):
    """An on-demand function returned something of another type or shape than it declares."""


def apply(feature: OnDemandFeature, arrays: Mapping[str, npt.NDArray[Any]], n: int) -> npt.NDArray[Any]:
    """Run the function on arrays of n rows (or 1, for all rows) by parameter; return its n values.

    TIMESTAMP comes and goes as int64 microseconds, VECTOR as n × d, strings and lists as object arrays. Raises
    WrongResultError, and whatever the function raises.
    """
    whole = {name: np.broadcast_to(a, (n, *a.shape[1:])) for name, a in arrays.items()}
    with np.errstate(all="ignore"):  # NaN and infinity are values
        return _checked(feature.function(**whole), feature.type, n)


def _checked(result: object, of: FeatureType, n: int) -> npt.NDArray[Any]:
    if not isinstance(result, np.ndarray):
        raise WrongResultError(f"returned {type(result).__name__}, not a numpy array")
    shape = (n, of.bound) if of.kind is Kind.VECTOR else (n,)
    if result.shape != shape:
        raise WrongResultError(f"returned shape {result.shape}, not {shape}")
    if of.kind in VARIABLE:
        return _checked_objects(result, of)
    kinds, dtype = _DTYPES[of.kind]
    if result.dtype.kind not in kinds or (of.kind is Kind.INT64 and not np.can_cast(result.dtype, dtype)):
        raise WrongResultError(f"returned {result.dtype}, not {of}")
    return result.astype(dtype)


def _checked_objects(result: npt.NDArray[Any], of: FeatureType) -> npt.NDArray[Any]:
    try:
        items = [of.normalize(v.tolist() if isinstance(v, np.ndarray) else v) for v in result.tolist()]
    except ValueError as error:
        raise WrongResultError(str(error)) from None
    if of.kind is Kind.INT64_LIST:
        return objects([np.array(i, np.int64) for i in items])
    return objects(items)


def compute(feature: OnDemandFeature, inputs: Sequence[tuple[str, Column]], n: int) -> Column:
    """Return the column of an on-demand feature for n rows.

    Its status is the worst of its inputs'. Where an input has no value in a row, so has this feature: null for null,
    else the default; the function does not see that row. Raises WrongResultError, and whatever the function raises.
    """
    usable = np.ones(n, bool)
    statuses = np.full(n, Status.PRESENT, np.uint8)
    for _, column in inputs:
        np.maximum(statuses, column.statuses, out=statuses)
        usable &= column.has_value()
    return _finished(feature, _values(feature, inputs, usable), statuses, usable)


def _values(
    feature: OnDemandFeature, inputs: Sequence[tuple[str, Column]], usable: npt.NDArray[np.bool_]
) -> npt.NDArray[Any]:
    """Return the function's values of the rows that are usable, blanks elsewhere."""
    n = len(usable)
    if usable.all() and n:
        return apply(feature, {name: column.values for name, column in inputs}, n)
    values = blank(feature.type, n)
    if usable.any():
        picked = {name: column.values if len(column) == 1 else column.values[usable] for name, column in inputs}
        values[usable] = apply(feature, picked, int(usable.sum()))
    return values


def _finished(
    feature: OnDemandFeature, values: npt.NDArray[Any], statuses: Bytes, usable: npt.NDArray[np.bool_]
) -> Column:
    sources = np.full(len(values), Source.COMPUTED, np.uint8)
    if usable.all():
        return Column(feature.type, values, statuses, sources)
    lacking = ~usable & (statuses > Status.NULL_VALUE)
    _stand_in(feature, values, sources, lacking)
    return Column(feature.type, values, statuses, sources)


def _stand_in(
    feature: OnDemandFeature, values: npt.NDArray[Any], sources: Bytes, lacking: npt.NDArray[np.bool_]
) -> None:
    if feature.default is None:
        sources[lacking] = Source.NONE
    else:
        sources[lacking] = Source.DEFAULT
        fill(values, lacking, feature.type, feature.type.normalize(feature.default))


def failed(feature: OnDemandFeature, n: int) -> Column:
    """Return the column of a feature whose function failed: UNAVAILABLE, with the default where there is one."""
    default = None if feature.default is None else feature.type.normalize(feature.default)
    source = Source.NONE if default is None else Source.DEFAULT
    return Column(
        feature.type,
        repeated(feature.type, default, n),
        np.array([Status.UNAVAILABLE], np.uint8),
        np.array([source], np.uint8),
    )
