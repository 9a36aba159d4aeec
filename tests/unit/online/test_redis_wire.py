"""Packed commands are what hiredis would pack."""

from __future__ import annotations

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from recsvc.online.redis_wire import KEYS_PER_COMMAND, mgets, split

keys_of_one = st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=30)


def packed(keys: list[bytes]) -> bytes:
    """Return one MGET as hiredis packs it."""
    return bytes(hiredis.pack_command((b"MGET", *keys)))  # type: ignore[arg-type]  # its stub takes one argument only


@given(st.lists(keys_of_one, min_size=1, max_size=6))
def test_commands_are_packed_as_hiredis_does(groups: list[list[bytes]]) -> None:
    """Each run of keys is one MGET, in order, byte for byte."""
    keys = [key for group in groups for key in group]
    assert mgets(keys, [len(group) for group in groups]) == b"".join(packed(group) for group in groups)


def test_long_keys_are_packed_too() -> None:
    """Keys of a kilobyte and more, beside short ones, are packed all the same."""
    groups = [[b"a", b"b" * 1_023], [b"c" * 1_024, b"d"], [b"e" * 100_000]]
    keys = [key for group in groups for key in group]
    assert mgets(keys, [2, 2, 1]) == b"".join(packed(group) for group in groups)


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=5))
def test_long_runs_are_split(runs: list[int]) -> None:
    """No command names more keys than one may, and together they name as many as asked for."""
    pieces = split(runs)
    assert sum(pieces) == sum(runs)
    assert 0 < min(pieces) <= max(pieces) <= KEYS_PER_COMMAND
    assert len(pieces) == sum(-(-run // KEYS_PER_COMMAND) for run in runs)
