"""UUIDs of version 7 (RFC 9562, section 5.7): their order is that of the milliseconds in which they were made."""

from __future__ import annotations

from typing import Final
from uuid import UUID

RANDOM_BITS: Final = 74
"""How many bits of a UUID are random: 12 before the variant, 62 after it."""
_TIME_BITS: Final = 48
_VERSION: Final = 7
_VARIANT: Final = 0b10


def uuid7(unix_ms: int, random_bits: int) -> UUID:
    """Return the UUID of a time (milliseconds since 1970) and of RANDOM_BITS random bits.

    Two of the same millisecond are in no order. Raises ValueError where a number has more bits than its field.
    """
    if not 0 <= unix_ms < 1 << _TIME_BITS:
        raise ValueError(f"{unix_ms} is no time in milliseconds of {_TIME_BITS} bits")
    if not 0 <= random_bits < 1 << RANDOM_BITS:
        raise ValueError(f"random bits must be a number of {RANDOM_BITS} bits, as getrandbits({RANDOM_BITS}) gives it")
    high, low = random_bits >> 62, random_bits & ((1 << 62) - 1)
    return UUID(int=unix_ms << 80 | _VERSION << 76 | high << 64 | _VARIANT << 62 | low)
