"""Whose trace a call continues, and whether it is sampled: as the W3C and OpenTelemetry have it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from recsvc.telemetry.trace_context import Parent, Sampling, carrier_of, parent_of, sampling_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
    ],
)
def test_a_valid_header_is_read(header: str, *, sampled: bool) -> None:
    """Trace, span and flag are the caller's, also of versions to come."""
    assert parent_of(header) == Parent(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_not_valid_is_no_parent(header: str | None) -> None:
    """A header that is not as it should be is passed over, as the specification wants it."""
    assert parent_of(header) is None


@given(st.text(alphabet="0123456789abcdefABCDEF-x \n", max_size=70))
def test_any_text_is_read_as_the_sdk_reads_it(header: str) -> None:
    """Whatever comes, it is a parent where it is one to OpenTelemetry's own propagator, unless that is more lenient."""
    found = parent_of(header)
    context = TraceContextTextMapPropagator().extract({"traceparent": header})
    span = next(iter(context.values()), None)
    if found is not None:
        assert isinstance(span, NonRecordingSpan)
        assert (span.get_span_context().trace_id, span.get_span_context().span_id) == found[:2]


def test_headers_are_found_among_others() -> None:
    """Of a call's metadata three headers count; several of one kind are joined, two parents are none."""
    found = carrier_of([("user-agent", "x"), ("traceparent", "p"), ("tracestate", "a=1"), ("tracestate", "b=2")])
    assert found == ("p", "a=1,b=2", None)
    assert carrier_of([("baggage", "k=v"), ("x-bin", b"\0")]) == (None, None, "k=v")
    assert carrier_of([("traceparent", "p"), ("traceparent", "q")]) == (None, None, None)
    assert carrier_of(None) == carrier_of([]) == (None, None, None)


@given(st.integers(1, 2**128 - 1), st.floats(0, 1), st.sampled_from([None, True, False]))
def test_samples_what_the_sdk_samples(trace_id: int, ratio: float, parent: bool | None) -> None:  # noqa: FBT001  # generated
    """For any trace and ratio the choice is that of OpenTelemetry's parent-based sampler: services agree on traces."""
    own = None if parent is None else Parent(trace_id, 1, parent)
    context = None
    if parent is not None:
        flags = TraceFlags(TraceFlags.SAMPLED if parent else TraceFlags.DEFAULT)
        context = set_span_in_context(NonRecordingSpan(SpanContext(trace_id, 1, is_remote=True, trace_flags=flags)))
    theirs = ParentBased(TraceIdRatioBased(ratio)).should_sample(context, trace_id, "name").decision
    assert Sampling(ratio).takes(own, trace_id) is (theirs is Decision.RECORD_AND_SAMPLE)
    alone = TraceIdRatioBased(ratio).should_sample(None, trace_id, "name").decision
    assert Sampling(ratio, by_parent=False).takes(own, trace_id) is (alone is Decision.RECORD_AND_SAMPLE)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Sampling(1.0)),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, Sampling(1.0, by_parent=False)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, Sampling(0.0, by_parent=False, late=False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, Sampling(0.0)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, Sampling(0.25, by_parent=False)),
        ({"OTEL_TRACES_SAMPLER": "Parentbased_TraceIdRatio", "OTEL_TRACES_SAMPLER_ARG": " 0.01 "}, Sampling(0.01)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, Sampling(1.0)),
    ],
)
def test_standard_variables_choose_the_sampler(environment: dict[str, str], expected: Sampling) -> None:
    """All six standard samplers are understood."""
    assert sampling_of(environment) == expected


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER: .*jaeger_remote.*traceidratio"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "many"}, "OTEL_TRACES_SAMPLER_ARG: 'many'"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.5"}, "OTEL_TRACES_SAMPLER_ARG: '1.5'"),
    ],
)
def test_a_wrong_sampler_is_named(environment: dict[str, str], named: str) -> None:
    """A sampler that there is not, or a ratio that is none, is refused with the variable's name."""
    with pytest.raises(ValueError, match=named):
        sampling_of(environment)
