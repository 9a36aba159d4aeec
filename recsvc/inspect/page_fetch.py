"""Reads metrics pages over HTTP, each in a thread of its own, so that one that is dead does not hold up the others."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from threading import Thread
from typing import Final, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit

from recsvc.errors import ConfigError
from recsvc.inspect.http_read import TooLargeError, read
from recsvc.inspect.page_series import Page, PageError, parse

PATH: Final = "/metrics"
ACCEPT: Final = "text/plain; version=0.0.4"
MAX_BYTES: Final = 32 * 2**20
"""Of a page: 2,000 series of each histogram would be a tenth of it."""
TIMEOUT_S: Final = 2.0
"""To connect, for each piece of an answer, and for all of it."""
PATIENCE_S: Final = 1.0
"""How long a frame waits for pages; one that is later is in a later frame."""


@dataclass(frozen=True, slots=True)
class PageAddress:
    """Where a page is: its URL, and how it is called."""

    url: str
    name: str

    def __str__(self) -> str:
        return self.name


class Answer(NamedTuple):
    """What came of reading a page ``at`` a moment; ``problem``: why there is no page."""

    page: Page | None
    at: float
    problem: str = ""


def address_of(text: str) -> PageAddress:
    """Read HOST:PORT or a URL; raises ConfigError that says what would be right."""
    bare = "://" not in text
    try:
        parts = urlsplit(f"http://{text}" if bare else text)
        port = parts.port
    except ValueError:
        port, parts = None, urlsplit("")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("a metrics page has no user and password in its URL")
    if parts.scheme not in {"http", "https"} or not parts.hostname or (bare and port is None):
        raise ConfigError(f"{text!r} is no metrics page: write HOST:PORT or http://HOST:PORT/metrics")
    path = parts.path if parts.path not in {"", "/"} else PATH
    shown = "" if path == PATH else path
    return PageAddress(urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")), f"{parts.netloc}{shown}")


class PageReader:
    """Reads one page after another; asks no proxy, for a server's own page is not beyond one."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s = timeout_s
        self._clock = clock

    def __repr__(self) -> str:
        return f"PageReader(timeout {self._timeout_s:g} s)"

    def __call__(self, address: PageAddress) -> Page:
        """Return the page as it is now; raises PageError."""
        try:
            return parse(self._fetch(address.url).decode())
        except UnicodeDecodeError as error:
            raise PageError("what it answers is no text") from error

    def _fetch(self, url: str) -> bytes:
        try:
            return read(url, timeout_s=self._timeout_s, most=MAX_BYTES, clock=self._clock, accept=ACCEPT)
        except HTTPError as error:
            error.close()
            raise PageError(f"it answers with status {error.code}") from error
        except TooLargeError as error:
            raise PageError(f"its page has more than {MAX_BYTES:,} bytes") from error
        except (OSError, http.client.HTTPException) as error:
            raise PageError(self._why(error)) from error

    def _why(self, error: Exception) -> str:
        reason = error.reason if isinstance(error, URLError) else error
        match reason:
            case TimeoutError():
                return f"no answer within {self._timeout_s:g} s"
            case ConnectionRefusedError():
                return "nobody listens there"
            case OSError() if reason.strerror:
                return reason.strerror.lower()
            case _:
                return f"it does not answer as HTTP does ({type(reason).__name__})"


class Pages:
    """Several pages that are read side by side. ``read`` gives one page, or raises PageError."""

    def __init__(
        self,
        addresses: Sequence[PageAddress],
        read: Callable[[PageAddress], Page],
        *,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.addresses = tuple(addresses)
        self._read = read
        self._clock = clock
        self._patience_s = patience_s
        self._under_way: dict[PageAddress, Future[Answer]] = {}

    def __repr__(self) -> str:
        return f"Pages({len(self.addresses)}, {len(self._under_way)} under way)"

    def look(self) -> list[Answer | None]:
        """Read all pages once and return what came, in their order; None: that page is still being read."""
        for address in self.addresses:
            if address not in self._under_way:
                self._under_way[address] = self._start(address)
        wait(self._under_way.values(), self._patience_s)
        return [self._taken(address) for address in self.addresses]

    def _taken(self, address: PageAddress) -> Answer | None:
        if not self._under_way[address].done():
            return None
        return self._under_way.pop(address).result()

    def _start(self, address: PageAddress) -> Future[Answer]:
        """Read a page in a thread that the end of the program does not wait for."""
        future: Future[Answer] = Future()
        Thread(target=self._fill, args=(future, address), name=f"page {address}", daemon=True).start()
        return future

    def _fill(self, future: Future[Answer], address: PageAddress) -> None:
        try:
            page = self._read(address)
        except PageError as error:
            future.set_result(Answer(None, self._clock(), str(error)))
        except Exception as error:  # noqa: BLE001  # a mistake of ours is raised where the answer is taken
            future.set_exception(error)
        else:
            future.set_result(Answer(page, self._clock()))
