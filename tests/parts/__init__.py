"""Real parts for tests: servers of several versions, fetched when needed, started on free loopback ports."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI (RECSVC_CI=1), where every part must be there."""
    if os.environ.get("RECSVC_CI") == "1":
        pytest.fail(f"missing part: {reason}", pytrace=False)
    pytest.skip(reason)
