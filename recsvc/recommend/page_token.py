"""The page token: all that is known of the pages before, so that any replica can go on where they ended.

A token is base64url without padding of the following, numbers big-endian, texts UTF-8 after a byte of their length::

    format         1 byte    1
    created_at     4 bytes   seconds since 1970
    seed           8 bytes   of what is drawn at random
    session        16 bytes  the id that is common to all pages
    user           16 bytes  digest
    filters        16 bytes  digest
    others         16 bytes  digest of the other fields of the request
    placement      text
    assignments    1 byte how many, then of each: experiment (text), variant (text), by (1 byte)
    count          2 bytes   items returned so far
    returned       their 64-bit hashes, as packed_hashes has them
    mac            16 bytes  start of an HMAC-SHA256 of all before

Digests are 128 bits of a BLAKE2b with the key, so that nobody can try out which user they are of. Nothing else in a
token is secret, but for the key nobody can make one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final
from uuid import UUID

import numpy as np

from recsvc.errors import ConfigError, RequestError, Violation
from recsvc.recommend.canonical import canonical
from recsvc.recommend.experiments import AssignedBy, Assignment
from recsvc.recommend.item_hashes import Hashes
from recsvc.recommend.packed_hashes import pack, packed_size, unpack

MAX_ITEMS: Final = 2_000
"""Items that a token can name; nobody reads on so far, and it must go into every call."""
MAX_TOKEN: Final = 20 * 1024
"""Characters of a token; a longer one is not even decoded."""
MAX_AGE_S: Final = 24 * 60 * 60
MIN_KEY: Final = 16
"""Bytes of a key."""
_FORMAT: Final = 1
_MAC: Final = 16
_DIGEST: Final = 16
_ID: Final = 16


class TokenProblem(StrEnum):
    """Why a token was refused; in the metadata of the error."""

    TAMPERED = "TAMPERED"
    UNKNOWN_FORMAT = "UNKNOWN_FORMAT"
    TOO_OLD = "TOO_OLD"
    OTHER_PLACEMENT = "OTHER_PLACEMENT"
    OTHER_USER = "OTHER_USER"
    OTHER_FILTERS = "OTHER_FILTERS"
    OTHER_REQUEST = "OTHER_REQUEST"


_SAYS: Final = {
    TokenProblem.TAMPERED: "is not as it was given out; send the token of the last page unchanged",
    TokenProblem.UNKNOWN_FORMAT: "has a format that this server does not know; begin again without a token",
    TokenProblem.TOO_OLD: f"is older than {MAX_AGE_S // 3600} hours; begin again without a token",
    TokenProblem.OTHER_PLACEMENT: "is of another placement; it goes with the request of the first page",
    TokenProblem.OTHER_USER: "is of another user; it goes with the request of the first page",
    TokenProblem.OTHER_FILTERS: "is of a request with other filters; it goes with the request of the first page",
    TokenProblem.OTHER_REQUEST: "is of a request with other fields; only the limit and what is explained may differ",
}


class PageTokenError(RequestError):
    """A page token that does not go with the request; ``problem`` says why."""

    reason = "PAGE_TOKEN"

    def __init__(self, problem: TokenProblem) -> None:
        self.problem = problem
        super().__init__([Violation("page_token", _SAYS[problem])], {"problem": problem.value})


@dataclass(frozen=True)  # without slots: it remembers its bytes
class PagedRequest:
    """What of a request must be the same for all pages, as values that ``canonical`` takes.

    ``placement`` is the one asked for. ``user``: join keys and the randomization unit, say. ``others``: all else but
    the token itself, ``limit`` and what is only shown (``explain``, the features to return).
    """

    placement: str
    user: object = None
    filters: object = ()
    others: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def parts(self) -> tuple[bytes, bytes, bytes]:
        """The bytes of user, filters and others, made when a token is first read or written: there may be many ids."""
        return canonical(self.user), canonical(self.filters), canonical(self.others)


@dataclass(frozen=True, slots=True)
class Page:
    """What a page hands on to the next. ``returned``: hashes of all items up to here, whose number is the last rank."""

    session: UUID
    seed: int
    assignments: tuple[Assignment, ...]
    returned: Hashes


class PageTokens:
    """Makes and reads page tokens.

    ``keys``: secrets of at least MIN_KEY bytes, the same on all replicas. The first makes tokens, all are accepted: to
    change the key, put the new one second everywhere, then first, and drop the old one a day later.
    Raises ConfigError.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) < MIN_KEY for key in keys):
            raise ConfigError(f"--page-token-key: needs at least one key, each of at least {MIN_KEY} random bytes")
        self._keys = tuple(_Key(key) for key in keys)

    def __repr__(self) -> str:
        return f"PageTokens({len(self._keys)} keys)"

    def encode(self, request: PagedRequest, page: Page, *, now_s: float) -> str | None:
        """Return the token of the page after this one; None where there can be none, as too many items were returned.

        ``now_s``: seconds since 1970; ``page.seed`` has 64 bits.
        """
        if len(page.returned) > MAX_ITEMS:
            return None
        key = self._keys[0]
        parts = [
            bytes([_FORMAT]),
            int(now_s).to_bytes(4, "big"),
            page.seed.to_bytes(8, "big"),
            page.session.bytes,
            *key.digests(request),
            _text(request.placement),
            _assignments(page.assignments),
            len(page.returned).to_bytes(2, "big"),
            pack(page.returned),
        ]
        body = b"".join(parts)
        token = base64.urlsafe_b64encode(body + key.mac(body)).rstrip(b"=").decode()
        return token if len(token) <= MAX_TOKEN else None

    def decode(self, token: str, request: PagedRequest, *, now_s: float) -> Page:
        """Return the page that a token hands on. Raises PageTokenError with the first thing that is wrong."""
        raw = _raw(token)
        if raw[:1] != bytes([_FORMAT]):
            raise PageTokenError(TokenProblem.UNKNOWN_FORMAT if raw else TokenProblem.TAMPERED)
        body, mac = raw[:-_MAC], raw[-_MAC:]
        key = next((k for k in self._keys if hmac.compare_digest(k.mac(body), mac)), None)
        if key is None:
            raise PageTokenError(TokenProblem.TAMPERED)
        parts = _Parts(body)
        parts.take(1)
        if now_s - parts.number(4) > MAX_AGE_S:
            raise PageTokenError(TokenProblem.TOO_OLD)
        seed, session = parts.number(8), UUID(bytes=parts.take(_ID))
        user, filters, others = key.digests(request)
        same_user, same_filters, same_others = (parts.take(_DIGEST) == d for d in (user, filters, others))
        for same, problem in (
            (parts.text() == request.placement, TokenProblem.OTHER_PLACEMENT),
            (same_user, TokenProblem.OTHER_USER),
            (same_filters, TokenProblem.OTHER_FILTERS),
            (same_others, TokenProblem.OTHER_REQUEST),
        ):
            if not same:
                raise PageTokenError(problem)
        assignments = tuple(parts.assignment() for _ in range(parts.number(1)))
        count = parts.number(2)
        return Page(session, seed, assignments, unpack(parts.take(packed_size(count)), count))


