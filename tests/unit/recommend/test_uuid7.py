"""UUIDs of version 7."""

from __future__ import annotations

from uuid import RFC_4122

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend.uuid7 import RANDOM_BITS, uuid7

times = st.integers(0, 2**48 - 1)
randoms = st.integers(0, 2**RANDOM_BITS - 1)


def test_the_example_of_the_standard() -> None:
    """The vector of RFC 9562, appendix A.6."""
    made = uuid7(0x017F22E279B0, 0xCC3 << 62 | 0x18C4DC0C0C07398F)
    assert str(made) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(times, randoms)
def test_version_variant_and_time_can_be_read_back(unix_ms: int, bits: int) -> None:
    """Whatever the bits, it is a UUID of version 7 of that time."""
    made = uuid7(unix_ms, bits)
    assert (made.version, made.variant, made.int >> 80) == (7, RFC_4122, unix_ms)


@given(times, times, randoms, randoms)
def test_they_sort_by_time(one: int, other: int, bits: int, more: int) -> None:
    """As texts and as numbers they are in the order of their milliseconds."""
    if one < other:
        assert str(uuid7(one, bits)) < str(uuid7(other, more))
        assert uuid7(one, bits) < uuid7(other, more)


@given(times, randoms, randoms)
def test_every_random_bit_counts(unix_ms: int, one: int, other: int) -> None:
    """Other bits make another UUID."""
    assert (uuid7(unix_ms, one) == uuid7(unix_ms, other)) == (one == other)


@pytest.mark.parametrize(("unix_ms", "bits"), [(-1, 0), (2**48, 0), (0, -1), (0, 2**RANDOM_BITS)])
def test_numbers_that_do_not_fit_are_refused(unix_ms: int, bits: int) -> None:
    """Nothing is cut off in silence."""
    with pytest.raises(ValueError, match="bits"):
        uuid7(unix_ms, bits)
