"""Builds requests from Python and numpy values; what is wrong with them is said all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsvc.client.context import ContextValue, to_column, to_value
from recsvc.client.errors import bad_argument
from recsvc.client.typed import plain, typed
from recsvc.errors import Violation
from recsvc.pb import packed, serving_pb2

Id: TypeAlias = str | int | np.integer[Any]
Ids: TypeAlias = Id | Sequence[str] | Sequence[int] | NDArray[Any]
"""The ids of one join key: one for all rows, or one per row."""
Key = TypeVar("Key", str, int)
Given = TypeVar("Given")
Sent = TypeVar("Sent")


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read, and how fresh: the fields that both requests share."""

    service: str | None
    features: Sequence[str]
    max_staleness: timedelta | None
    event_times: bool

    def fields(self) -> dict[str, Any]:
        """Return them by their names in the contract."""
        features = [self.features] if isinstance(self.features, str) else list(self.features)
        fields = {
            "feature_service": self.service or "",
            "features": features,
            "include_event_times": self.event_times,
        }
        return fields if self.max_staleness is None else {**fields, "max_staleness": self.max_staleness}


def row_request(
    entities: Mapping[str, Id], context: Mapping[str, ContextValue] | None, selection: Selection
) -> serving_pb2.GetFeaturesRequest:
    """Return the request for one row. ClientError (INVALID_ARGUMENT) names all that cannot be sent."""
    wrong: list[Violation] = []
    ids = converted("entities", entities, to_id, wrong)
    values = converted("context", context or {}, to_value, wrong)
    if wrong:
        raise bad_argument(wrong)
    return serving_pb2.GetFeaturesRequest(entities=ids, context=values, **selection.fields())


def batch_request(
    entities: Mapping[str, Ids], context: Mapping[str, ContextValue] | None, selection: Selection
) -> packed.Twin:
    """Return the request (the twin) for many rows. ClientError (INVALID_ARGUMENT) names all that cannot be sent."""
    wrong: list[Violation] = []
    ids = converted("entities", entities, _to_ids, wrong)
    columns = converted("context", context or {}, to_column, wrong)
    if wrong:
        raise bad_argument(wrong)
    return packed.GetFeaturesBatchRequest(entities=ids, context=columns, **selection.fields())


def converted(
    field: str, given: Mapping[Key, Given], convert: Callable[[Given], Sent], wrong: list[Violation]
) -> dict[Key, Sent]:
    """Return what ``convert`` makes of each; what it refuses goes to ``wrong``, by ``field`` and key."""
    tried = {name: converted_one(f"{field}[{name!r}]", value, convert, wrong) for name, value in given.items()}
    return {name: sent for name, sent in tried.items() if sent is not None}


def converted_one(field: str, given: Given, convert: Callable[[Given], Sent], wrong: list[Violation]) -> Sent | None:
    """Return what ``convert`` makes of a value; None where it refuses, which goes to ``wrong``."""
    try:
        return convert(given)
    except UnicodeEncodeError:
        wrong.append(Violation(field, "has a lone surrogate, which is not text"))
    except ValueError as error:
        wrong.append(Violation(field, str(error)))
    return None


def to_id(given: Id) -> str:
    """Return an id as text; raises ValueError for what is none."""
    value = plain(given)
    if isinstance(value, str):
        value.encode()  # what cannot be sent is told here, with the join key
        return str(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise ValueError(f"{type(given).__name__} is no id; give a str or an int")


def _to_ids(given: Ids) -> packed.Twin:
    values = plain(given)
    ids = typed(values if isinstance(values, list | np.ndarray) else [values])
    if ids is None:
        return packed.KeyColumn(strings={})
    if ids.kind == "int64":
        return packed.KeyColumn(int64s={"values": ids.array.tobytes()})
    if ids.kind == "string":
        return packed.KeyColumn(strings={"values": ids.array.tolist()})
    raise ValueError(f"{ids.kind} is no id; give str or int")
