"""What may be wrong with filters: all of it at once, each thing by its path in the message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from recsvc.errors import LimitError, RequestError, Violation
from recsvc.registry.conditions import AllOf, AnyOf, Condition, NoneOf, Predicate
from recsvc.registry.predicates import PATHS, normalized, predicate_problems
from recsvc.registry.types import FeatureScalar, FeatureType, Kind

MAX_FILTERS: Final = 32
MAX_VALUES: Final = 1_000
"""Of one filter."""


def checked(
    filters: Sequence[Condition], filterable: Mapping[str, FeatureType], field: str = "filters"
) -> tuple[Condition, ...]:
    """Return ``filters`` with all values as FeatureType.normalize gives them, as masks want them; see ``check``."""
    check(filters, filterable, field)
    return tuple(replace(c, predicate=normalized(c.predicate, filterable[c.feature])) for c in filters)


def check(filters: Sequence[Condition], filterable: Mapping[str, FeatureType], field: str = "filters") -> None:
    """Raise RequestError with everything that is wrong with ``filters``.

    ``filterable``: the features that may be asked about, by reference. ``field``: the path of the filters. Where only
    limits are passed it is a LimitError.
    """
    over = list(limits_passed(filters, field))
    wrong = list(problems(filters, filterable, field))
    if wrong:
        raise RequestError([*over, *wrong])
    if over:
        raise LimitError(over, _facts(filters))


def limits_passed(filters: Sequence[Condition], field: str) -> Iterator[Violation]:
    """Yield what there is too much of."""
    if len(filters) > MAX_FILTERS:
        yield Violation(field, f"has {len(filters)} filters, at most {MAX_FILTERS} are allowed")
    for index, condition in enumerate(filters[:MAX_FILTERS]):
        values = _values(condition.predicate)
        if values is not None and len(values) > MAX_VALUES:
            path = f"{field}[{index}].{PATHS[type(condition.predicate)]}"
            yield Violation(path, f"has {len(values)} values, at most {MAX_VALUES} are allowed")


def _facts(filters: Sequence[Condition]) -> dict[str, str]:
    """Return the first limit that is passed, for machines."""
    if len(filters) > MAX_FILTERS:
        return {"limit": "filters", "allowed": str(MAX_FILTERS), "actual": str(len(filters))}
    most = max(len(_values(c.predicate) or ()) for c in filters)
    return {"limit": "filter_values", "allowed": str(MAX_VALUES), "actual": str(most)}


def problems(filters: Sequence[Condition], filterable: Mapping[str, FeatureType], field: str) -> Iterator[Violation]:
    """Yield what is wrong within the limits; what lies past them is not looked at."""
    for index, condition in enumerate(filters[:MAX_FILTERS]):
        path = f"{field}[{index}]"
        of = filterable.get(condition.feature)
        if of is None:
            names = ", ".join(sorted(filterable)) or "none"
            yield Violation(f"{path}.feature", f"{condition.feature!r} cannot be filtered by; what can: {names}")
        elif of.kind is Kind.VECTOR:
            yield Violation(f"{path}.feature", f"{condition.feature!r} is {of}, which cannot be filtered by")
        else:
            found = predicate_problems(condition.predicate, of, MAX_VALUES)
            yield from (Violation(f"{path}.{where}", what) for where, what in found)


def _values(predicate: Predicate) -> Sequence[FeatureScalar] | None:
    return predicate.values if isinstance(predicate, AnyOf | AllOf | NoneOf) else None
