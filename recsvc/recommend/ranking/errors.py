"""What can be wrong with a model: its bundle, or the matrix that it is given."""

from __future__ import annotations

from recsvc.errors import RecsvcError


class BundleError(RecsvcError):
    """A model bundle cannot be used: one line that names it, says what is wrong and what would be right.

    It is for operators: the line has the path in it.
    """

    reason = "MODEL_BUNDLE"


class RankerError(RecsvcError):
    """A ranker cannot score what it was given."""

    reason = "RANKER"
