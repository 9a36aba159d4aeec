"""A linear ranker: logistic regression of "was taken" on standardised features."""

from __future__ import annotations

import numpy as np

from recsvc.errors import ConfigError
from recsvc.recommend.ranking.linear import LinearModel, standardization
from recsvc.training.errors import TrainingError
from recsvc.training.examples import Examples


def fit_linear(examples: Examples, *, strength: float = 1.0) -> LinearModel:
    """Fit on the requests that have a hit. ``strength`` of the (L2) regularisation, above 0.

    A value that is missing or not finite counts as the mean of its feature, as in serving; a feature that is the same
    in all rows gets no weight. Raises TrainingError where there is nothing to learn from, and ConfigError without the
    packages of ``recsvc[train]``.
    """
    try:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  # of an extra
        from threadpoolctl import threadpool_limits  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(f"this needs {error.name}, which is not installed: pip install 'recsvc[train]'") from None
    if not (np.isfinite(strength) and strength > 0):
        raise TrainingError(f"strength {strength}: must be finite and above 0")
    rows = learnable(examples)
    means, scales = standardization(rows.matrix)
    known = np.where(np.isfinite(rows.matrix), rows.matrix, means)
    with threadpool_limits(1):  # sums of several threads come in another order from run to run
        model = LogisticRegression(C=1.0 / strength, max_iter=1_000, tol=1e-6)
        model.fit((known - np.array(means)) / np.array(scales), rows.labels)
    return LinearModel(
        intercept=float(model.intercept_[0]),
        weights=tuple(model.coef_[0].tolist()),
        means=means,
        scales=scales,
        logistic=True,
    )


def learnable(examples: Examples) -> Examples:
    """Return the requests with a hit; raises TrainingError where they cannot teach anything."""
    rows = examples.with_hits()
    if not len(rows):
        missed = f"; {examples.missed:,} items were taken that no request found" if examples.missed else ""
        raise TrainingError(f"none of {len(examples):,} candidates was taken: there is nothing to learn from{missed}")
    if rows.labels.all():
        raise TrainingError(f"all of {len(rows):,} candidates were taken: there is nothing to tell apart")
    return rows
