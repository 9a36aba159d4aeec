"""Which seeds are played in every run of the tests."""

from __future__ import annotations

from typing import Final

SEEDS: Final = range(2_000)
"""About half a minute on one core."""
CHUNK: Final = 100
"""How many of them one test plays."""
