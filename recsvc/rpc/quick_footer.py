"""The end of both replies: what did not work, which definitions answered, which views were read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from recsvc.online.answer import Degraded, ServedView
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.plan import ReadPlan
from recsvc.rpc.quick_wire import sized, tag, text, unless_empty, varint

_REASON: Final = tag(pb.Degradation, "reason")
_DEGRADED_VIEW: Final = tag(pb.Degradation, "view")
_VIEW: Final = tag(pb.ServedView, "view")
_VERSION: Final = tag(pb.ServedView, "version")
_EVENT_TIMES: Final = tag(pb.ServedView, "event_time_micros")
_STALE_AGES: Final = tag(pb.ServedView, "stale_age_micros")


class Footer:
    """Serializes the last fields of a reply to one plan. ``plain`` is what they are where all is as it should be."""

    def __init__(
        self,
        reply: type[pb.GetFeaturesResponse | pb.GetFeaturesBatchResponse],
        plan: ReadPlan,
        fingerprint: str,
    ) -> None:
        self._degraded = tag(reply, "degraded")
        self._view = tag(reply, "views")
        self._fingerprint = text(tag(reply, "registry_fingerprint"), fingerprint)
        self._views = [text(_VIEW, name) + _VERSION + varint(version) for name, version in plan.served]
        self.plain = self._fingerprint + b"".join(sized(self._view, view) for view in self._views)

    def __repr__(self) -> str:
        return f"Footer({len(self._views)} views)"

    def encode(
        self, degraded: Sequence[tuple[Degraded, str]], views: Sequence[ServedView], *, event_times: bool
    ) -> bytes:
        """Return the fields of an answer; ``event_times`` of rows, one for each, stand with their views."""
        if not degraded and not event_times and all(view.stale_micros is None for view in views):
            return self.plain
        parts = [self._degradation(reason, label) for reason, label in degraded]
        parts.append(self._fingerprint)
        for start, view in zip(self._views, views, strict=True):
            times = unless_empty(_EVENT_TIMES, view.event_micros.tobytes()) if event_times else b""
            ages = b"" if view.stale_micros is None else unless_empty(_STALE_AGES, view.stale_micros.tobytes())
            parts.append(sized(self._view, start + times + ages))
        return b"".join(parts)

    def _degradation(self, reason: Degraded, label: str) -> bytes:
        return sized(self._degraded, _REASON + varint(reason) + text(_DEGRADED_VIEW, label))
