"""MGET as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import hiredis

KEYS_PER_COMMAND: Final = 1_000
"""Keys of one MGET: more would keep Redis from other clients for over about half a millisecond."""
_LENGTHS: Final = tuple(b"\r\n$%d\r\n" % n for n in range(1_024))
"""What ends the line before, and stands before a key of n bytes."""


def mgets(keys: Sequence[bytes], runs: Sequence[int]) -> bytes:
    """Return the commands that read ``keys``: one for each of ``runs``, which are numbers of keys and add up to all.

    Length, key, length, key of all commands joined in one step: a third of what hiredis takes for 100 keys and more.
    """
    parts = [b""] * (2 * len(keys))
    try:
        parts[::2] = [_LENGTHS[len(key)] for key in keys]
    except IndexError:  # a key of a kilobyte or more
        return _packed_by_hiredis(keys, runs)
    parts[1::2] = keys
    at = 0
    for run in runs:
        parts[2 * at] = b"\r\n*%d\r\n$4\r\nMGET%b" % (run + 1, parts[2 * at])
        at += run
    parts[0] = parts[0].removeprefix(b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def split(runs: Sequence[int]) -> list[int]:
    """Return ``runs`` with those that are too long for one command in pieces."""
    if max(runs) <= KEYS_PER_COMMAND:
        return list(runs)
    return [min(KEYS_PER_COMMAND, run - start) for run in runs for start in range(0, run, KEYS_PER_COMMAND)]


def _packed_by_hiredis(keys: Sequence[bytes], runs: Sequence[int]) -> bytes:
    packed, at = [], 0
    for run in runs:
        packed.append(hiredis.pack_command((b"MGET", *keys[at : at + run])))  # type: ignore[arg-type]  # its stub takes one argument only
        at += run
    return b"".join(packed)
