"""Reads a document by HTTP, straight: no proxy of the environment stands before what a person looks at here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.request import ProxyHandler, Request, build_opener

PIECE: Final = 1 << 16
_OPENER: Final = build_opener(ProxyHandler({}))


class TooLargeError(OSError):
    """The document has more bytes than anybody wants."""


def read(url: str, *, timeout_s: float, most: int, clock: Callable[[], float], accept: str = "*/*") -> bytes:
    """Return what is at an http or https URL, all of it within ``timeout_s`` and at ``most`` so many bytes.

    Raises HTTPError for another status, TooLargeError, and OSError (TimeoutError, URLError, …) or HTTPException.
    """
    until = clock() + timeout_s
    body = bytearray()
    with _OPENER.open(Request(url, headers={"Accept": accept}), timeout=timeout_s) as response:  # noqa: S310  # see above
        while piece := response.read1(PIECE):
            body += piece
            if len(body) > most:
                raise TooLargeError
            if clock() > until:
                raise TimeoutError
    return bytes(body)
