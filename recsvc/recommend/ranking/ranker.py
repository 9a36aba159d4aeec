"""The seam between the pipeline and its models: a ranker turns a matrix of features into scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recsvc.recommend.ranking.card import Floats


class Explains(Enum):
    """What the contributions of a ranker add up to."""

    NOTHING = "NOTHING"
    """The ranker has none that are exact."""
    SCORE = "SCORE"
    LOG_ODDS = "LOG_ODDS"
    """ln(p / (1 - p)), where the score is the probability p."""


@dataclass(frozen=True, slots=True)
class Contributions:
    """``base`` plus the sum over a row of ``values`` (n × f) is what ``Ranker.explains`` names.

    ``base`` is what a row has whose features all stand at their training means.
    """

    base: float
    values: Floats


class Ranker(Protocol):
    """A model that scores candidates. It keeps no state between calls, so threads may share it.

    A matrix has a row per candidate, and the features' columns in the order of ``names`` (see ``matrix``). Where no
    value is known it holds NaN. A ranker never writes to it.
    """

    @property
    def name(self) -> str:
        """Name of the model, as placements give it."""
        ...

    @property
    def version(self) -> str:
        """Version of the model."""
        ...

    @property
    def service(self) -> str:
        """Name of the feature service that the model was trained on."""
        ...

    @property
    def explains(self) -> Explains:
        """What its contributions add up to."""
        ...

    @property
    def is_quick(self) -> bool:
        """Whether it scores some hundred rows in less time than it takes to hand them to a thread, and cannot hang."""
        ...

    def rank(self, matrix: Floats, names: Sequence[str]) -> Floats:
        """Return a score for each row (float64[n], higher is better), which depends on that row alone.

        Raises RankerError where the matrix is not of the model's features, and whatever the model's runtime raises;
        scores may be NaN: GuardedRanker is there for both.
        """
        ...

    def contributions(self, matrix: Floats, names: Sequence[str]) -> Contributions | None:
        """Return what each feature adds; None where ``explains`` is NOTHING. Raises like ``rank``."""
        ...


def best_first(scores: Floats) -> npt.NDArray[np.intp]:
    """Return the rows in descending order of their finite scores; equal ones stay in the order they were in."""
    return np.argsort(-scores, kind="stable")
