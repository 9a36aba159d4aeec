"""What the pipeline knows of the user: a query vector, recent items, items already seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Answer, Column
from recsvc.registry.placement import Nearest, Placement, Popular, SimilarToRecent
from recsvc.registry.types import Kind


def references(placement: Placement) -> tuple[str, ...]:
    """Return the features of the user that a placement needs before it asks its sources."""
    named: list[str | None] = [] if placement.allow_seen else [*placement.seen]
    for source in placement.sources:
        if isinstance(source, Nearest):
            named.append(source.query if isinstance(source.query, str) else source.query.recent)
        elif isinstance(source, SimilarToRecent | Popular):
            named.append(source.recent)
    return tuple(dict.fromkeys(name for name in named if name is not None))


def is_direction(vector: npt.NDArray[np.float32]) -> bool:
    """Say whether a vector says what is near it: all of its components are numbers, and not all are zero."""
    return bool(np.isfinite(vector).all() and vector.any())


class UserFacts:
    """Features of one user; nothing where the user is anonymous or unknown."""

    def __init__(self, answer: Answer | None) -> None:
        self._columns: dict[str, Column] = {} if answer is None else {name: c for name, c, _ in answer.columns}

    def __repr__(self) -> str:
        return f"UserFacts({', '.join(self._columns) or 'nothing'})"

    def vector(self, reference: str) -> npt.NDArray[np.float32] | None:
        """Return a vector; None where there is none, or it is no direction."""
        column = self._known(reference)
        if column is None or column.type.kind is not Kind.VECTOR:
            return None
        vector: npt.NDArray[np.float32] = column.values[0]
        return vector if is_direction(vector) else None

    def items(self, reference: str | None) -> list[str]:
        """Return the ids in a list feature, in its order."""
        column = None if reference is None else self._known(reference)
        return [] if column is None else list(map(str, column.values[0]))

    def all_items(self, named: Iterable[str]) -> Sequence[str]:
        """Return the ids in several list features, each once."""
        return list(dict.fromkeys(item for reference in named for item in self.items(reference)))

    def _known(self, reference: str) -> Column | None:
        column = self._columns.get(reference)
        return column if column is not None and len(column) and column.has_value()[0] else None
