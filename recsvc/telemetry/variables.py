"""OpenTelemetry's environment variables: what they ask for, or an error with the name of the one that cannot be done.

The SDK passes over most of what it does not understand, and raises for some of it without saying which variable it was.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Final, NamedTuple

from recsvc.telemetry import endpoints
from recsvc.telemetry.trace_context import PROPAGATORS, sampling_of

log = logging.getLogger(__name__)

PAGE_PORT: Final = 9464
"""Of the page for Prometheus where OTEL_METRICS_EXPORTER asks for it: OpenTelemetry's default."""
PROTOCOLS: Final = ("grpc", "http/protobuf")
COMPRESSIONS: Final = {"grpc": ("none", "gzip"), "http/protobuf": ("none", "gzip", "deflate")}
"""What of them collectors understand, by protocol."""
QUEUE: Final = 16_384
"""Spans that wait, where no variable says how many: some 30 MB. The SDK's 2,048 are a tenth of a second."""
BATCH: Final = 512
"""Spans that are sent at once, where no variable says how many, and the queue is not shorter."""
DELAY_MS: Final = 1_000.0
"""How long they gather, where no variable says it."""
_CHOICES: Final = {
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": ("cumulative", "delta", "lowmemory"),
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": ("explicit_bucket_histogram",),
    "OTEL_METRICS_EXEMPLAR_FILTER": ("trace_based", "always_off"),
}
"""Of metrics that are sent."""
_FILES: Final = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")


class Wanted(NamedTuple):
    """Names of exporters by signal, and from which level on OpenTelemetry's own loggers are heard."""

    spans: Sequence[str] = ()
    metrics: Sequence[str] = ()
    log_level: int = logging.CRITICAL

    @property
    def pushed(self) -> Sequence[str]:
        """Exporters that send metrics; Prometheus comes for them."""
        return [name for name in self.metrics if name != "prometheus"]


def drop_empty(environment: MutableMapping[str, str]) -> None:
    """Take empty variables away: they are to be as ones that are not set, and the SDK takes some for wrong values."""
    for name in [name for name, text in environment.items() if name.startswith("OTEL_") and not text.strip()]:
        del environment[name]


def wanted(environment: Mapping[str, str], *, metrics: bool) -> Wanted:
    """Return what is to be exported; ``metrics``: whether there are any.

    Raises ValueError for what the variables ask for and nobody here does. Where the SDK is disabled none of them
    counts, and what concerns the exporters of a signal counts where that signal is exported.
    """
    if _disabled(environment):
        return Wanted()
    _refuse_unread(environment)
    sampling_of(environment)
    propagators(environment)
    known = ("otlp", "console", "prometheus", "none")
    found = Wanted(
        _exporters(environment, "TRACES", ("otlp", "console", "none")),
        _exporters(environment, "METRICS", known) if metrics else (),
        _log_level(environment),
    )
    if found.spans:
        _whole(environment, "OTEL_BSP_EXPORT_TIMEOUT", 0, least=0)
    if found.pushed:
        _check_sent(environment)
    for signal, names in (("TRACES", found.spans), ("METRICS", found.metrics)):
        if "otlp" in names:
            _check_otlp(environment, signal)
    return found


def _disabled(environment: Mapping[str, str]) -> bool:
    text = _text(environment, "OTEL_SDK_DISABLED")
    if text not in {"", "true", "false"}:
        log.warning("OTEL_SDK_DISABLED: %r disables nothing, only true does", text)
    return text == "true"


def _refuse_unread(environment: Mapping[str, str]) -> None:
    for name in ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"):
        if name in environment:
            raise ValueError(f"{name}: files of configuration are not read; say it by variables")
    logs = _text(environment, "OTEL_LOGS_EXPORTER")
    if logs not in {"", "none"}:
        raise ValueError(f"OTEL_LOGS_EXPORTER: {logs!r} is not exported to, logs go to stderr as JSON; write none")


def _check_sent(environment: Mapping[str, str]) -> None:
    """Check what concerns metrics that are sent, to wherever it is."""
    for name, known in _CHOICES.items():
        _one_of(name, _text(environment, name) or known[0], known)
    for name in ("OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT"):
        _number(environment, name, math.inf)


def _check_otlp(environment: Mapping[str, str], signal: str) -> None:
    """Check how a signal is sent over OTLP."""
    endpoint(environment, signal)
    _number(environment, _variable(environment, signal, "TIMEOUT"), math.inf)
    for kind in _FILES:
        name = _variable(environment, signal, kind)
        path = environment.get(name)
        if path is not None and not os.access(path, os.R_OK):
            raise ValueError(f"{name}: there is no file {path!r} that can be read")
    if protocol(environment, signal) == "grpc":
        return
    for of in ("", f"{signal}_"):
        name = f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{of}CREDENTIAL_PROVIDER"
        if name in environment:
            raise ValueError(f"{name}: there are no providers here; write OTEL_EXPORTER_OTLP_HEADERS")


