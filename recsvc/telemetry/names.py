"""The names of all spans, attributes and events: OpenTelemetry's conventions where they have one, else ``recsvc.``.

The tables in the README are ``markdown_tables()``. Conventions: https://opentelemetry.io/docs/specs/semconv/ (1.38).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Name(NamedTuple):
    """A name, and what it stands for."""

    name: str
    text: str


_SPANS: list[Name] = []
_ATTRIBUTES: list[Name] = []
_EVENTS: list[Name] = []


def _span(name: str, text: str) -> str:
    _SPANS.append(Name(name, text))
    return name


def _attribute(name: str, text: str) -> str:
    _ATTRIBUTES.append(Name(name, text))
    return name


def _event(name: str, text: str) -> str:
    _EVENTS.append(Name(name, text))
    return name


# Spans. The server's own is named as its method; CLIENT spans as their command.
PARSE: Final = _span("recsvc.parse", "bytes to message")
PLAN: Final = _span("recsvc.plan", "message to read plan and keys")
LOOKUP: Final = _span("recsvc.cache.lookup", "copies looked up")
WAIT: Final = _span("recsvc.fetch.wait", "from when this call began to wait for the store to when it had its rows")
FALLBACK: Final = _span("recsvc.fallback", "stale copies put in the place of what could not be read")
DECODE: Final = _span("recsvc.decode", "rows to columns, from when they were there: a busy event loop shows here")
COMPUTE: Final = _span("recsvc.compute", "on-demand features")
ENCODE: Final = _span("recsvc.encode", "answer to bytes")
UNFINISHED: Final = _span(
    "recsvc.unfinished", "what a call was at when it ended without an answer: refused, failed, cancelled or too late"
)
TURN: Final = _span("recsvc.recommend.turn", "waiting for one of the turns of the placement")
QUERY: Final = _span("recsvc.recommend.query", "what is known of the user: query vector, recent and seen items")
MASK: Final = _span("recsvc.recommend.mask", "which items may come")
SOURCE: Final = _span("recsvc.recommend.source", "one candidate source; they run side by side")
MERGE: Final = _span("recsvc.recommend.merge", "candidates of all sources to one list")
FEATURES: Final = _span("recsvc.recommend.features", "features of the candidates, through the same chain as any read")
PART: Final = _span(
    "recsvc.recommend.part", "of some candidates, where one read may not have all; parts are read side by side"
)
RANK: Final = _span("recsvc.recommend.rank", "the model's scores, and boosts")
RERANK: Final = _span("recsvc.recommend.rerank", "diversity, caps, quotas and pins; filling")
LATE: Final = _span(
    "recsvc.late", "a call that was not sampled, and failed, was degraded or slow: its hops as attributes"
)

# Attributes by convention.
RPC_SYSTEM: Final = _attribute("rpc.system.name", "`grpc`")
RPC_METHOD: Final = _attribute("rpc.method", "full name of the method; `_OTHER`: none of ours")
# Renamed `rpc.status_code` in conventions after 1.44: this is the one place that has to change.
RPC_STATUS: Final = _attribute("rpc.response.status_code", "name of the gRPC status code")
ERROR_TYPE: Final = _attribute("error.type", "what went wrong: a status code, or a type of error")
SERVER_ADDRESS: Final = _attribute("server.address", "host of this server, or of the store that was asked")
SERVER_PORT: Final = _attribute("server.port", "its port")
DB_SYSTEM: Final = _attribute("db.system.name", "`redis`")
DB_OPERATION: Final = _attribute("db.operation.name", "the command")
DB_STATUS: Final = _attribute("db.response.status_code", "with which code Redis refused the command")
DB_BATCH: Final = _attribute("db.operation.batch.size", "commands that were sent in one write, where they are several")
POOL_NAME: Final = _attribute("db.client.connection.pool.name", "the store that the connections are to")
POOL_STATE: Final = _attribute("db.client.connection.state", "`used` or `idle`")

# Attributes of ours.
SERVICE: Final = _attribute("recsvc.feature_service", "the feature service that was asked for")
ROWS: Final = _attribute("recsvc.rows", "rows that were asked for, or served")
FEATURES_COUNT: Final = _attribute("recsvc.features", "features in the answer")
HITS: Final = _attribute("recsvc.cache.hits", "rows from fresh copies")
MISSES: Final = _attribute("recsvc.cache.misses", "rows that the store was asked for")
STALE: Final = _attribute("recsvc.cache.stale", "rows from stale copies")
DEGRADED: Final = _attribute("recsvc.degraded", "what did not work: REASON of a view, source, catalogue or model")
FINGERPRINT: Final = _attribute("recsvc.registry.fingerprint", "the definitions that answered")
JOINED: Final = _attribute("recsvc.fetch.joined", "whether some rows came with a fetch that was under way already")
AGE_AT_JOIN: Final = _attribute("recsvc.fetch.age_at_join_us", "how old the oldest of those was when it was joined")
CALLERS: Final = _attribute("recsvc.fetch.callers", "calls that waited for the same rows, this one included")
KEYS: Final = _attribute("recsvc.fetch.keys", "rows that this call waited for")
POOL_WAIT: Final = _attribute("recsvc.pool.wait_us", "how long the command waited for a connection")
PLACEMENT: Final = _attribute("recsvc.placement", "the placement that made the slate")
SOURCE_NAME: Final = _attribute("recsvc.source", "the candidate source")
CANDIDATES: Final = _attribute("recsvc.candidates", "candidates of a source, or of all after merging")
PASSED: Final = _attribute("recsvc.mask.passed", "items that may come")
CATALOGUE_SIZE: Final = _attribute("recsvc.mask.of", "items of the catalogue")
SLATE_ITEMS: Final = _attribute("recsvc.slate.items", "items of the slate")
RANKED_BY: Final = _attribute("recsvc.ranked_by", "what ordered the slate")
MODEL: Final = _attribute("recsvc.model_version", "the model")
RECOMMENDATION: Final = _attribute("recsvc.recommendation_id", "the id in the reply, as impressions have it")
FACTOR: Final = _attribute("recsvc.quality_factor", "part of the candidates that was looked for")
FEATURE: Final = _attribute("recsvc.feature", "a feature")
CATALOGUE: Final = _attribute("recsvc.catalogue", "a catalogue of items")
VIEW: Final = _attribute("recsvc.view", "a view, with its version")
STATUS: Final = _attribute("recsvc.status", "why rows answer with defaults: a status of the contract")
COUNT: Final = _attribute("recsvc.count", "of how many rows")
BEFORE: Final = _attribute("recsvc.breaker.before", "state before the change")
AFTER: Final = _attribute("recsvc.breaker.after", "state after the change")
NODE: Final = _attribute("recsvc.node", "the store, or a node of it: HOST:PORT")
DROPPED_HOPS: Final = _attribute(
    "recsvc.dropped_hops_count", "hops of the call that are no spans, because there were more than 200"
)
REASON: Final = _attribute("recsvc.reason", "why")
RESULT: Final = _attribute("recsvc.result", "what came of it")
HOP: Final = _attribute("recsvc.hop", "name of a span above")
ENTITY: Final = _attribute("recsvc.entity.*", "by join key: keyed hash of the id, where --id-hash-key is set")
BAGGAGE: Final = _attribute(
    "recsvc.baggage.*", "entries of the caller's baggage that --trace-baggage names; none in `recsvc.late`"
)
HOP_US: Final = _attribute(
    "recsvc.us.*", "by hop: what took less than 20 µs and is no span; in `recsvc.late` every hop"
)

# Events.
BREAKER: Final = _event("recsvc.breaker", "the breaker changed its state")
RETRY: Final = _event("recsvc.retry", "the store is asked once more")
DEFAULTS: Final = _event("recsvc.defaults", "rows of a view answer with defaults; one event per view and status")

OTHER: Final = "_other"
"""Stands for names that no definition has."""
OTHER_METHOD: Final = "_OTHER"
"""Stands for methods that there are not, by the conventions."""


def meanings() -> Mapping[str, str]:
    """Return what each name stands for."""
    return {found.name: found.text for found in (*_SPANS, *_ATTRIBUTES, *_EVENTS)}


def markdown_tables() -> str:
    """Return the tables of names for the README."""
    parts = []
    for head, names in (("span", _SPANS), ("attribute", _ATTRIBUTES), ("event", _EVENTS)):
        rows = [f"| `{found.name}` | {found.text} |" for found in names]
        parts.append("\n".join([f"| {head} | meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts)
