"""The demo's traces in a real Jaeger, read back through its query API: what a person would see there."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

import pytest

from recsvc.pb import serving_pb2 as pb
from recsvc.telemetry import names
from tests.clients.node import NodeClient
from tests.e2e.traced_demo import Context, TracedDemo, traced_demo
from tests.parts.jaeger import BUILD_S
from tests.parts.spans import Seen, Tree
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(BUILD_S)]

FEATURES: Final = ["profile:age", "activity:rating_count_7d"]
COVERED: Final = 0.95
LONGEST_GAP_US: Final = 200.0
TRIES: Final = 5
"""A machine that stands still between two hops makes a gap that is none of ours: in some, but not in most of them."""


@pytest.fixture(scope="module")
def demo() -> Iterator[TracedDemo]:
    """The demo, whose traces go to Jaeger."""
    with traced_demo() as made:
        yield made


def users(first: int, count: int = 50) -> pb.GetFeaturesBatchRequest:
    """Ask for users that nobody asked for."""
    ids = pb.KeyColumn(int64s=pb.Int64Ids(values=range(first, first + count)))
    return pb.GetFeaturesBatchRequest(entities={"user_id": ids}, features=FEATURES)


def user(number: int) -> pb.GetFeaturesRequest:
    """Ask for one user."""
    return pb.GetFeaturesRequest(entities={"user_id": str(number)}, features=FEATURES)


def check_root(tree: Tree, method: str) -> None:
    """Check what every server span says."""
    root = tree.root
    assert root.name == f"recsvc.v1.ServingService/{method}"
    assert root.attributes[names.RPC_SYSTEM] == "grpc"
    assert root.attributes[names.RPC_METHOD] == root.name
    assert root.attributes[names.RPC_STATUS] == "OK"
    assert not root.error


def check_whole(what: str, trees: Sequence[Tree]) -> None:
    """Fail unless most traces are covered as they should be, and most have no long gap."""
    seen = [tree.coverage() for tree in trees]
    print(f"{what}, covered and longest gap: " + ", ".join(f"{share:.1%} {gap:.0f} us" for share, gap in seen))  # noqa: T201  # figures, for whoever runs it with -s
    assert median(share for share, _ in seen) >= COVERED
    assert median(gap for _, gap in seen) <= LONGEST_GAP_US


def test_a_miss(demo: TracedDemo) -> None:
    """Below the server's span each hop once, in order and without gaps; the command below the wait for it."""
    trees = [demo.call(users(10_000 + 100 * n)) for n in range(TRIES)]
    for tree in trees:
        check_root(tree, "GetFeaturesBatch")
        hops = tree.names()
        order = [names.PARSE, names.PLAN, names.LOOKUP, names.WAIT, names.DECODE, names.ENCODE]
        assert [hop for hop in order if hop in hops] == hops
        command, wait = tree.one("MGET"), tree.one(names.WAIT)
        assert (command.kind, command.parent, list(wait.links)) == ("CLIENT", wait.id, [command.id])
        assert command.attributes[names.DB_SYSTEM] == "redis"
        assert command.attributes[names.SERVER_ADDRESS] == "127.0.0.1"
        assert tree.root.attributes[names.MISSES] == 100
    check_whole("miss", trees)


def test_a_hit(demo: TracedDemo) -> None:
    """At most three spans, none of them a command; what they do not cover is told by attributes."""
    demo.call(user(77))
    tree = demo.call(user(77))
    check_root(tree, "GetFeatures")
    assert len(tree.spans) <= 3
    assert {span.kind for span in tree.spans} <= {"SERVER", "INTERNAL"}
    assert tree.root.attributes[names.HITS] == 2
    told = {name: value for name, value in tree.root.attributes.items() if name.startswith("recsvc.us.")}
    covered, _ = tree.coverage()
    print(f"hit: {tree.root.took_us:.0f} us, {(1 - covered) * tree.root.took_us:.0f} us in no span, told: {told}")  # noqa: T201  # a figure, for whoever runs it with -s
    assert told or len(tree.spans) > 1


def test_a_shared_fetch(demo: TracedDemo) -> None:
    """Callers that wait for the same rows: one command, in the first one's trace, and a link to it from each wait."""
    demo.call(user(1))  # a connection is open
    request, contexts = user(500), [Context() for _ in range(3)]
    demo.store.process.send_signal(signal.SIGSTOP)
    try:
        calls = [demo.start(request, contexts[0])]
        wait_until(lambda: demo.metric("recsvc_fetch_waiting") >= 2)
        calls += [demo.start(request, context) for context in contexts[1:]]
        wait_until(lambda: demo.metric("recsvc_calls_active") >= 3)
    finally:
        demo.store.process.send_signal(signal.SIGCONT)
    assert all(call.result() for call in calls)
    trees = [demo.tree(request, context) for context in contexts]
    waits = [tree.one(names.WAIT) for tree in trees]
    command = trees[0].one("MGET")
    assert [span for tree in trees[1:] for span in tree.spans if span.kind == "CLIENT"] == []
    assert all(command.id in wait.links for wait in waits)
    assert [wait.attributes[names.JOINED] for wait in waits] == [False, True, True]
    assert all(wait.attributes[names.CALLERS] == 3 for wait in waits)
    assert all(wait.attributes[names.AGE_AT_JOIN] > 0 for wait in waits[1:])
    assert all(wait.attributes[names.KEYS] == 2 for wait in waits)


