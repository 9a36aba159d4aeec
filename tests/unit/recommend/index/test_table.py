"""Vectors come into an index checked: one for each id, finite, and unit vectors where directions count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsvc.recommend.index.errors import BadIndexError
from recsvc.recommend.index.id_table import IdTable
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.table import vector_table


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        pytest.param(["a", "b"], np.ones((3, 2)), "2 ids for 3 vectors", id="missing id"),
        pytest.param(["a", "b", "a"], np.ones((3, 2)), "item 'a' comes twice", id="repeated id"),
        pytest.param(["a", "b"], np.array([[1, 2], [3, np.nan]]), "item 'b' has length nan", id="NaN"),
        pytest.param(["a"], np.array([[np.inf, 0]]), "item 'a' has length inf", id="infinite"),
        pytest.param(["a"], np.array([[1e16, 0]]), "finite, at most 1e", id="too long"),
        pytest.param(["a"], np.ones(2), "they must be rows of one length", id="no rows"),
        pytest.param(["a"], np.ones((1, 0)), "they must be rows of one length", id="no columns"),
    ],
)
def test_vectors_that_cannot_be_scored_are_refused(ids: list[str], vectors: NDArray[np.float64], message: str) -> None:
    """The error names the item and what would be right."""
    with pytest.raises(BadIndexError, match=message):
        vector_table(ids, vectors, Metric.L2)


def test_the_vectors_that_were_given_stay_as_they_are() -> None:
    """COSINE brings a copy to unit length, and leaves a vector of zeros alone."""
    given_vectors = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    table = vector_table(["a", "b"], given_vectors, Metric.COSINE)
    np.testing.assert_allclose(table.vectors, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    assert given_vectors.tolist() == [[3.0, 4.0], [0.0, 0.0]]
    assert table.longest == pytest.approx(1.0)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=20))
def test_packed_ids_read_like_a_list(ids: list[str]) -> None:
    """Length, every place from both ends, slices and iteration are those of a list of strings."""
    packed = IdTable.of(ids)
    assert len(packed) == len(ids)
    assert list(packed) == ids
    assert [packed[place] for place in range(-len(ids), len(ids))] == ids + ids
    assert packed[1::2] == ids[1::2]


def test_a_place_without_an_id_is_an_index_error() -> None:
    """Packed ids end where a list would."""
    with pytest.raises(IndexError):
        IdTable.of(["a"])[1]
