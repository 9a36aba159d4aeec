"""Telling a store that is slow from a process that is late: the loop looks once more before anything is late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOK_TURNS = 2
"""uvloop runs timers, then what is called soon, and then looks at what has come: after two turns it has looked."""


def after_turns(loop: asyncio.AbstractEventLoop, turns: int, callback: Callable[[], object]) -> None:
    """Call back when the loop has gone round ``turns`` more times."""
    if turns:
        loop.call_soon(after_turns, loop, turns - 1, callback)
    else:
        callback()
