"""What is kept of readings, and for how long."""

from __future__ import annotations

from collections.abc import Sequence

from recsvc.inspect.page_fetch import Pages, address_of
from recsvc.inspect.page_series import Page, PageError
from recsvc.inspect.top_watch import Watch
from recsvc.telemetry import metrics as m

HERE, THERE = address_of("here:1"), address_of("there:2")


class Script:
    """Answers with the counts of a counter, one after another; None: there is no answer. A look is each 2 s."""

    def __init__(self, here: Sequence[float | None], there: Sequence[float | None] = ()) -> None:
        self._left = {HERE: iter(here), THERE: iter(there)}
        self._now = 0.0
        addresses = [HERE, THERE] if there else [HERE]
        self.watch = Watch(Pages(addresses, self._read, clock=lambda: self._now, patience_s=10.0))

    def _read(self, address: object) -> Page:
        count = next(self._left[HERE if address == HERE else THERE])
        if count is None:
            raise PageError("nobody listens there")
        return Page("one", {m.FETCH_SHED: {(): count}})

    def look(self) -> tuple[float | None, float, int]:
        """Look, and return the rate, over how long, and how many answer."""
        sight = self.watch.look()
        self._now += 2.0
        return sight.rates.growth(m.FETCH_SHED), sight.seconds, sight.answering


def test_two_readings_make_a_rate() -> None:
    """The first look has no rates, the second has."""
    script = Script([10.0, 16.0])
    assert [script.look() for _ in range(2)] == [(None, 0.0, 1), (3.0, 2.0, 1)]


def test_what_is_shown_is_of_the_last_ten_seconds() -> None:
    """Readings that are older than the span go, and their growth with them."""
    script = Script([0.0, 100.0, *[100.0] * 10])
    seen = [script.look() for _ in range(8)]
    assert seen[5] == (10.0, 10.0, 1)
    assert seen[6] == seen[7] == (0.0, 10.0, 1)
    assert repr(script.watch) == "Watch(Pages(1, 0 under way), 6 readings)"


def test_looks_that_are_far_apart_are_compared() -> None:
    """With an interval longer than the span the last two readings are what is shown."""
    script = Script([0.0, 10.0, 40.0])
    script.watch._span_s = 0.5
    assert [script.look()[0] for _ in range(3)] == [None, 5.0, 15.0]


def test_a_server_that_falls_silent_does_not_end_the_view() -> None:
    """Its problem is told, the others' rates stay, and when it comes back it has rates after two readings."""
    script = Script([0.0, 2.0, 4.0, 6.0, 8.0], [0.0, 4.0, None, 8.0, 16.0])
    assert script.look() == (None, 0.0, 2)
    assert script.look() == (3.0, 2.0, 2)
    sight = script.watch.look()
    assert (sight.answering, sight.silent) == (1, {THERE: "nobody listens there"})
    script._now += 2.0
    assert script.look()[0] == 1.0
    assert script.look()[0] == 5.0


def test_nobody_answers() -> None:
    """Where no page answers there is nothing to show, and why is told."""
    sight = Script([None]).watch.look()
    assert (sight.answering, sight.seconds, sight.rates.now) == (0, 0.0, {})
    assert sight.silent == {HERE: "nobody listens there"}
