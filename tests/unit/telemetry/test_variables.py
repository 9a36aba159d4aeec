"""What OpenTelemetry's variables ask for: what cannot be done is said by its name, what does not matter is let be."""

from __future__ import annotations

import pytest

from recsvc.telemetry import variables

OTLP = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp"}
HTTP = {**OTLP, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
CONSOLE = {"OTEL_TRACES_EXPORTER": "console"}
EXPONENTIAL = {
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram",
}
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROVIDER = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER"
NO_FILE = {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such.pem"}


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: .*'zipkin'.*otlp"),
        ({"OTEL_METRICS_EXPORTER": "statsd"}, "OTEL_METRICS_EXPORTER: .*'statsd'"),
        ({**CONSOLE, "OTEL_PROPAGATORS": "b3"}, "OTEL_PROPAGATORS: .*b3"),
        ({"OTEL_PROPAGATORS": "b3"}, "OTEL_PROPAGATORS: .*b3"),
        ({**CONSOLE, "OTEL_TRACES_SAMPLER": "most"}, "OTEL_TRACES_SAMPLER"),
        ({"OTEL_TRACES_SAMPLER": "most"}, "OTEL_TRACES_SAMPLER"),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, "OTEL_LOGS_EXPORTER"),
        ({"OTEL_CONFIG_FILE": "otel.yaml"}, "OTEL_CONFIG_FILE"),
        ({"OTEL_LOG_LEVEL": "loud"}, "OTEL_LOG_LEVEL: 'loud'.*error"),
        ({**OTLP, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({**OTLP, "OTEL_BSP_EXPORT_TIMEOUT": "soon"}, "OTEL_BSP_EXPORT_TIMEOUT: 'soon'"),
        ({**OTLP, "OTEL_EXPORTER_OTLP_TIMEOUT": "10s"}, "OTEL_EXPORTER_OTLP_TIMEOUT: '10s' is no number"),
        ({**OTLP, "OTEL_METRIC_EXPORT_INTERVAL": "-1"}, "OTEL_METRIC_EXPORT_INTERVAL: '-1'"),
        ({**OTLP, **NO_FILE}, "OTEL_EXPORTER_OTLP_CERTIFICATE: .*'/no/such.pem'"),
        ({**OTLP, "OTEL_METRICS_EXEMPLAR_FILTER": "always_on"}, "OTEL_METRICS_EXEMPLAR_FILTER: .*trace_based"),
        ({**OTLP, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "x"}, "_TEMPORALITY_PREFERENCE: 'x'.*delta"),
        ({**OTLP, **EXPONENTIAL}, "_DEFAULT_HISTOGRAM_AGGREGATION: .*explicit_bucket_histogram"),
        ({**HTTP, PROVIDER: "gcp"}, f"{PROVIDER}: .*HEADERS"),
        (
            {**HTTP, "OTEL_PYTHON_EXPORTER_OTLP_HTTP_METRICS_CREDENTIAL_PROVIDER": "gcp"},
            "OTEL_PYTHON_EXPORTER_OTLP_HTTP_METRICS_CREDENTIAL_PROVIDER: ",
        ),
    ],
)
def test_what_cannot_be_done_is_named(environment: dict[str, str], named: str) -> None:
    """A variable that asks for what there is not ends the start with its name, and is never passed over."""
    with pytest.raises(ValueError, match=named):
        variables.wanted(environment, metrics=True)


@pytest.mark.parametrize(
    "environment",
    [
        NO_FILE,
        {"OTEL_METRICS_EXPORTER": "prometheus", **NO_FILE},
        {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_METRICS_EXEMPLAR_FILTER": "always_on"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXEMPLAR_FILTER": "always_on", **EXPONENTIAL},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE": "/no/such.pem"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": __file__, **NO_FILE},
        {"OTEL_TRACES_EXPORTER": "otlp", PROVIDER: "gcp"},
        {**OTLP, "OTEL_BSP_EXPORT_TIMEOUT": "0"},
        {**CONSOLE, "OTEL_METRICS_EXPORTER": "none", ENDPOINT: "ftp://x"},
        {"OTEL_SDK_DISABLED": "true", **HTTP, ENDPOINT: "ftp://x", "OTEL_TRACES_SAMPLER": "most"},
    ],
)
def test_what_has_no_effect_may_be_anything(environment: dict[str, str]) -> None:
    """What concerns an exporter that there is not, or that nobody reads, ends no start."""
    variables.wanted(environment, metrics=True)


def test_metrics_that_are_off_are_not_exported() -> None:
    """Where nothing is measured, it does not matter where it would go."""
    found = variables.wanted({**OTLP, "OTEL_METRIC_EXPORT_INTERVAL": "-1"}, metrics=False)
    assert (found.spans, found.metrics) == (["otlp"], ())


@pytest.mark.parametrize(("value", "told"), [("yes", 1), ("1", 1), ("False", 0), ("", 0), ("TRUE", 0)])
def test_only_true_disables(value: str, told: int, caplog: pytest.LogCaptureFixture) -> None:
    """As the specification has it; who writes something else is told that it does nothing."""
    found = variables.wanted({**OTLP, "OTEL_SDK_DISABLED": value}, metrics=True)
    assert bool(found.spans) == (value != "TRUE")
    assert caplog.text.count("OTEL_SDK_DISABLED") == told


@pytest.mark.parametrize("protocol", [OTLP, HTTP])
@pytest.mark.parametrize(
    "endpoint", ["ftp://x", "http://h:99999", "http://h:x", "http://", "http://:4317", "http://h h:1", "h:99999", "h/p"]
)
def test_an_endpoint_that_is_none_is_named(protocol: dict[str, str], endpoint: str) -> None:
    """Whatever can never be sent to ends the start, in the variable of all signals or of one."""
    with pytest.raises(ValueError, match=f"^{ENDPOINT}: .*HOST:PORT"):
        variables.wanted({**protocol, ENDPOINT: endpoint}, metrics=True)
    name = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
    with pytest.raises(ValueError, match=f"^{name}: "):
        variables.wanted({**protocol, name: endpoint}, metrics=True)


@pytest.mark.parametrize("endpoint", ["notaurl", "collector:4317", "dns:///collector:4317", "unix:///run/otlp.sock"])
def test_names_without_a_scheme_are_those_of_grpc(endpoint: str) -> None:
    """It resolves them itself; over HTTP they lead nowhere."""
    assert variables.endpoint({ENDPOINT: endpoint}, "TRACES") == endpoint
    with pytest.raises(ValueError, match=ENDPOINT):
        variables.wanted({**HTTP, ENDPOINT: endpoint}, metrics=True)


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({}, "http://localhost:4317"),
        (HTTP, "http://localhost:4318"),
        ({ENDPOINT: "https://[::1]:4317"}, "https://[::1]:4317"),
        ({**HTTP, ENDPOINT: "https://ann:hunter2@h/otlp?key=hunter2"}, "https://h/otlp"),
        ({ENDPOINT: "http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:1"}, "http://b:1"),
    ],
)
def test_an_endpoint_is_told_without_its_login(environment: dict[str, str], shown: str) -> None:
    """Log lines say where spans should have gone, and nothing that must stay secret."""
    assert variables.endpoint(environment, "TRACES") == shown


def test_an_error_tells_no_login() -> None:
    """Nor does what ends the start."""
    with pytest.raises(ValueError, match="'h:99999' is no endpoint") as raised:
        variables.wanted({**OTLP, ENDPOINT: "http://ann:hunter2@h:99999"}, metrics=True)
    assert "hunter2" not in str(raised.value)
