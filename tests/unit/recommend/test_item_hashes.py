"""Hashes of items, packed into few bytes, and found again in a catalogue."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend import item_hashes
from recsvc.recommend.item_hashes import Hashes, ItemHashes, SharedHashes, hashes
from recsvc.recommend.packed_hashes import pack, packed_size, unpack

ids = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=40)
words = st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1]), max_size=300)


def numbers(values: list[int]) -> Hashes:
    """Make an array of hashes."""
    return np.array(values, np.uint64)


def test_the_hash_of_an_id_never_changes() -> None:
    """Tokens of other replicas and of older versions name the same items."""
    assert hashes(["1682", ""]).tolist() == [
        int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") for text in (b"1682", b"")
    ]
    assert hashes(["1682"]).tolist() == [0xC18C8ED0C5F0A31E]


@given(words)
def test_what_is_packed_comes_back_sorted(values: list[int]) -> None:
    """Nothing is lost or made up, whatever the hashes."""
    packed = pack(numbers(values))
    assert len(packed) == packed_size(len(values))
    assert unpack(packed, len(values)).tolist() == sorted(values)


def test_two_thousand_hashes_take_less_than_fourteen_thousand_bytes() -> None:
    """So they fit a token of 20 KB in base64, which plain ones do not."""
    assert packed_size(2_000) < 14_000


@given(words, st.integers(0, 40), st.binary(max_size=100))
def test_rubbish_is_refused_or_read_but_never_breaks(values: list[int], count: int, data: bytes) -> None:
    """Bytes that are not so many hashes raise ValueError, and nothing else."""
    for packed, number in ((data, count), (pack(numbers(values))[:-1], len(values)), (bytes(packed_size(9)), 9)):
        if number and packed != pack(numbers(values)):
            try:
                assert len(unpack(packed, number)) == number
            except ValueError:
                continue


def test_wrong_sizes_are_refused() -> None:
    """A byte too few or too many is not read."""
    packed = pack(numbers([1, 2, 3]))
    for wrong in (packed[:-1], packed + b"\0", b""):
        with pytest.raises(ValueError, match="3 hashes take"):
            unpack(wrong, 3)
    with pytest.raises(ValueError, match="high parts"):
        unpack(bytes(len(packed)), 3)


@given(ids, ids, st.data())
def test_places_are_those_of_the_ids(first: list[str], more: list[str], data: st.DataObject) -> None:
    """Every place of a wanted id is found, in the items from the start and in those added, and no other."""
    index = ItemHashes(first).extended(more)
    every = first + more
    wanted = data.draw(st.lists(st.sampled_from([*every, "not there"]), max_size=20))
    expected = [place for place, name in enumerate(every) if name in wanted]
    assert index.places(hashes(wanted)).tolist() == expected
    assert len(index) == len(every)


@pytest.mark.parametrize("step", [1_000, 4_096, 9_000])
def test_many_additions_are_sorted_in(step: int) -> None:
    """Past a few thousand new items they are sorted with the rest, and are found as before; older ones keep theirs."""
    names = [str(i) for i in range(20_000)]
    index = ItemHashes(names[:500])
    for begin in range(500, len(names), step):
        before, index = index, index.extended(names[begin : begin + step])
        assert before.places(hashes([names[begin]])).tolist() == []
        assert len(index._tail) <= 4_096
    asked = names[::97]
    assert index.places(hashes(asked)).tolist() == list(range(0, 20_000, 97))
    assert len(index) == 20_000


def test_repr_tells_how_many() -> None:
    """Its size shows."""
    assert repr(ItemHashes(["a", "b"]).extended(["c"])) == "ItemHashes(3 items, 1 of them not sorted)"


class Hashed:
    """What was hashed since it was made, held up until ``go_on``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: list[int] = []
        self.begun, self.go_on = asyncio.Event(), threading.Event()
        self._loop = asyncio.get_running_loop()
        monkeypatch.setattr(item_hashes, "hashes", self._hashes)

    def _hashes(self, ids: Iterable[str]) -> Hashes:
        named = list(ids)
        if named:
            self.counts.append(len(named))
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self.go_on.wait(60)
        return hashes(named)


async def found(shared: SharedHashes, names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return the places of items in a snapshot."""
    places: list[int] = (await shared.places(np.array(names, np.object_), hashes(wanted))).tolist()
    return places


async def test_each_id_is_hashed_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that come at once, of snapshots long and short, wait for one pass over the ids; who goes stops nobody."""
    shared, hashed = SharedHashes(), Hashed(monkeypatch)
    names = [str(i) for i in range(5_000)]
    calls = [asyncio.create_task(found(shared, names[:size], ["7", "4998"])) for size in (4_000, 4_999, 5_000) * 3]
    await hashed.begun.wait()
    calls[0].cancel()
    hashed.go_on.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == ([[7], [7, 4_998], [7, 4_998]] * 3)[1:]
    assert sum(hashed.counts) == 5_000
    assert max(hashed.counts) <= 1_000


async def test_snapshots_in_turns_hash_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shorter snapshot has not is left out, without forgetting it."""
    shared, hashed = SharedHashes(), Hashed(monkeypatch)
    hashed.go_on.set()
    names = [str(i) for i in range(101)]
    for size in (100, 101) * 3:
        assert await found(shared, names[:size], ["99", "100"]) == [99, 100][: size - 99]
    assert hashed.counts == [100, 1]
    assert repr(shared) == "SharedHashes(ItemHashes(101 items, 101 of them not sorted))"


async def test_who_fails_leaves_it_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error is told to those who waited; the next call begins anew."""
    shared = SharedHashes()
    with monkeypatch.context() as patch:
        patch.setattr(item_hashes, "hashes", None)
        with pytest.raises(TypeError):
            await found(shared, ["a"], ["a"])
    assert await found(shared, ["a"], ["a"]) == [0]
