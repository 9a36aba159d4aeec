"""The map of a cluster's slots: what nodes say of them, and where keys go."""

from __future__ import annotations

from typing import Any

import pytest
from redis.crc import key_slot

from recsvc.online import redis_slots
from recsvc.online.redis_slots import SlotMap, TagSlots

HALVES = [
    [0, 8191, [b"10.0.0.1", 7000, b"id1", []], [b"10.0.0.3", 7000, b"id3", []]],
    [8192, 16383, [b"::1", 7001, b"id2", []]],
]
FIRST, SECOND = "10.0.0.1:7000", "::1:7001"


def keys(n: int) -> list[bytes]:
    """Return keys of n users."""
    return [f"fs:{{{i}}}:user:x:v1".encode() for i in range(n)]


def known(reply: Any = None) -> SlotMap:  # noqa: ANN401  # whatever a node may say
    """Return a map that has learned."""
    slots = SlotMap()
    slots.learn(HALVES if reply is None else reply, "asked")
    return slots


def test_keys_go_to_the_primary_of_their_slot() -> None:
    """Each key is at the first node that is named for its slot, and keys of one tag stand together."""
    slots = known()
    assert slots.nodes == {FIRST, SECOND}
    users = keys(50)
    mixed = users + [key.replace(b":x:", b":y:") for key in users]
    nodes, nowhere = slots.route(mixed)
    assert nowhere == []
    assert sorted(i for indices in nodes.values() for i in indices) == list(range(100))
    for name, indices in nodes.items():
        assert {FIRST if key_slot(mixed[i]) < 8192 else SECOND for i in indices} == {name}
        assert [i % 50 for i in indices[::2]] == [i % 50 for i in indices[1::2]]


def test_slots_without_an_owner_are_told() -> None:
    """Keys of slots that no node has are listed apart."""
    nodes, nowhere = known(HALVES[:1]).route(keys(50))
    assert set(nodes) == {FIRST}
    assert {key_slot(keys(50)[i]) >= 8192 for i in nowhere} == {True}


@pytest.mark.parametrize("host", [b"", None])
def test_a_node_without_a_host_is_the_one_asked(host: bytes | None) -> None:
    """Where a node names no host, it is the one that was asked."""
    assert known([[0, 16383, [host, 7000, b"id", []]]]).nodes == {"asked:7000"}


@pytest.mark.parametrize("reply", [[], b"OK", None, [[0]], [[0, 1, []]], [[0, 99_999, [b"h", 1]]], [[1, 2, [3, 4]]]])
def test_what_is_no_answer_changes_nothing(reply: Any) -> None:  # noqa: ANN401  # whatever a node may say
    """An answer that is empty or makes no sense is a ValueError, and what was known stays."""
    slots = known()
    with pytest.raises(ValueError, match=r"CLUSTER SLOTS|knows of no slots"):
        slots.learn(reply, "asked")
    assert slots.nodes == {FIRST, SECOND}


def test_a_slot_that_moved_is_at_its_new_node() -> None:
    """A moved slot goes elsewhere until the whole is learned again; nothing moves while nothing is known."""
    slots = known()
    (key,) = keys(1)
    slots.move(key_slot(key), "new:1")
    assert slots.route([key]) == ({"new:1": [0]}, [])
    assert slots.nodes == {FIRST, SECOND, "new:1"}
    slots.learn(HALVES, "asked")
    assert "new:1" not in slots.route([key])[0]
    nothing = SlotMap()
    nothing.move(1, "new:1")
    slots.move(99_999, "new:1")
    assert not nothing.known


def test_few_tags_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of tags is bounded, and does not change what comes out."""
    monkeypatch.setattr(redis_slots, "TAGS_KEPT", 3)
    tags = TagSlots()
    names = [str(i).encode() for i in range(10)]
    assert [tags.of(name) for name in names * 2] == [key_slot(name) for name in names * 2]
    assert repr(tags) == "TagSlots(2 tags)"
    assert repr(known()) == "SlotMap(2 nodes, TagSlots(0 tags))"
