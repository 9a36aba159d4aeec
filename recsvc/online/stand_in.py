"""What stands in a column where a row has no value: the feature's default, or a blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Bytes, Source, Status
from recsvc.online.row_decode import Values
from recsvc.online.row_values import Tails, blank, pack
from recsvc.registry.types import VARIABLE, FeatureType

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class StandIn:
    """``default`` and ``blank`` are values as columns have them; ``source`` is NONE where there is no default."""

    type: FeatureType
    source: Source
    default: Any
    blank: Any

    @classmethod
    def of(cls, feature_type: FeatureType, default: Any) -> StandIn:  # noqa: ANN401  # as FeatureType.normalize gives it
        """Build from a normalized default, or from None: nothing stands in."""
        nothing: Any = b"" if feature_type.kind in VARIABLE else blank(feature_type, 1)[0]
        if default is None:
            return cls(feature_type, Source.NONE, nothing, nothing)
        if feature_type.kind in VARIABLE:
            return cls(feature_type, Source.DEFAULT, pack(feature_type, default), nothing)
        return cls(feature_type, Source.DEFAULT, np.array(default, nothing.dtype), nothing)

    def column(self, n: int) -> Values:
        """Return a column with the default, or the blank, in every slot."""
        if self.type.kind in VARIABLE:
            return Tails(self.type, [self.default] * n)
        values = np.empty((n, *self.blank.shape), self.blank.dtype)
        values[:] = self.default
        return values

    def put(self, values: Values, places: Places, *, blank: bool) -> None:
        """Put the default into some slots, or the blank."""
        value = self.blank if blank else self.default
        if isinstance(values, Tails):
            for place in places.tolist():
                values.pieces[place] = value
        else:
            values[places] = value


@dataclass(slots=True)
class Known:
    """What is known of each row as a whole.

    ``found`` are the sources of rows that were found; ``kept`` are the indices of decoded rows whose values are served,
    ``at`` where those stand among all.
    """

    statuses: Bytes
    found: Source | Bytes
    kept: Places
    at: Places
    _sources: dict[Source, Bytes] = field(default_factory=dict)

    def codes(self, marks: Sequence[tuple[Places, Status]], lacking: Source) -> tuple[Bytes, Bytes]:
        """Return statuses and sources of a column; those without ``marks``, which say where it differs, share them.

        ``lacking`` is the source where nothing is known.
        """
        if marks:
            statuses = self.statuses.copy()
            for places, status in marks:
                statuses[places] = status
            return statuses, self._sources_of(statuses, lacking)
        sources = self._sources.get(lacking)
        if sources is None:
            sources = self._sources[lacking] = self._sources_of(self.statuses, lacking)
        return self.statuses, sources

    def _sources_of(self, statuses: Bytes, lacking: Source) -> Bytes:
        sources = np.empty(len(statuses), np.uint8)
        sources[:] = self.found
        sources[statuses > Status.NULL_VALUE] = lacking
        return sources


def put(values: Values, at: Places, decoded: Values, kept: Places) -> None:
    """Put the decoded values of the rows ``kept`` into the slots ``at``."""
    if isinstance(values, Tails) and isinstance(decoded, Tails):
        for place, index in zip(at.tolist(), kept.tolist(), strict=True):
            values.pieces[place] = decoded.pieces[index]
    elif not isinstance(values, Tails) and not isinstance(decoded, Tails):
        values[at] = decoded[kept]
