"""When what happens again and again is logged."""

from __future__ import annotations

from recsvc.telemetry.repeats import THINGS_KEPT, Repeats


class Rig:
    """Repeats, each to be logged at most every 10 s, with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.repeats = Repeats(lambda: self.now, 10.0)

    def due_at(self, now: float, *thing: str) -> int:
        """Let something happen."""
        self.now = now
        return self.repeats.due(*thing)


def test_the_first_is_due_and_then_one_in_each_interval() -> None:
    """What is due says how often it happened; another thing, or place, goes by its own time."""
    rig = Rig()
    assert [rig.due_at(now, "a", "x") for now in (0.0, 1.0, 9.9, 10.0, 19.9, 100.0)] == [1, 0, 0, 4, 0, 6]
    assert rig.due_at(100.0, "a", "y") == 1
    assert rig.due_at(100.0, "a", "x") == 0


def test_things_are_forgotten_before_they_are_too_many() -> None:
    """Things without an end leave those behind that happen now: what was told long ago counts anew."""
    rig = Rig()
    for number in range(10 * THINGS_KEPT):
        assert rig.due_at(number / 10, "node", str(number)) == 1
    assert len(rig.repeats._counts) == len(rig.repeats._told) <= THINGS_KEPT
    assert rig.due_at(THINGS_KEPT, "node", str(10 * THINGS_KEPT - 1)) == 0
    assert rig.due_at(THINGS_KEPT, "node", "0") == 1
