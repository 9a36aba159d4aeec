"""Reads a trace from Jaeger's query API over HTTP. It blocks: for a command, not for an event loop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from recsvc.errors import ConfigError, TraceError
from recsvc.inspect.http_read import PIECE, TooLargeError, read
from recsvc.inspect.trace_jaeger import trace_of
from recsvc.inspect.trace_spans import Trace

TIMEOUT_S: Final = 10.0
MOST_BYTES: Final = 64 << 20
"""Of an answer: some 50,000 spans."""
_SAID: Final = 200


def base_url(text: str) -> str:
    """Return where Jaeger's query API is, without a slash at the end. Raises ConfigError."""
    try:
        parts = urlsplit(text)
        right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    plain = text.isascii() and text.isprintable() and " " not in text
    if not right or not plain or "@" in parts.netloc or parts.query or parts.fragment:
        # The text is not repeated: it may hold a password.
        raise ConfigError("--jaeger: give the URL of Jaeger's query API, http://HOST:PORT, without a user or a query")
    return text.rstrip("/")


def fetch(
    base: str, trace_id: str, *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = time.monotonic
) -> Trace:
    """Return a trace from Jaeger at ``base``, straight and not by a proxy of the environment.

    Raises TraceError where the trace is not there, or no Jaeger answers within ``timeout_s``.
    """
    body = _get(base, trace_id, timeout_s, clock)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise TraceError(f"{base} answered with what is not JSON; is it Jaeger's query API?") from None
    try:
        return trace_of(document, trace_id)
    except TraceError as error:
        raise TraceError(f"{base}: {error}") from None


def _get(base: str, trace_id: str, timeout_s: float, clock: Callable[[], float]) -> bytes:
    try:
        return read(f"{base}/api/traces/{trace_id}", timeout_s=timeout_s, most=MOST_BYTES, clock=clock)
    except HTTPError as error:
        with error:
            raise _refused(error, base, trace_id) from None
    except TooLargeError:
        raise TraceError(f"{base} answered with more than {MOST_BYTES >> 20} MiB") from None
    except (OSError, HTTPException) as error:
        raise _no_answer(error, base, timeout_s) from None


def _no_answer(error: Exception, base: str, timeout_s: float) -> TraceError:
    why = error.reason if isinstance(error, URLError) else error
    if isinstance(why, TimeoutError):
        return TraceError(f"{base} did not answer within {timeout_s:g} s")
    said = (why.strerror if isinstance(why, OSError) else None) or str(why) or type(why).__name__
    return TraceError(f"no Jaeger answers at {base}: {said} (--jaeger or RECSVC_JAEGER says where it is)")


def _refused(error: HTTPError, base: str, trace_id: str) -> TraceError:
    said = _said(error)
    if error.code == HTTPStatus.NOT_FOUND and said is not None:
        return TraceError(
            f"trace {trace_id} is not at {base}: not sampled, not there yet (spans are sent every few seconds),"
            " or no longer kept"
        )
    return TraceError(f"{base} answered with HTTP {error.code}{f': {said}' if said else ''}; is it Jaeger's query API?")


def _said(error: HTTPError) -> str | None:
    """Return the message of Jaeger's error document; None where the answer is none."""
    try:
        found = json.loads(error.read(PIECE))["errors"][0]["msg"]
    except (ValueError, RecursionError, LookupError, TypeError, OSError, HTTPException):
        return None
    return " ".join(str(found)[:_SAID].split())
