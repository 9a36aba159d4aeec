"""A call's deadline as a value: when the call came, when the answer must be out."""

from __future__ import annotations

from typing import NamedTuple

from recsvc.errors import DeadlineError


class Deadline(NamedTuple):
    """Monotonic times in seconds: when the call ``came``, and ``at`` which its work must be done.

    The margin for answering is taken off already.
    """

    came: float
    at: float

    @classmethod
    def after(cls, remaining_s: float | None, now: float, *, default_s: float, margin_s: float) -> Deadline:
        """Return the deadline of a call that has ``remaining_s`` left (None: the caller set none).

        Raises DeadlineError where less than the margin is left.
        """
        remaining = default_s if remaining_s is None else remaining_s
        if remaining <= margin_s:
            left, needed = f"{max(remaining, 0.0) * 1000:.0f} ms", f"{margin_s * 1000:.0f} ms"
            raise DeadlineError(f"{left} are left, the server needs {needed} to answer")
        return cls(now, now + remaining - margin_s)
