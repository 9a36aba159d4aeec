"""Endpoints of collectors: whether anything can be sent there, and how they stand in log lines.

The SDK takes any text, and then nothing arrives.
https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

DEFAULTS: Final[Mapping[str, str]] = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
"""Where no variable says one, by protocol."""
_FORMS: Final = {"grpc": "http://HOST:PORT, https://HOST:PORT or HOST:PORT", "http/protobuf": "http(s)://HOST:PORT"}
_NAMED: Final = re.compile(r"(?:dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):(?!//[^/])")
"""How names begin that gRPC resolves itself; of one with an authority the SDK would take that alone."""


def shown(variable: str, text: str, protocol: str) -> str:
    """Return an endpoint without login and query; raises ValueError, which names the variable, for what is none."""
    if protocol == "grpc" and _NAMED.match(text):
        return text
    parts = _parts(text)
    if parts is None or not parts.hostname or not _is_sent_to(parts, protocol):
        told = text.rpartition("@")[2]  # never a login
        raise ValueError(f"{variable}: {told!r} is no endpoint; write {_FORMS[protocol]}")
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    return f"{scheme}{parts.netloc.rpartition('@')[2]}{parts.path}"


def _parts(text: str) -> SplitResult | None:
    """Return the parts of a URL, or of HOST:PORT without a scheme; None where host or port cannot be one."""
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        _ = parts.port  # raises, where it is none
    except ValueError:
        return None
    return None if any(map(str.isspace, text)) else parts


def _is_sent_to(parts: SplitResult, protocol: str) -> bool:
    if parts.scheme:
        return parts.scheme in {"http", "https"}
    return protocol == "grpc" and not (parts.path or parts.query or parts.fragment)
