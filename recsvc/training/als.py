"""Embeddings of users and items by alternating least squares on implicit feedback.

Y. Hu, Y. Koren, C. Volinsky: Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008. The work is done by the
package `implicit`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recsvc.errors import ConfigError
from recsvc.training.errors import TrainingError
from recsvc.training.interactions import Interactions

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AlsParameters:
    """How to factorise. A pair of weight w has the confidence ``alpha`` · w, all others 1.

    The defaults did best on a validation slice of MovieLens 100K's training part, of regularisation .01 to 80, alpha 1
    to 8 and dimension 32 and 64. With too much regularisation all vectors come to lie on one line, that of popularity.
    """

    dimension: int = 32
    regularization: float = 20.0
    alpha: float = 2.0
    iterations: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dimension < 1 or self.iterations < 1:
            raise TrainingError(f"dimension {self.dimension}, iterations {self.iterations}: both must be at least 1")
        for name in ("regularization", "alpha"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise TrainingError(f"{name} {value}: must be finite and above 0")
        if self.seed < 0:
            raise TrainingError(f"seed {self.seed}: must not be negative")


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors of users, float32[u, d], and of items, float32[i, d].

    The inner product of two says how well they go together.
    """

    users: Sequence[str] = field(repr=False)
    user_vectors: Floats = field(repr=False)
    items: Sequence[str] = field(repr=False)
    item_vectors: Floats = field(repr=False)

    def __repr__(self) -> str:
        return f"Embeddings({len(self.users):,} users, {len(self.items):,} items, {self.dimension} components)"

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return int(self.item_vectors.shape[1])


def train_als(
    interactions: Interactions,
    parameters: AlsParameters = AlsParameters(),
    step: Callable[[int, int], None] = lambda _done, _of: None,
) -> Embeddings:
    """Factorise; ``step`` gets how many of all iterations are done. The same input and seed give the same vectors.

    It works in the calling thread alone. Raises ConfigError without the packages of ``recsvc[train]``.
    """
    try:
        from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415  # of an extra
        from scipy.sparse import csr_matrix  # noqa: PLC0415
        from threadpoolctl import threadpool_limits  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(f"this needs {error.name}, which is not installed: pip install 'recsvc[train]'") from None
    shape = (len(interactions.users), len(interactions.items))
    places = (interactions.user_of, interactions.item_of)
    weights = csr_matrix((interactions.weights, places), shape=shape)  # of equal pairs it makes the sum
    # With more than one thread, sums come in another order from run to run; BLAS would start one per core besides.
    with threadpool_limits(1):
        model = AlternatingLeastSquares(
            factors=parameters.dimension,
            regularization=parameters.regularization,
            alpha=parameters.alpha,
            iterations=parameters.iterations,
            num_threads=1,
            random_state=parameters.seed,
        )
        total = parameters.iterations
        model.fit(weights, show_progress=False, callback=lambda done, _seconds, _loss: step(done + 1, total))
    vectors = [np.ascontiguousarray(v, np.float32) for v in (model.user_factors, model.item_factors)]
    if not all(np.isfinite(v).all() for v in vectors):
        raise TrainingError("the factorisation has come to infinity: give it more regularization, or smaller weights")
    return Embeddings(interactions.users, vectors[0], interactions.items, vectors[1])
