"""Reading pages over HTTP: addresses, real servers, and servers that do not answer as they should."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from recsvc.errors import ConfigError
from recsvc.inspect.page_fetch import Answer, PageReader, Pages, address_of
from recsvc.inspect.page_series import Page, PageError
from recsvc.telemetry import metrics as m

Reply = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(reply: Reply) -> Iterator[str]:
    """Serve a page on a free port, and yield where."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answering(text: bytes, status: int = 200) -> Reply:
    """Return what answers so to all requests for /metrics."""

    def reply(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status if request.path == "/metrics" else 404)
        request.end_headers()
        request.wfile.write(text)

    return reply


@pytest.mark.parametrize(
    ("text", "url", "name"),
    [
        ("127.0.0.1:9464", "http://127.0.0.1:9464/metrics", "127.0.0.1:9464"),
        ("[::1]:9464", "http://[::1]:9464/metrics", "[::1]:9464"),
        ("http://host/", "http://host/metrics", "host"),
        ("https://host:1/its/page?all=1", "https://host:1/its/page?all=1", "host:1/its/page"),
        ("host:1/page", "http://host:1/page", "host:1/page"),
    ],
)
def test_pages_are_named_by_address_or_url(text: str, url: str, name: str) -> None:
    """HOST:PORT is the page that servers have by default; a URL says which it is."""
    address = address_of(text)
    assert (address.url, str(address)) == (url, name)


@pytest.mark.parametrize("text", ["", "host", "host:x", ":9464", "host:99999", "file:///etc/hosts", "http://[::1"])
def test_other_addresses_are_refused(text: str) -> None:
    """What is no address says how to write one."""
    with pytest.raises(ConfigError, match="write HOST:PORT or http://HOST:PORT/metrics"):
        address_of(text)


def test_passwords_are_refused_and_not_shown() -> None:
    """Whoever puts a password into the URL does not see it again."""
    with pytest.raises(ConfigError) as caught:
        address_of("http://me:secret@host:1")
    assert "secret" not in str(caught.value)


def test_a_page_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real server's page is read, and no proxy is asked for it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with serving(answering(b"recsvc_cache_rows 3.0\n")) as address:
        assert PageReader()(address_of(address)).series == {m.CACHE_ROWS: {(): 3.0}}


def garbage(request: BaseHTTPRequestHandler) -> None:
    """Answer what is no HTTP."""
    request.wfile.write(b"-ERR unknown command\r\n")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (answering(b"", 503), "it answers with status 503"),
        (answering(b"\xff\xfe"), "what it answers is no text"),
        (answering(b"up 1\n"), "its page has no metrics of recsvc"),
        (garbage, "it does not answer as HTTP does"),
    ],
)
def test_a_wrong_answer_says_what_is_wrong(reply: Reply, why: str) -> None:
    """What answers but has no page is told apart."""
    with serving(reply) as address, pytest.raises(PageError, match=why):
        PageReader()(address_of(address))


def test_nobody_there_is_said_so() -> None:
    """A port where nobody listens is a clear sentence."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(PageError, match="nobody listens there"):
            PageReader()(address_of(f"127.0.0.1:{unused.getsockname()[1]}"))


def test_a_page_that_never_ends_is_given_up() -> None:
    """A server that sends a little again and again does not hold up its reader for longer than the timeout."""
    done = Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not done.is_set():
            try:
                request.wfile.write(b"#\n")
            except OSError:
                return

    clock = iter(range(1_000))  # a second goes by at each look at it
    with ExitStack() as stack:
        address = stack.enter_context(serving(drip))
        stack.callback(done.set)
        reader = PageReader(clock=lambda: next(clock))
        with pytest.raises(PageError, match="no answer within 2 s"):
            reader(address_of(address))


def test_a_silent_server_is_given_up() -> None:
    """A server that takes the connection and says nothing is given up after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reader = PageReader(timeout_s=0.01)
        with pytest.raises(PageError, match=r"no answer within 0\.01 s"):
            reader(address_of(f"127.0.0.1:{silent.getsockname()[1]}"))


def test_a_page_that_is_late_does_not_hold_up_the_others() -> None:
    """One page is still being read when the others are there; once it is there, it comes with the next look."""
    first, second = address_of("a:1"), address_of("b:2")
    asked, answer = Event(), Event()

    def read(address: object) -> Page:
        if address == second:
            asked.set()
            answer.wait(10)
        return Page(str(address))

    pages = Pages([first, second], read, clock=lambda: 5.0, patience_s=0.05)
    assert pages.look() == [Answer(Page("a:1"), 5.0), None]
    assert asked.is_set()
    assert repr(pages) == "Pages(2, 1 under way)"
    answer.set()
    pages = _patient(pages)
    assert pages.look() == [Answer(Page("a:1"), 5.0), Answer(Page("b:2"), 5.0)]


def _patient(pages: Pages) -> Pages:
    """Let it wait for as long as it takes."""
    pages._patience_s = 10.0
    return pages


def test_problems_are_answers_and_mistakes_are_not() -> None:
    """A page that cannot be read is an answer that says why; an error of ours is raised."""

    def refuse(_: object) -> Page:
        raise PageError("why")

    def fail(_: object) -> Page:
        raise ZeroDivisionError

    assert Pages([address_of("a:1")], refuse, clock=lambda: 1.0).look() == [Answer(None, 1.0, "why")]
    with pytest.raises(ZeroDivisionError):
        Pages([address_of("a:1")], fail).look()


def test_one_dead_page_among_several_real_ones() -> None:
    """Of three servers two are read and one is not."""
    with ExitStack() as stack:
        alive = [stack.enter_context(serving(answering(b"recsvc_cache_rows 3.0\n"))) for _ in range(2)]
        dead = stack.enter_context(serving(answering(b"", 500)))
        answers = Pages([address_of(a) for a in (alive[0], dead, alive[1])], PageReader(), patience_s=10.0).look()
    assert [answer.page is not None for answer in answers if answer is not None] == [True, False, True]
