"""Log lines: JSON with the trace and span that they belong to, or text for a terminal; never a secret.

Our modules log with the standard library; structlog renders. Redaction goes by type: a value that is a Secret, or
bytes (rows, keys), never shows, nor do bytes in the text of an exception; of URLs the login is cut out.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from recsvc.secret import Secret
from recsvc.telemetry.hop import CURRENT

_LOGIN: Final = re.compile(r"(?<=://)[^\s\"'<>]*@")
_BYTES: Final = re.compile(r"""(?<!\w)(?:r?b|br)(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)")(?!\w)""", re.IGNORECASE)
"""As repr() or a line of code writes them; no word goes on behind the quote, as it does in "item b's title isn't"."""
_ESCAPED: Final = re.compile(r"\\(?:x[0-9a-f]{2}|.)")


class _Redacted(logging.Filter):
    """Takes out of a record's arguments what must not show, by their type."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact, and let every record through."""
        if isinstance(record.args, tuple):
            record.args = tuple(_shown(arg) for arg in record.args)
        elif record.args:
            record.args = {key: _shown(arg) for key, arg in record.args.items()}
        return True


def _shown(value: object) -> object:
    if isinstance(value, Secret):
        return "[redacted]"
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(len(value))
    return value


def _bytes(count: int) -> str:
    return f"[{count} bytes]"


def _shown_bytes(found: re.Match[str]) -> str:
    return _bytes(len(_ESCAPED.sub(".", found[1] or found[2] or "")))


def _with_trace(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the trace and span of the call that the line is about, where it is sampled."""
    hop = CURRENT.get()
    if hop is not None and hop.call.sampled:
        line["trace_id"], line["span_id"] = f"{hop.call.trace_id:032x}", f"{hop.id:016x}"
    return line


def _redacted(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take out of texts, also those of exceptions, what must not show: bytes, and logins in URLs."""
    for key in ("event", "exception"):
        if isinstance(text := line.get(key), str):
            line[key] = _LOGIN.sub("***@", _BYTES.sub(_shown_bytes, text))
    return line


def formatter(*, as_json: bool, colors: bool = False) -> logging.Formatter:
    """Return what makes lines of records of the standard library."""
    before: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_trace,
    ]
    last: structlog.typing.Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    if not as_json:
        last = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    chain: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    chain += [structlog.processors.format_exc_info, _redacted, last]
    return structlog.stdlib.ProcessorFormatter(processors=chain, foreign_pre_chain=before)


def set_up(level: str, form: str) -> None:
    """Send log lines to stderr, unless somebody has said already where they go.

    ``form``: json, text, or auto, which is text for a terminal and JSON for all else.
    """
    terminal = sys.stderr.isatty()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(as_json=form == "json" or (form == "auto" and not terminal), colors=terminal))
    handler.addFilter(_Redacted())
    logging.basicConfig(level=level.upper(), handlers=[handler])
