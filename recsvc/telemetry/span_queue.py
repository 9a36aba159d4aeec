"""Spans on their way out: a bounded queue for each exporter, with what becomes of every one counted."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from recsvc.telemetry import metrics as m
from recsvc.telemetry.hop import CallHop, Hop
from recsvc.telemetry.rejections import Rejections
from recsvc.telemetry.spans import Readable, SpanRecord, of_call, of_command
from recsvc.telemetry.variables import batching

log = logging.getLogger(__name__)


class _Counted(SpanExporter):
    """Exports records through ``inner``; counts what it took, and says when that changes. Runs in a thread of its own.

    ``readable`` makes spans of them where ``inner`` takes no others. ``rejections``: what its collector answers.
    """

    def __init__(
        self, inner: SpanExporter, metrics: m.Metrics, name: str, readable: Readable | None, rejections: Rejections
    ) -> None:
        self.taken = 0
        self._inner = inner
        self._rejections = rejections
        self._readable = readable
        self._name = name
        self._counts = {result: metrics[m.SPANS].count(result) for result in ("exported", "failed")}
        self._works = True

    def __repr__(self) -> str:
        return f"_Counted({self._name}, {self.taken} taken)"

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """See SpanExporter; of records."""
        self.taken += len(spans)
        try:
            result = self._inner.export(self._readable.spans(spans) if self._readable is not None else spans)
        except Exception:  # whatever it is: these spans are lost, which is counted, and the next ones are not
            result = SpanExportResult.FAILURE
            if self._works:
                log.exception("traces: spans could not be exported")
        rejected, failure = self._rejections.take()
        taken = result is SpanExportResult.SUCCESS
        lost = min(rejected, len(spans)) if taken else len(spans)
        self._counts["exported"].add(len(spans) - lost)
        self._counts["failed"].add(lost)
        if self._works != (not lost):
            self._works = not lost
            failed = "rejects spans" if taken else f"takes no spans ({failure})"
            log.warning("traces: %s %s", self._name, f"{failed}, they are lost" if lost else "takes spans again")
        return result

    def shutdown(self) -> None:
        """See SpanExporter."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See SpanExporter."""
        return self._inner.force_flush(timeout_millis)


class SpanQueue:
    """Hands records of spans to one exporter, as far as there is room; see Spans.

    ``readable``: for an exporter of the SDK, which takes no records. ``baggage``: which entries of the caller's become
    attributes. ``rejections``: what the exporter's collector answers, where that is noted.
    """

    def __init__(  # noqa: PLR0913  # by their names
        self,
        exporter: SpanExporter,
        metrics: m.Metrics,
        *,
        name: str,
        readable: Readable | None = None,
        baggage: Iterable[str] = (),
        rejections: Rejections | None = None,
    ) -> None:
        self._baggage = frozenset(baggage)
        self._limits = SpanLimits()  # as the variables have them
        self._dropped = metrics[m.SPANS].count("dropped")
        self._room, batch, delay_ms = batching(os.environ)
        self._exporter = _Counted(exporter, metrics, name, readable, rejections or Rejections())
        self._given = 0
        self._processor = BatchSpanProcessor(
            self._exporter, max_queue_size=self._room, schedule_delay_millis=delay_ms, max_export_batch_size=batch
        )

    def __repr__(self) -> str:
        return f"SpanQueue({self._exporter!r}, {self.waiting} of {self._room} wait)"

    @property
    def waiting(self) -> int:
        """How many spans wait to be exported."""
        return self._given - self._exporter.taken

    def call(self, call: CallHop) -> None:
        """See Spans."""
        for record in of_call(call, self._baggage, self._limits):
            self._give(record)

    def command(self, hop: Hop) -> None:
        """See Spans."""
        self._give(of_command(hop, self._limits))

    def _give(self, record: SpanRecord) -> None:
        if self.waiting >= self._room:
            self._dropped.add()
            return
        self._given += 1
        self._processor.on_end(record)  # type: ignore[arg-type]  # it looks at no more than a record has

    def flush(self) -> None:
        """Export what waits; it blocks for as long as that takes."""
        self._processor.force_flush()

    def shutdown(self) -> None:
        """End the exporter at once, whatever it does, then its thread."""
        self._exporter.shutdown()
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK's


class ToAll:
    """Hands spans to several queues."""

    def __init__(self, queues: Sequence[SpanQueue]) -> None:
        self._queues = queues

    def __repr__(self) -> str:
        return f"ToAll({list(self._queues)})"

    def call(self, call: CallHop) -> None:
        """See Spans."""
        for queue in self._queues:
            queue.call(call)

    def command(self, hop: Hop) -> None:
        """See Spans."""
        for queue in self._queues:
            queue.command(hop)
