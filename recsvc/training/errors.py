"""What can be wrong with a training."""

from __future__ import annotations

from recsvc.errors import RecsvcError


class TrainingError(RecsvcError):
    """A model cannot be trained, or what was trained cannot be published: one line that says why."""

    reason = "TRAINING"


class LeakError(TrainingError):
    """A feature of a training row is not older than the label it is to predict."""

    reason = "LEAK"
