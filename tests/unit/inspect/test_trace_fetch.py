"""Traces over HTTP: what Jaeger answers, and each way in which it does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest

from recsvc.errors import ConfigError, TraceError
from recsvc.inspect import trace_fetch
from recsvc.inspect.trace_fetch import base_url, fetch
from recsvc.inspect.trace_jaeger import trace_of
from tests.unit.inspect.answering import Answer, answering, json_answer
from tests.unit.inspect.trace_samples import TRACE_ID, failed_batch

PATH: Final = f"/api/traces/{TRACE_ID}"


def test_a_trace_is_read_from_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace is asked for once, below the path of the URL, and whatever proxy the environment names."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with answering({f"/jaeger{PATH}": json_answer(failed_batch())}) as server:
        found = fetch(base_url(f"{server.url}/jaeger/"), TRACE_ID)
    assert found == trace_of(failed_batch(), TRACE_ID)
    assert server.asked == [f"/jaeger{PATH}"]


NOT_FOUND: Final = {"data": None, "total": 0, "errors": [{"code": 404, "msg": "trace not found"}]}
BUSY: Final = {"data": None, "errors": [{"code": 500, "msg": "storage\nis " + "busy " * 99}]}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(json_answer(NOT_FOUND, 404), f"trace {TRACE_ID} is not at {{url}}: not sampled, not th", id="404"),
        pytest.param(Answer(b"<html>", 404), "{url} answered with HTTP 404; is it Jaeger's query API?", id="no Jaeger"),
        pytest.param(json_answer(BUSY, 500), "{url} answered with HTTP 500: storage is busy busy", id="failed"),
        pytest.param(Answer(b"<html>"), "{url} answered with what is not JSON; is it", id="a page"),
        pytest.param(Answer(b"[" * 100_000), "{url} answered with what is not JSON; is it", id="very deep"),
        pytest.param(Answer(b'{"data": [', length=99), "{url} answered with what is not JSON; is it", id="cut"),
        pytest.param(json_answer({"data": []}), f"{{url}}: trace {TRACE_ID} has no spans", id="empty"),
        pytest.param(json_answer({"x": 1}), "{url}: not Jaeger's JSON of a trace: it has no data", id="other JSON"),
        pytest.param(None, "no Jaeger answers at {url}: Remote end closed connection without", id="no answer"),
    ],
)
def test_what_is_no_trace_is_one_clear_line(answer: Answer | None, problem: str) -> None:
    """The error says where was asked, and what came instead."""
    with answering({} if answer is None else {PATH: answer}) as server:
        with pytest.raises(TraceError) as caught:
            fetch(server.url, TRACE_ID)
        assert str(caught.value).startswith(problem.format(url=server.url))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_no_jaeger_is_told(silent: socket.socket) -> None:
    """Where nothing listens, the error says so, and how to say where it is."""
    port = silent.getsockname()[1]
    silent.close()
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(
        TraceError, match=rf"no Jaeger answers at {url}: Connection refused \(--jaeger or RECSVC_JAEGER"
    ):
        fetch(url, TRACE_ID)


def test_silence_ends(silent: socket.socket) -> None:
    """A server that does not answer is waited for no longer than the time given."""
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    with pytest.raises(TraceError, match=rf"{url} did not answer within 0\.05 s"):
        fetch(url, TRACE_ID, timeout_s=0.05)


def test_an_answer_that_trickles_in_ends() -> None:
    """The time is for the whole answer, not for each piece of it."""
    ticking = count(0, 6)
    with (
        answering({PATH: Answer(b" " * 200_000)}) as server,
        pytest.raises(TraceError, match="did not answer within 10 s"),
    ):
        fetch(server.url, TRACE_ID, clock=lambda: next(ticking))


def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without end does not fill the memory."""
    monkeypatch.setattr(trace_fetch, "MOST_BYTES", 1 << 20)
    with (
        answering({PATH: Answer(b" " * (2 << 20))}) as server,
        pytest.raises(TraceError, match="answered with more than 1 MiB"),
    ):
        fetch(server.url, TRACE_ID)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("http://127.0.0.1:16686", "http://127.0.0.1:16686"),
        ("https://jaeger.internal/jaeger/", "https://jaeger.internal/jaeger"),
        ("http://[::1]:16686/", "http://[::1]:16686"),
    ],
)
def test_urls_are_taken(text: str, right: str) -> None:
    """A URL may have a path, and a slash at its end."""
    assert base_url(text) == right


@pytest.mark.parametrize(
    "text",
    [
        "", "127.0.0.1:16686", "file:///etc/passwd", "http://", "http://:1", "http://a:x", "http://a:70000", "http://[",
        "http://me:secret@a", "http://a/?x=1", "http://a/#x", "http://a b", "http://a\n", "http://ä",
    ],
)  # fmt: skip
def test_wrong_urls_are_refused(text: str) -> None:
    """What is no URL of a server is refused, and not repeated: it may hold a password."""
    with pytest.raises(ConfigError, match=r"--jaeger: give the URL of Jaeger's query API, http://HOST:PORT") as caught:
        base_url(text)
    assert "secret" not in str(caught.value)
