"""What a bare span of OpenTelemetry's SDK costs: started, ended and exported, without attributes.

Usage: python telemetry_span_program.py ENDPOINT SPANS. Prints the CPU seconds per span, with all threads.
"""

from __future__ import annotations

import sys
import time

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def main() -> None:
    """Make spans one after the other, and export them."""
    endpoint, count = sys.argv[1], int(sys.argv[2])
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint), max_queue_size=2 * count + 1_024))
    tracer = provider.get_tracer("bench")
    for number in (min(count, 500), count):  # the first ones open the connection, and do not count
        before = time.process_time()
        for _ in range(number):
            tracer.start_span("bare").end()
        provider.force_flush()
        seconds = (time.process_time() - before) / number
    print(seconds)
    provider.shutdown()


if __name__ == "__main__":
    main()
