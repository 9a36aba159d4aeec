"""A call's deadline: the margin comes off, what is too little is refused, and nothing is left of what is past."""

from __future__ import annotations

import pytest

from recsvc.deadline import Deadline
from recsvc.errors import DeadlineError

NOW = 1_000.0


def test_the_margin_is_kept_back() -> None:
    """What is left for the work is what the caller has left, less the margin."""
    deadline = Deadline.after(0.1, NOW, default_s=9.0, margin_s=0.02)
    assert deadline.came == NOW
    assert deadline.at == pytest.approx(NOW + 0.08)


def test_a_call_without_a_deadline_has_the_default() -> None:
    """The margin comes off the default as well."""
    assert Deadline.after(None, NOW, default_s=0.5, margin_s=0.1).at == pytest.approx(NOW + 0.4)


@pytest.mark.parametrize("remaining", [-1.0, 0.0, 0.005])
def test_too_little_time_is_refused(remaining: float) -> None:
    """With the margin or less left there is no time for any work; both figures are told."""
    with pytest.raises(DeadlineError, match=r"^[05] ms are left, the server needs 5 ms to answer$"):
        Deadline.after(remaining, NOW, default_s=1.0, margin_s=0.005)


def test_without_a_margin_any_time_will_do() -> None:
    """A margin of 0 refuses only what is over."""
    assert Deadline.after(1e-6, NOW, default_s=1.0, margin_s=0.0).at > NOW
    with pytest.raises(DeadlineError):
        Deadline.after(0.0, NOW, default_s=1.0, margin_s=0.0)
