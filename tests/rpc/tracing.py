"""Calls with a trace, to a server that sends its spans to a collector of the test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.message import Message

from recsvc.app import App, running
from recsvc.pb import serving_pb2 as pb
from tests.parts.otlp import Collector
from tests.parts.spans import Seen, Tree
from tests.parts.waiting import eventually
from tests.rpc.calling import BATCH, PATIENCE, SINGLE, Caller
from tests.rpc.serving import SPEC, settings
from tests.rpc.shop import METHOD as RECOMMEND

METHODS: Mapping[type[Message], str] = {
    pb.GetFeaturesRequest: SINGLE,
    pb.GetFeaturesBatchRequest: BATCH,
    pb.RecommendRequest: RECOMMEND,
}


@dataclass(frozen=True)
class Context:
    """The trace of one call: what a caller with a span of its own sends."""

    trace: str
    span: str
    sampled: bool = True

    @classmethod
    def new(cls, *, sampled: bool = True) -> Context:
        """Begin a trace."""
        return cls(secrets.token_hex(16), secrets.token_hex(8), sampled)

    @property
    def traceparent(self) -> str:
        """The header."""
        return f"00-{self.trace}-{self.span}-{'01' if self.sampled else '00'}"


@dataclass(frozen=True)
class Traced:
    """A server, someone who calls it, and where its spans go."""

    app: App
    caller: Caller
    collector: Collector

    async def call(
        self, request: Message, context: Context, *more: tuple[str, str], deadline_s: float = PATIENCE
    ) -> bytes:
        """Call with a trace; returns the bytes of the answer."""
        method = METHODS[type(request)]
        metadata = [("traceparent", context.traceparent), *more]
        multicallable: Any = self.caller.channel.unary_unary(method)
        reply: bytes = await multicallable(request.SerializeToString(), timeout=deadline_s, metadata=metadata)
        return reply

    async def spans(self, context: Context) -> Sequence[Seen]:
        """Return the spans of a trace, once that of the server is there: the others of the call come with it."""
        await eventually(lambda: any(s.kind in {"SERVER", "INTERNAL"} for s in self.collector.trace(context.trace)))
        return self.collector.trace(context.trace)

    async def tree(self, request: Message, *more: tuple[str, str]) -> Tree:
        """Call in a trace of its own, and return what it looks like."""
        context = Context.new()
        await self.call(request, context, *more)
        found = Tree.of(await self.spans(context), METHODS[type(request)].removeprefix("/"))
        assert found.root.parent == context.span
        found.check()
        return found


@asynccontextmanager
async def traced(
    collector: Collector, url: str, environment: Mapping[str, str] | None = None, spec: str = SPEC, **others: object
) -> AsyncIterator[Traced]:
    """Run a server that sends spans to ``collector``; ``environment`` as a user would set it."""
    variables = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "20"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (variables | dict(environment or {})).items():
            patch.setenv(name, value)
        async with running(settings(url, **others), spec) as app, Caller(app.address) as caller:
            yield Traced(app, caller, collector)
