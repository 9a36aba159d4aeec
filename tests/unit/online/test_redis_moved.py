"""Keys whose slot has moved are followed to where they are, as Redis Cluster's specification has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis
import pytest
from redis.exceptions import ResponseError

from recsvc.online.answer import UNREAD, Row
from recsvc.online.redis_moved import Follower, has_moved

KEYS = [b"a", b"b", b"c"]
Said = Callable[[str, list[bytes], bool], Any]


class Nodes:
    """Answers of nodes: ``says`` gets a node's name, the keys, and whether ASKING stood before."""

    def __init__(self, says: Said) -> None:
        self._says = says
        self.asked: list[tuple[str, list[bytes], bool]] = []
        self.moved: list[tuple[int, str]] = []

    async def ask(self, name: str, commands: bytes, count: int, until: float) -> list[Any]:
        """Answer packed commands."""
        parser = hiredis.Reader()
        parser.feed(commands)
        replies: list[Any] = []
        asking = False
        while (command := parser.gets()) is not False:
            if command == [b"ASKING"]:
                replies.append(b"OK")
                asking = True
                continue
            self.asked.append((name, command[1:], asking))
            replies.append(self._says(name, command[1:], asking))
            asking = False
        assert len(replies) == count
        assert until == 7.0
        return replies

    async def follow(self, *said: tuple[list[int], str]) -> tuple[list[Row], BaseException | None]:
        """Follow what ``home:1`` said of keys; return the rows and the error."""
        rows: list[Row] = [UNREAD] * len(KEYS)
        follower = Follower("home:1", self.ask, lambda slot, name: self.moved.append((slot, name)))
        assert repr(follower) == "Follower(home:1)"
        error = await follower.follow(KEYS, [(indices, ResponseError(text)) for indices, text in said], rows, 7.0)
        return rows, error


def found(name: str, keys: list[bytes], asking: bool) -> Any:  # noqa: ANN401, FBT001  # what Redis answers
    """Answer with the node's name, key and whether it was asked so."""
    return [name.encode() + key + b"!" * asking for key in keys]


async def test_moved_slots_are_read_from_their_new_nodes() -> None:
    """MOVED names the node that is asked and remembered; one without a host is on the one that said it."""
    nodes = Nodes(found)
    assert await nodes.follow(([0, 2], "MOVED 7 h:2"), ([1], "MOVED 8 :3")) == ([b"h:2a", b"home:3b", b"h:2c"], None)
    assert nodes.moved == [(7, "h:2"), (8, "home:3")]


async def test_leaving_slots_are_asked_for_with_asking() -> None:
    """ASK is followed with ASKING right before, and nothing is remembered."""
    nodes = Nodes(found)
    assert await nodes.follow(([0], "ASK 7 h:2"), ([1, 2], "ASK 9 h:2")) == ([b"h:2a!", b"h:2b!", b"h:2c!"], None)
    assert nodes.moved == []


async def test_keys_on_both_sides_are_asked_for_one_by_one() -> None:
    """After TRYAGAIN, from whichever side, the old node is asked for each key, and the new one for those that left."""

    def says(name: str, keys: list[bytes], asking: bool) -> Any:  # noqa: ANN401, FBT001  # what Redis answers
        if name == "home:1":
            return [b"here"] if keys == [b"a"] else ResponseError("ASK 7 h:2")
        return found(name, keys, asking) if len(keys) == 1 else ResponseError("TRYAGAIN split")

    for text in ("TRYAGAIN split", "ASK 7 h:2"):
        assert await Nodes(says).follow(([0, 1, 2], text)) == ([b"here", b"h:2b!", b"h:2c!"], None)


async def test_what_fails_stays_unread() -> None:
    """A node that does not answer, or answers with another error, costs its own keys, and the error is returned."""

    def says(name: str, keys: list[bytes], asking: bool) -> Any:  # noqa: ANN401, FBT001  # what Redis answers
        if name == "h:2":
            raise TimeoutError
        return ResponseError("CLUSTERDOWN") if name == "h:3" else found(name, keys, asking)

    rows, error = await Nodes(says).follow(([0], "MOVED 7 h:2"), ([1], "MOVED 8 h:4"))
    assert (rows, type(error)) == ([UNREAD, b"h:4b", UNREAD], TimeoutError)
    rows, error = await Nodes(says).follow(([0, 1], "MOVED 7 h:3"), ([2], "MOVED 8 h:4"))
    assert (rows, str(error)) == ([UNREAD, UNREAD, b"h:4c"], "CLUSTERDOWN")


async def test_nodes_that_point_at_each_other_are_not_followed_for_ever() -> None:
    """After some hops it is an error."""
    nodes = Nodes(lambda name, _keys, _asking: ResponseError(f"MOVED 7 {'h:3' if name == 'h:2' else 'h:2'}"))
    rows, error = await asyncio.wait_for(nodes.follow(([0], "MOVED 7 h:2")), 5)
    assert (rows[0], str(error)) == (UNREAD, "MOVED too often")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (ResponseError("MOVED 1 h:1"), True),
        (ResponseError("ASK 1 h:1"), True),
        (ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"), True),
        (ResponseError("LOADING Redis is loading"), False),
        ([b"MOVED 1 h:1"], False),
    ],
)
def test_only_redirections_are_followed(reply: object, expected: bool) -> None:  # noqa: FBT001  # a parameter
    """Rows and other errors are none."""
    assert has_moved(reply) is expected
