"""Log lines: JSON that a machine reads, with the trace they belong to, and nothing that must stay secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from recsvc.secret import Secret
from recsvc.telemetry import logs
from recsvc.telemetry.hop import CURRENT, CallHop


class Log:
    """A logger whose lines can be read."""

    def __init__(self, *, as_json: bool) -> None:
        self._lines = StringIO()
        self.logger = logging.Logger("recsvc.test")  # noqa: LOG001  # of this test alone
        handler = logging.StreamHandler(self._lines)
        handler.setFormatter(logs.formatter(as_json=as_json))
        handler.addFilter(logs._Redacted())
        self.logger.addHandler(handler)

    def text(self) -> str:
        """Return what was written."""
        return self._lines.getvalue()

    def line(self) -> dict[str, Any]:
        """Return the one line."""
        (line,) = self.text().splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture
def log() -> Log:
    """One that writes JSON."""
    return Log(as_json=True)


@pytest.fixture
def call() -> Iterator[CallHop]:
    """A sampled call, which is the current one."""
    made = CallHop("m", 0.0, sampled=True, trace_id=0xABC)
    token = CURRENT.set(made)
    yield made
    CURRENT.reset(token)


def test_a_line_is_one_object(log: Log) -> None:
    """Time, level, logger and text, in one line, also where the text has several."""
    log.logger.warning("the store %s\nsays no", "x")
    line = log.line()
    assert (line["event"], line["level"], line["logger"]) == ("the store x\nsays no", "warning", "recsvc.test")
    assert line["timestamp"].endswith("Z")


def test_a_line_of_a_sampled_call_has_its_trace(log: Log, call: CallHop) -> None:
    """From a line to its trace, and back; a call that is not sampled has none to go to."""
    log.logger.error("x")
    assert log.line()["trace_id"] == f"{0xABC:032x}"
    assert log.line()["span_id"] == f"{call.id:016x}"
    call.sampled = False
    other = Log(as_json=True)
    other.logger.error("x")
    assert "trace_id" not in other.line()


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_and_rows_do_not_show(*, as_json: bool) -> None:
    """By their type: secrets, and bytes as rows and keys are."""
    log = Log(as_json=as_json)
    log.logger.error("%s and %s and %r", Secret("hunter2"), b"fs:{user:seventy}", memoryview(b"abc"))
    log.logger.error("%(key)s", {"key": Secret("hunter2")})
    assert "hunter2" not in log.text()
    assert "seventy" not in log.text()
    assert "[17 bytes]" in log.text()


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    ("secret", "length"),
    [(b"fs:row:profile:v1:777000777", 27), (b"it's \x00\xff\n777000777", 17), (b"'\"777000777", 11), (b"", 0)],
)
def test_bytes_in_exceptions_do_not_show(secret: bytes, length: int, *, as_json: bool) -> None:
    """Keys of rows have ids in them: wherever an exception, its cause, or one that is an argument, prints bytes."""
    log = Log(as_json=as_json)
    error = ValueError(f"sub'{secret!r}' and b {[secret, 'kept']}")
    error.__cause__ = KeyError(secret)
    log.logger.error("no %s", error, exc_info=error)
    text = log.text()
    assert "777000777" not in text
    assert text.count(f"[{length} bytes]") == 5
    assert "KeyError" in text
    assert "'kept'" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("item b's title isn't 'x'", None),
        ('plan b"s title"s', None),
        ("verb'x'", None),
        (r"re.match(rb'777\d+', key)", "re.match([5 bytes], key)"),
        (r"""x = BR"7\"7", B'7'""", "x = [3 bytes], [1 bytes]"),
        (r"b'it\'s 777'", "[8 bytes]"),
        ("{b'777': 1}, [b'7', b\"7'7\"]", "{[3 bytes]: 1}, [[1 bytes], [3 bytes]]"),
    ],
)
def test_only_literals_of_bytes_are_taken_for_bytes(log: Log, text: str, shown: str | None) -> None:
    """Those that exceptions and lines of code have, with any prefix, and no English."""
    log.logger.error("%s", text)
    assert log.line()["event"] == (shown or text)


@pytest.mark.parametrize("as_json", [True, False])
def test_logins_are_cut_out_of_urls(*, as_json: bool) -> None:
    """Also those that an exception brings: libraries put the URL that they were given into their texts."""
    log = Log(as_json=as_json)
    error = ConnectionError("no answer from redis://admin:hunter2@10.0.0.1:6379/0")
    log.logger.error("rediss://u:hunter2@h does not answer", exc_info=error)
    log.logger.error("redis://user:pa@ss/hunter2@h:1 neither")
    assert "hunter2" not in log.text()
    assert "redis://***@10.0.0.1:6379/0" in log.text()
    assert "ConnectionError" in log.text()


def test_a_secret_shows_nowhere() -> None:
    """Not as text, in a format, or in a repr; what it is used for gets its bytes."""
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {secret!s} {[secret]}" + str(secret)
    assert secret.encode() == b"hunter2"
    assert not Secret()
    assert str(Secret()) == ""
