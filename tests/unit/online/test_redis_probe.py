"""What a server says at the first greeting becomes one line for whoever starts recsvc."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from recsvc.errors import StartupError
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_embedded_files import data_directory, private_directory
from recsvc.online.redis_open import open_redis
from tests.parts.scripted_server import HELLO_REPLY, Command, Peer, scripted_server

MODE = b"*6\r\n$7\r\nversion\r\n$5\r\n%s\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b"-ERR unknown command 'HELLO'", "does not know the command HELLO: Redis 6.2 or later is needed"),
        (b"-DENIED Redis is running in protected mode because ...", "is in protected mode: give it a password"),
        (b"-MISCONF something secret", "answered with an error (MISCONF)"),
        (b"-something secret", "answered with an error (ERR)"),
        (b"-LOADING Redis is loading the dataset in memory", "is still loading its data"),
        (b"-NOAUTH Authentication required.", "asks for a password"),
        (b"-NOPERM this user has no permissions", "does not let this user in fully"),
        (b"$5\r\nhello", "is of an unknown kind"),
    ],
    ids=lambda x: x.decode()[:12] if isinstance(x, bytes) else "",
)
async def test_an_error_at_the_greeting_is_one_line(said: bytes, line: str) -> None:
    """Every error has words of ours, and none of its own text."""

    async def answer(peer: Peer, command: Command) -> None:
        peer.say(said + b"\r\n" if command[0] == b"HELLO" and said[:1] == b"-" else HELLO_REPLY)

    text = await refusal(answer)
    assert line in text
    assert "secret" not in text
    assert "\n" not in text


@pytest.mark.parametrize(("version", "fits"), [(b"6.0.9", False), (b"6.2.0", True), (b"8.2.3", True)])
async def test_old_releases_are_refused(version: bytes, fits: bool) -> None:  # noqa: FBT001
    """A release before 6.2 has not what is needed."""

    async def answer(peer: Peer, command: Command) -> None:
        peer.say(MODE % version if command[0] == b"HELLO" else b"+OK\r\n")

    if fits:
        assert not await refusal(answer)
    else:
        assert "has version 6.0.9: 6.2 or later is needed" in await refusal(answer)


async def refusal(answer: object) -> str:
    """Open a server that answers so, and return the line that says why it cannot be used; empty: it can."""
    async with scripted_server() as server:
        server.answer = answer  # type: ignore[assignment]  # an Answer
        try:
            async with open_redis(f"redis://127.0.0.1:{server.port}", ConnectionSettings()):
                return ""
        except StartupError as error:
            return str(error)


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """Where a file stands in the way, the line names the path."""
    file = tmp_path / "file"
    file.write_text("")
    for make in (data_directory, private_directory):
        with pytest.raises(StartupError, match=r"cannot make the directory .*file.d"):
            make(file / "d")


async def test_an_embedded_store_in_no_directory_is_one_line(tmp_path: Path) -> None:
    """So it is for who starts the server."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="cannot make the directory"):
        async with asyncio.timeout(30), open_redis(f"embedded:{tmp_path / 'file' / 'd'}", ConnectionSettings()):
            pass
