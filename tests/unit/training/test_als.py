"""Embeddings: what they tell apart, that they can be repeated, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest

from recsvc.errors import ConfigError
from recsvc.training.als import AlsParameters, train_als
from recsvc.training.errors import TrainingError
from recsvc.training.interactions import Interactions

SMALL = AlsParameters(dimension=4, regularization=0.1, iterations=10)


def two_tastes(seed: int = 0) -> tuple[list[str], list[str]]:
    """Return pairs of 40 users and 20 items: even users like even items, odd ones odd items."""
    rng = np.random.default_rng(seed)
    liked = [(u, i) for u in range(40) for i in range(20) if u % 2 == i % 2 and rng.random() < 0.7]
    return [f"u{u}" for u, _ in liked], [f"i{i}" for _, i in liked]


def interactions(order: Sequence[int] | None = None) -> Interactions:
    """Return the pairs, in another order where one is given."""
    users, items = two_tastes()
    places = range(len(users)) if order is None else order
    return Interactions.from_columns([users[p] for p in places], [items[p] for p in places])


def test_what_users_like_scores_higher() -> None:
    """The inner product with items of one's own taste is higher than with any of the other."""
    found = train_als(interactions(), AlsParameters(dimension=2, regularization=1.0))
    scores = found.user_vectors @ found.item_vectors.T
    assert scores.shape == (40, 20)
    same = np.array([[int(u[1:]) % 2 == int(i[1:]) % 2 for i in found.items] for u in found.users])
    assert scores[same].min() > scores[~same].max()
    assert found.user_vectors.dtype == np.float32
    assert found.dimension == 2


def test_the_same_seed_gives_the_same_vectors() -> None:
    """To the last bit, also when the pairs come in another order; another seed gives others."""
    first, again = train_als(interactions(), SMALL), train_als(interactions(), SMALL)
    shuffled = train_als(interactions(np.random.default_rng(1).permutation(len(interactions())).tolist()), SMALL)
    for other in (again, shuffled):
        assert (first.users, first.items) == (other.users, other.items)
        assert np.array_equal(first.user_vectors, other.user_vectors)
        assert np.array_equal(first.item_vectors, other.item_vectors)
    assert not np.array_equal(
        first.item_vectors, train_als(interactions(), AlsParameters(4, 0.1, iterations=10, seed=1)).item_vectors
    )


def test_weights_of_a_pair_add_up() -> None:
    """A pair that is there twice is like one of twice the weight."""
    once = Interactions.from_columns(["1", "1", "2"], ["a", "b", "b"], weights=[2.0, 1.0, 1.0])
    twice = Interactions.from_columns(["1", "1", "1", "2"], ["a", "a", "b", "b"])
    assert np.allclose(train_als(once, SMALL).item_vectors, train_als(twice, SMALL).item_vectors, atol=1e-6)


def test_steps_are_told() -> None:
    """Each round is told, with how many there are."""
    steps: list[tuple[int, int]] = []
    train_als(interactions(), SMALL, lambda *at: steps.append(at))
    assert steps == [(n, 10) for n in range(1, 11)]


@pytest.mark.parametrize(
    "wrong",
    [{"dimension": 0}, {"iterations": 0}, {"regularization": 0.0}, {"alpha": float("nan")}, {"seed": -1}],
)
def test_parameters_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    """A parameter out of its range is refused before anything is trained."""
    with pytest.raises(TrainingError, match=next(iter(wrong))):
        AlsParameters(**wrong)  # type: ignore[arg-type]  # of the field's type, or worse


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error is the pip command."""
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(ConfigError, match=r"pip install 'recsvc\[train\]'"):
        train_als(interactions(), SMALL)