def _exporters(environment: Mapping[str, str], signal: str, known: Sequence[str]) -> list[str]:
    """Return the names of exporters that are wanted of a signal: none, where no exporter or endpoint is named."""
    variable = f"OTEL_{signal}_EXPORTER"
    text = _text(environment, variable)
    if not text:
        return ["otlp"] if _variable(environment, signal, "ENDPOINT") in environment else []
    wanted = list(dict.fromkeys(listed(text)))
    for name in wanted:
        if name not in known:
            raise ValueError(f"{variable}: there is no exporter {name!r} here; there are {', '.join(known)}")
    return [name for name in wanted if name != "none"]


def protocol(environment: Mapping[str, str], signal: str) -> str:
    """Return which of PROTOCOLS is spoken for a signal."""
    return _of_otlp(environment, signal, "PROTOCOL", PROTOCOLS)


def compression(environment: Mapping[str, str], signal: str) -> str:
    """Return how what is sent for a signal is compressed."""
    return _of_otlp(environment, signal, "COMPRESSION", COMPRESSIONS[protocol(environment, signal)])


def endpoint(environment: Mapping[str, str], signal: str) -> str:
    """Return where a signal is sent to over OTLP, as log lines have it: without a login."""
    name, spoken = _variable(environment, signal, "ENDPOINT"), protocol(environment, signal)
    return endpoints.shown(name, environment.get(name, endpoints.DEFAULTS[spoken]), spoken)


def page(environment: Mapping[str, str]) -> str:
    """Return where a page for Prometheus is to be, HOST:PORT."""
    host = environment.get("OTEL_EXPORTER_PROMETHEUS_HOST", "localhost").strip()
    return f"{host}:{_whole(environment, 'OTEL_EXPORTER_PROMETHEUS_PORT', PAGE_PORT, least=0)}"


def propagators(environment: Mapping[str, str]) -> frozenset[str]:
    """Return in which headers a caller's trace comes."""
    text = _text(environment, "OTEL_PROPAGATORS")
    if not text:
        return PROPAGATORS
    wanted = frozenset(listed(text)) - {"none"}
    if not wanted <= PROPAGATORS:
        others = ", ".join(sorted(wanted - PROPAGATORS))
        raise ValueError(
            f"OTEL_PROPAGATORS: there is no {others} here; there are {', '.join(sorted(PROPAGATORS))}, none"
        )
    return wanted


def _log_level(environment: Mapping[str, str]) -> int:
    """Return from which level on OpenTelemetry's own loggers are heard: by default they say nothing.

    They have a line for every batch that is lost, where ours say it once, and lines with what callers sent.
    """
    levels = {name.lower(): level for name, level in logging.getLevelNamesMapping().items() if level}
    levels |= dict.fromkeys(("none", "off"), logging.CRITICAL)
    text = _text(environment, "OTEL_LOG_LEVEL") or "none"
    return levels[_one_of("OTEL_LOG_LEVEL", text, tuple(levels))]


class Batching(NamedTuple):
    """How many spans wait, how many are sent at once, and how long they gather."""

    room: int
    batch: int
    delay_ms: float


def batching(environment: Mapping[str, str]) -> Batching:
    """Return what the variables say of it."""
    room = _whole(environment, "OTEL_BSP_MAX_QUEUE_SIZE", QUEUE)
    batch = _whole(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(BATCH, room))
    if batch > room:
        raise ValueError(
            f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE: {batch} are more than may wait, OTEL_BSP_MAX_QUEUE_SIZE is {room}"
        )
    return Batching(room, batch, _number(environment, "OTEL_BSP_SCHEDULE_DELAY", DELAY_MS))


def listed(text: str) -> Iterator[str]:
    """Yield the parts of a text with commas between."""
    return (part.strip() for part in text.split(",") if part.strip())


def _text(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip().lower()


def _variable(environment: Mapping[str, str], signal: str, what: str) -> str:
    """Return which variable counts for a signal: its own where it is set, or that of all."""
    own = f"OTEL_EXPORTER_OTLP_{signal}_{what}"
    return own if own in environment else f"OTEL_EXPORTER_OTLP_{what}"


def _of_otlp(environment: Mapping[str, str], signal: str, what: str, known: Sequence[str]) -> str:
    """Return what is said of a signal, or else of all; by default the first that is known."""
    name = _variable(environment, signal, what)
    return _one_of(name, _text(environment, name) or known[0], known)


def _one_of(name: str, text: str, known: Sequence[str]) -> str:
    if text not in known:
        raise ValueError(f"{name}: {text!r} is not done here; write {' or '.join(known)}")
    return text


def _whole(environment: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    text = environment.get(name)
    if text is None:
        return default
    if not text.strip().isdecimal() or int(text) < least:
        raise ValueError(f"{name}: {text!r} is no whole number of at least {least}")
    return int(text)


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{name}: {text!r} is no number above 0")
    return number
