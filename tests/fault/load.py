"""``python -m tests.fault.load PLAN FILE``: calls a server as a plan says, checks every answer, writes down every call.

It says ``ready``, begins, and takes lines on stdin: a JSON object with fields of the plan to change, or ``stop``. At
its end it prints a JSON object: the first wrong answers, and what CPU it took.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
import uvloop

from recsvc.client import AsyncClient, ClientError
from tests.fault.checking import Seen, check_batch, check_row, glance
from tests.fault.plan import CANCELLED, OK, REASONS, Calls, Plan
from tests.fault.values import Ids

SERVICE: Final = "everything"
SHOWN: Final = 20
_PAST_CACHE: Final = timedelta(0)


class Generator:
    """Makes the calls of one plan."""

    def __init__(self, plan: Plan, client: AsyncClient) -> None:
        self.plan = plan
        self.stopping = False
        self.lines: list[tuple[float, ...]] = []
        self.wrong: list[str] = []
        self._client = client
        self._random = random.Random(plan.seed)
        self._arrays = np.random.default_rng(plan.seed)
        self._begun = 0
        self._running: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"Generator({self._begun} begun, {len(self._running)} running)"

    async def run(self) -> None:
        """Call until there is no more to do, and until all calls have ended."""
        if self.plan.rate:
            await self._at_rate()
        else:
            await asyncio.gather(*(self._in_turn() for _ in range(self.plan.in_flight)))
        while self._running:
            await asyncio.wait(self._running)

    @property
    def _goes_on(self) -> bool:
        return not self.stopping and self._begun < self.plan.calls

    async def _at_rate(self) -> None:
        due = time.monotonic()
        while self._goes_on:
            now = time.monotonic()
            while due <= now and self._goes_on:
                task = asyncio.create_task(self._call(due))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                due += 1 / self.plan.rate
            await asyncio.sleep(max(due - time.monotonic(), 0.0))

    async def _in_turn(self) -> None:
        while self._goes_on:
            await self._call(time.monotonic())

    async def _call(self, due: float) -> None:
        plan = self.plan
        users = self._users()
        deadline_s = plan.deadlines_s[self._begun % len(plan.deadlines_s)]
        self._begun += 1
        past_cache = _PAST_CACHE if self._random.random() < plan.past_cache_share else None
        asking = self._ask(users, past_cache, deadline_s)
        sent = time.monotonic()
        code, seen, took = OK, Seen(), 0.0
        try:
            if self._random.random() < plan.cancel_share:
                seen, took = await self._leave(asyncio.ensure_future(asking))
            else:
                seen, took = await asking
        except ClientError as error:
            code, took = error.code.value[0], time.monotonic() - sent
        except asyncio.CancelledError:
            code, took = CANCELLED, time.monotonic() - sent
        self._note((sent, took, deadline_s, sent - due, code), seen, int(users[0]))

    def _users(self) -> Ids:
        plan = self.plan
        users = self._arrays.integers(plan.first, plan.last, plan.rows)
        if plan.hot_share:
            hot = self._arrays.random(plan.rows) < plan.hot_share
            users[hot] = self._arrays.integers(plan.first, plan.first + plan.hot, int(hot.sum()))
        return users

    async def _ask(self, users: Ids, past_cache: timedelta | None, deadline_s: float) -> tuple[Seen, float]:
        timed = self._random.random() < 0.5
        sent = time.monotonic()
        if len(users) == 1:
            user = int(users[0])
            row = await self._client.get_features(
                {"user_id": user}, service=SERVICE, event_times=timed, max_staleness=past_cache, timeout=deadline_s
            )
            took = time.monotonic() - sent
            return check_row(user, row, timed=timed), took
        batch = await self._client.get_features_batch(
            {"user_id": users}, service=SERVICE, event_times=timed, max_staleness=past_cache, timeout=deadline_s
        )
        took = time.monotonic() - sent
        if self._random.random() >= self.plan.checked_share:
            return glance(users, batch), took
        return check_batch(users, batch, timed=timed), took

    async def _leave(self, call: asyncio.Future[tuple[Seen, float]]) -> tuple[Seen, float]:
        """Cancel a call at some time within 10 ms, or not at all where it was quicker."""
        asyncio.get_running_loop().call_later(self._random.uniform(0, 0.01), call.cancel)
        return await call

    def _note(self, times: tuple[float, ...], seen: Seen, user: int) -> None:
        if seen.wrong and len(self.wrong) < SHOWN:
            self.wrong += seen.wrong[:SHOWN]
        reasons = sum(1 << REASONS.index(reason) for reason in seen.reasons)
        sources = sum(1 << source for source in seen.sources)
        self.lines.append((*times, len(seen.wrong), seen.rows, seen.from_redis, reasons, sources, user))


async def _listen(generator: Generator) -> None:
    """Follow what is said on stdin."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        if line == "stop":
            break
        generator.plan = replace(generator.plan, **json.loads(line))
    generator.stopping = True


async def _main(plan: Plan, file: Path) -> None:
    async with AsyncClient(plan.address, wait_for_ready=True) as client:
        generator = Generator(plan, client)
        listening = asyncio.create_task(_listen(generator))
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection is a pause of its own, and looks like one of the server's
        _say("ready")
        await generator.run()
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
    Calls.of(generator.lines).save(file)
    _say(json.dumps({"wrong": generator.wrong[:SHOWN], "cpu_s": time.process_time()}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> None:
    """Run one plan."""
    text, file = arguments
    uvloop.run(_main(Plan.of(text), Path(file)))


if __name__ == "__main__":
    main(sys.argv[1:])
