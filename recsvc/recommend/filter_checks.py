"""What may be wrong with filters: all of it at once, each thing by its path in the message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from recsvc.errors import RequestError, Violation
from recsvc.registry.conditions import Condition
from recsvc.registry.predicates import judged
from recsvc.registry.types import FeatureType, Kind


def checked(
    filters: Sequence[Condition], filterable: Mapping[str, FeatureType], field: str = "filters"
) -> tuple[Condition, ...]:
    """Return ``filters`` with all values as FeatureType.normalize gives them, as masks want them.

    ``filterable``: the features that may be asked about, by reference. ``field``: the path of the filters.
    Raises RequestError with everything that is wrong with them.
    """
    right: list[Condition] = []
    wrong: list[Violation] = []
    for index, condition in enumerate(filters):
        path, of = f"{field}[{index}]", filterable.get(condition.feature)
        if of is None or of.kind is Kind.VECTOR:
            wrong.append(Violation(f"{path}.feature", _not_filterable(condition.feature, of, filterable)))
            continue
        predicate, found = judged(condition.predicate, of)
        right.append(replace(condition, predicate=predicate))
        wrong += (Violation(f"{path}.{where}", what) for where, what in found)
    if wrong:
        raise RequestError(wrong)
    return tuple(right)


def _not_filterable(feature: str, of: FeatureType | None, filterable: Mapping[str, FeatureType]) -> str:
    if of is not None:
        return f"{feature!r} is {of}, which cannot be filtered by"
    return f"{feature!r} cannot be filtered by; what can: {', '.join(sorted(filterable)) or 'none'}"
