"""How much memory an entity takes in Redis: our packed rows against the layouts that feature stores on Redis have.

100,000 users have 7 features of three paces: two of a profile (an integer, a short text), four of their activity (two
integers, a mean, a moment), and a taste vector of 32 FLOAT32. Ours are one row per view, three per user. The others are

* a JSON text per feature under ``fs:user:ID:NAME:v1``, written a second time under ``…:latest``, as systems do that let
  their readers pin a version; and the same once;
* a hash per user with all features: one TTL for all of them, and nothing says how old each is. The vector is JSON text,
  or the bytes of its float32; the latter also on a server whose limit for compact hashes is raised so far that it fits
  (not judged: nobody finds that setting by himself).

Why it is fair: everything has a TTL on both sides, the users and their values are the same, each layout has a server of
its own, fresh and with its defaults. Counted is by how much ``used_memory`` has grown after the last client has gone
and the hash tables have grown to their end. Texts are as short as they get: moments are integers, and the "short"
text of a vector has the shortest decimals that give its float32 back (about 10 characters), which takes care to write;
"plain" text is what ``json.dumps(vector.tolist())`` gives (about 20). Our rows also hold when the event was and when
it was written, which none of the others does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import hiredis
import pytest
import redis

from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import open_redis
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table
from tests.bench.servers import BareServer, bare_server
from tests.bench.store_layouts import Command, Users, hashes, hashes_with_bytes, json_strings, views
from tests.parts.redis_binaries import REDIS_7_0, REDIS_8_2, redis_server
from tests.parts.waiting import wait_until

OURS: Final = "packed rows"
BATCH: Final = 2_000
SETTLE_S: Final = 60.0
VERSIONS: Final = (REDIS_8_2, REDIS_7_0)
# DEBUG tells whether a hash table still grows; with the highest hz it is soon done.
OPTIONS: Final[Mapping[str, object]] = {"enable_debug_command": "local", "hz": 500}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many users."""

    users: int = 100_000


@dataclass(frozen=True, slots=True)
class Peer:
    """A layout to compare with: its commands, how our memory has to stand to its own, and its server's options."""

    name: str
    commands: Callable[[Users], Iterator[Command]]
    keys: int
    expected: tuple[Relation, float] | None
    options: Mapping[str, object] = field(default_factory=dict)


def _peers() -> list[Peer]:
    quarter, half, less = (Relation.AT_MOST, 1 / 4), (Relation.AT_MOST, 1 / 2), (Relation.BELOW, 1.0)
    found = []
    for text, short in (("plain", False), ("short", True)):
        twice, once = (partial(json_strings, short=short, twice=t) for t in (True, False))
        found += [
            Peer(f"JSON per feature, twice, {text} text", twice, 14, quarter),
            Peer(f"JSON per feature, once, {text} text", once, 7, half),
            Peer(f"hash, {text} text", partial(hashes, short=short), 1, less),
        ]
    limit = {"hash_max_listpack_value": 256}
    found += [Peer("hash, vector as bytes", hashes_with_bytes, 1, less)]
    return [*found, Peer("hash, vector as bytes, listpack limit 256", hashes_with_bytes, 1, None, limit)]


async def measure(sizes: Sizes) -> Report:
    """Measure all layouts on all versions that are there."""
    users = Users.make(sizes.users)
    peers = _peers()
    notes: list[str] = []
    found: dict[str, dict[str, float]] = {}
    facts: Figures = {}
    for version, program in _programs(notes).items():
        found[version] = {OURS: await _ours(program, users, facts)}
        for peer in peers:
            found[version][peer.name] = _theirs(program, users, peer)
    return _report(sizes, found, peers, facts, notes)


def _programs(notes: list[str]) -> dict[str, Path]:
    programs = {}
    for version in VERSIONS:
        try:
            programs[version] = redis_server(version)
        except pytest.skip.Exception as missing:
            notes.append(f"left out: {missing}")
    return programs


async def _ours(program: Path, users: Users, facts: Figures) -> float:
    with bare_server(program, **OPTIONS) as server:
        facts[server.version] = {"allocator": server.admin.info("memory")["mem_allocator"]}
        before = _used(server)
        async with open_redis(server.url, ConnectionSettings()) as store:
            for view, keys, rows in users.packed():
                for start in range(0, len(keys), BATCH):
                    part = slice(start, start + BATCH)
                    await store.writer().write(view, keys[part], rows[part])
        return _grown(server, before, len(views()) * len(users.ids)) / len(users.ids)


def _theirs(program: Path, users: Users, peer: Peer) -> float:
    with bare_server(program, **OPTIONS, **peer.options) as server:
        before = _used(server)
        _send(server, peer.commands(users))
        return _grown(server, before, peer.keys * len(users.ids)) / len(users.ids)


def _send(server: BareServer, commands: Iterator[Command]) -> None:
    """Send commands without waiting for what the server says to each; ``_grown`` looks whether all came in."""
    with redis.Redis(port=server.port, single_connection_client=True) as client:
        connection = client.connection
        assert connection is not None
        connection.send_command("CLIENT REPLY", "OFF")
        while batch := list(itertools.islice(commands, BATCH)):
            connection.send_packed_command(_packed(batch))
        connection.send_command("CLIENT REPLY", "ON")
        assert connection.read_response() == b"OK"


def _packed(commands: Iterable[Command]) -> list[bytes]:
    return [b"".join(hiredis.pack_command(command) for command in commands)]  # type: ignore[arg-type]  # its stub knows one word


def _used(server: BareServer) -> int:
    used: int = server.admin.info("memory")["used_memory"]
    return used


def _grown(server: BareServer, before: int, keys: int) -> int:
    """Return by how many bytes the server has grown, once all keys are there and it is at rest."""
    assert server.admin.dbsize() == keys
    assert server.admin.info("keyspace")["db0"]["expires"] == keys
    wait_until(lambda: server.admin.info("clients")["connected_clients"] == 1, SETTLE_S)
    wait_until(lambda: b"rehashing" not in server.admin.execute_command("DEBUG", "HTSTATS", 0), SETTLE_S)
    return _used(server) - before


def _report(
    sizes: Sizes, found: Mapping[str, Mapping[str, float]], peers: Iterable[Peer], facts: Figures, notes: list[str]
) -> Report:
    columns = [text for version in found for text in (f"Redis {version}: bytes", "ours to it")]
    shown = table(f"Memory per entity, {sizes.users:,} users × 7 features with TTL", "layout", *columns)
    for name in (OURS, *(peer.name for peer in peers)):
        cells = []
        for by_layout in found.values():
            cells += [f"{by_layout[name]:,.0f}", f"{by_layout[OURS] / by_layout[name]:.3f}"]
        shown.add_row(name, *cells)
    figures: Figures = {"users": sizes.users, "servers": facts}
    figures["bytes_per_entity"] = {v: {n: rounded(b) for n, b in f.items()} for v, f in found.items()}
    expectations = [
        Expectation(
            f"memory, Redis {version}: ours / {peer.name}", by_layout[OURS] / by_layout[peer.name], *peer.expected
        )
        for version, by_layout in found.items()
        for peer in peers
        if peer.expected is not None
    ]
    return Report("memory", [shown], figures, expectations, notes)
