"""Finds out why an address cannot be listened on, before gRPC does: that would write to stderr, and not say why."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import Any, Final

from recsvc.errors import StartupError

_WHY: Final = {
    errno.EADDRINUSE: "the port is taken",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.EACCES: "this user may not take that port",
}


async def ensure_free(listen: str) -> None:
    """Raise StartupError where nothing can be opened on HOST:PORT. It may still be taken before gRPC opens it."""
    host, _, port = listen.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        raise StartupError(f"cannot listen on {listen}: the host name cannot be resolved") from None
    reasons = [_why_not(family, address) for family, *_, address in found]
    if None not in reasons:  # of a name with several addresses, one is enough
        raise StartupError(f"cannot listen on {listen}: {reasons[-1]}")


def _why_not(family: int, address: tuple[Any, ...]) -> str | None:
    try:
        with contextlib.closing(socket.socket(family)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return _WHY.get(error.errno or 0, error.strerror or type(error).__name__)
    return None
