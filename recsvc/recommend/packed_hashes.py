"""A set of 64-bit hashes in few bytes: sorted, as P. Elias (1974) and R. Fano (1971) pack increasing numbers.

Of n hashes the low 64 - b bits stand as they are, b being the bits of n. Each high part h of hash i is a one at bit
h + i of a row of n + 2^b bits. So 2,000 hashes take 13.8 KB instead of 16, and fit a token of 20 KB in base64.
"""

from __future__ import annotations

import numpy as np

from recsvc.recommend.item_hashes import Hashes

_BITS = 64


def packed_size(count: int) -> int:
    """Return how many bytes ``pack`` makes of so many hashes."""
    ones, low = _shape(count)
    return (ones + 7) // 8 + (count * low + 7) // 8


def pack(hashes: Hashes) -> bytes:
    """Return the hashes, in any order, packed; two that are equal are kept as two."""
    ordered = np.sort(hashes)
    count = len(ordered)
    ones, low = _shape(count)
    row = np.zeros(ones, np.uint8)
    row[(ordered >> np.uint64(low)).astype(np.int64) + np.arange(count)] = 1
    bits = np.unpackbits(ordered.astype(">u8").view(np.uint8).reshape(count, 8), axis=1)
    return np.packbits(row).tobytes() + np.packbits(bits[:, _BITS - low :]).tobytes()


def unpack(data: bytes, count: int) -> Hashes:
    """Return ``count`` hashes, sorted. Raises ValueError where ``data`` is not what ``pack`` makes of so many."""
    ones, low = _shape(count)
    if len(data) != packed_size(count):
        raise ValueError(f"{len(data)} bytes, {count} hashes take {packed_size(count)}")
    raw = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(np.unpackbits(raw[: (ones + 7) // 8], count=ones))
    if len(places) != count:
        raise ValueError(f"{len(places)} high parts of {count} hashes")
    bits = np.zeros((count, _BITS), np.uint8)
    bits[:, _BITS - low :] = np.unpackbits(raw[(ones + 7) // 8 :], count=count * low).reshape(count, low)
    lows = np.packbits(bits, axis=1).view(">u8").reshape(count).astype(np.uint64)
    highs = (places - np.arange(count)).astype(np.uint64)
    return (highs << np.uint64(low)) | lows


def _shape(count: int) -> tuple[int, int]:
    """Return how many bits the high parts take, and how many low bits each hash has."""
    high = count.bit_length()
    return count + (1 << high if count else 0), _BITS - high