def returned_hashes(page: Page | None, new: Hashes) -> Hashes:
    """Return the hashes of the items up to here: those of the pages before, None for the first, and the new ones."""
    return new if page is None else np.concatenate([page.returned, new])


class _Key:
    """A secret, as one key for MACs and one for digests."""

    def __init__(self, secret: bytes) -> None:
        # Keys of BLAKE2b have 64 bytes at most; and one for each purpose.
        self._mac, self._digest = (hmac.digest(secret, use, "sha256") for use in (b"mac", b"digest"))

    def mac(self, body: bytes) -> bytes:
        return hmac.digest(self._mac, body, "sha256")[:_MAC]

    def digests(self, request: PagedRequest) -> list[bytes]:
        return [hashlib.blake2b(part, digest_size=_DIGEST, key=self._digest).digest() for part in request.parts]


class _Parts:
    """Takes a token of a known key apart, from the front. It is ours, so its lengths are right."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, size: int) -> bytes:
        self._at += size
        return self._body[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        return self.take(self.number(1)).decode()

    def assignment(self) -> Assignment:
        return Assignment(self.text(), self.text(), AssignedBy(self.number(1)))


def _raw(token: str) -> bytes:
    """Return the bytes of a token. Raises PageTokenError, also for other characters that mean the same."""
    if len(token) > MAX_TOKEN or not token.isascii():
        raise PageTokenError(TokenProblem.TAMPERED)
    text = token.encode()
    try:
        raw = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise PageTokenError(TokenProblem.TAMPERED) from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != text:
        raise PageTokenError(TokenProblem.TAMPERED)
    return raw


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(1, "big") + data


def _assignments(assignments: Sequence[Assignment]) -> bytes:
    each = (_text(a.experiment) + _text(a.variant) + bytes([a.by]) for a in assignments)
    return bytes([len(assignments)]) + b"".join(each)