def test_a_slate(demo: TracedDemo) -> None:
    """Recommend: each stage once, its sources side by side, its reads below the stage that reads, without gaps."""
    request = pb.RecommendRequest(placement="home", user_id="196", limit=10)
    demo.call(request)
    trees = [demo.call(request) for _ in range(TRIES)]
    for tree in trees:
        check_root(tree, "Recommend")
        hops = tree.names()
        assert all(hops.count(name) <= 1 for name in set(hops) - {names.SOURCE})
        assert {names.FEATURES, names.SOURCE} <= set(hops)
        sources = [span.attributes[names.SOURCE_NAME] for span in tree.all(names.SOURCE)]
        assert len(sources) == len(set(sources)) >= 4
        readers = {span.id for name in (names.QUERY, names.FEATURES) for span in tree.all(name)}
        assert {wait.parent for wait in tree.all(names.WAIT)} <= readers
        assert tree.root.attributes[names.PLACEMENT] == "home"
        assert tree.root.attributes[names.SLATE_ITEMS] == 10
        assert names.DEGRADED not in tree.root.attributes
    check_whole("slate", trees)


def test_as_many_commands_as_redis_counts(demo: TracedDemo) -> None:
    """With all calls sampled there is one CLIENT span for each command that Redis has counted, no more and no less.

    Several in one write are one span, which says how many they are.
    """
    before = demo.commands()
    slates = [pb.RecommendRequest(placement="home", user_id=str(n), limit=10) for n in range(1, 60)]
    requests = [*(users(20_000 + 10 * n, 5) for n in range(40)), users(30_000, 600), *map(user, range(1, 60)), *slates]
    contexts = [Context() for _ in requests]
    for call in [demo.start(request, context) for request, context in zip(requests, contexts, strict=True)]:
        call.result()
    trees = [demo.tree(request, context) for request, context in zip(requests, contexts, strict=True)]
    sent = demo.commands() - before

    def told() -> Counter[str]:
        commands = [span for context in contexts for span in demo.spans(context) if span.kind == "CLIENT"]
        return sum((commands_of(span) for span in commands), Counter())

    wait_until(lambda: told().total() >= sent.total())
    assert told() == sent
    print(f"{len(trees)} calls, {dict(sent)} commands, as many in CLIENT spans")  # noqa: T201  # a figure, for whoever runs it with -s
    of_slates = [commands_of(span) for tree in trees[-len(slates) :] for span in tree.spans]
    assert any(of_slates)


def commands_of(span: Seen) -> Counter[str]:
    """Return the commands that a span tells of, by the names that Redis counts them under."""
    if span.kind != "CLIENT":
        return Counter()
    return Counter({span.attributes[names.DB_OPERATION].lower(): int(span.attributes.get(names.DB_BATCH, 1))})


def test_a_stock_client_and_the_server_are_one_trace(demo: TracedDemo) -> None:
    """A client in JavaScript with OpenTelemetry's own instrumentation: its span is the parent of ours, in one trace."""
    node = NodeClient.prepared()
    request = {"entities": {"user_id": "196"}, "features": FEATURES}
    trace = node.traced(demo.address, "GetFeatures", request, f"http://{demo.jaeger.otlp_http}")
    wait_until(lambda: joined(demo.spans(Context(trace))))
    spans = demo.spans(Context(trace))
    (server,) = [span for span in spans if span.kind == "SERVER"]
    (client,) = [span for span in spans if span.id == server.parent]
    assert client.kind == "CLIENT"
    assert client.name.endswith("ServingService/GetFeatures")
    assert client.start <= server.start
    assert server.end <= client.end
    assert roots(spans) == [client]


def joined(spans: Sequence[Seen]) -> bool:
    """Whether those of both processes are there, each of which sends its own when it likes."""
    return [span.kind for span in roots(spans)] == ["CLIENT"] and any(span.kind == "SERVER" for span in spans)


def roots(spans: Sequence[Seen]) -> list[Seen]:
    """Return those whose parent is not there."""
    ids = {span.id for span in spans}
    return [span for span in spans if span.parent not in ids]


def test_an_outage(demo: TracedDemo) -> None:
    """Redis hangs: what failed and what stood in, in the trace of the call that met it; last, for then it is killed."""
    demo.call(user(300))  # a connection is open
    demo.store.process.send_signal(signal.SIGSTOP)
    tree = demo.call(user(301))
    check_root(tree, "GetFeatures")
    assert "STORE_UNAVAILABLE" in tree.root.attributes[names.DEGRADED]
    command, wait = tree.one("MGET"), tree.one(names.WAIT)
    assert (command.kind, command.parent, command.error) == ("CLIENT", wait.id, True)
    assert command.attributes[names.ERROR_TYPE]
    changes = [attributes for name, attributes in wait.events if name == names.BREAKER]
    assert [change[names.AFTER] for change in changes] == ["open"]
    demo.store.process.kill()
    demo.store.process.wait()
    refused = demo.call(user(302))
    assert "CIRCUIT_OPEN" in refused.root.attributes[names.DEGRADED]
    assert not [span for span in refused.spans if span.kind == "CLIENT"]
    slate = demo.call(pb.RecommendRequest(placement="home", user_id="302", limit=10))
    check_root(slate, "Recommend")
    assert slate.root.attributes[names.SLATE_ITEMS] == 10
    assert names.DEGRADED in slate.root.attributes
