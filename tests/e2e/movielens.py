"""Where MovieLens 100K is: it may not be redistributed, so it is no part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def movielens() -> Path:
    """Return the directory of MovieLens 100K; skips without: it may not be redistributed, so not everybody has it."""
    told = os.environ.get("RECSVC_ML100K")
    directory = Path(told) if told else REPOSITORY.parent / "shared" / "data" / "ml-100k"
    if told and not directory.is_dir():
        pytest.fail(f"RECSVC_ML100K={told} is not a directory")
    if not directory.is_dir():
        pytest.skip(f"no MovieLens 100K at {directory}; RECSVC_ML100K says where else it is")
    return directory
