"""How copies of a view's rows may be used: how long they are fresh, and how long they may stand in for the store."""

from __future__ import annotations

from dataclasses import dataclass

from recsvc.registry.model import Auto, FeatureView


@dataclass(frozen=True, slots=True)
class ViewPolicy:
    """Ages are in seconds and count from when the fetch of a copy was sent; 0: no copy may be used so.

    A copy younger than ``lifetime_s`` is fresh. One up to ``stale_s`` may stand in where the store cannot be read.
    ``kept``: whether what is fetched is kept for other calls.
    """

    lifetime_s: float
    stale_s: float
    kept: bool = True

    def within(self, max_staleness_s: float | None) -> ViewPolicy:
        """Return the policy of a call that allows copies up to ``max_staleness_s``; None: as the view is set."""
        if max_staleness_s is None or (max_staleness_s >= self.lifetime_s and max_staleness_s >= self.stale_s):
            return self
        return ViewPolicy(min(self.lifetime_s, max_staleness_s), min(self.stale_s, max_staleness_s), self.kept)

    def younger(self, by_s: float) -> ViewPolicy:
        """Return the policy of an answer that takes ``by_s`` to be made, once its rows are there."""
        return ViewPolicy(max(self.lifetime_s - by_s, 0.0), max(self.stale_s - by_s, 0.0), self.kept)

    @classmethod
    def of(cls, view: FeatureView, default: ViewPolicy) -> ViewPolicy:
        """Return what a view's definition says, and ``default`` where it leaves that to the server."""
        cache, stale = view.cache, view.stale_if_error
        lifetime_s = default.lifetime_s if isinstance(cache, Auto) else cache.total_seconds()
        stale_s = default.stale_s if isinstance(stale, Auto) else stale.total_seconds()
        return cls(lifetime_s, stale_s, kept=lifetime_s > 0 or stale_s > 0)
