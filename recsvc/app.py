"""The composition root: the only place that builds and closes things."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from recsvc import __version__
from recsvc.config import Settings
from recsvc.errors import ConfigError, DefinitionError, StartupError, StoreUnavailableError
from recsvc.online.breaker import BreakerSettings, Change, Mode
from recsvc.online.by_node import Router
from recsvc.online.chain import ChainSettings, NamedStore, ReadChain, Surroundings
from recsvc.online.coalesce import CoalesceSettings
from recsvc.online.ended import ended
from recsvc.online.features import FeatureReader
from recsvc.online.policy import ViewPolicy
from recsvc.online.reader import Chain
from recsvc.online.redis_connect import ConnectionSettings, parse
from recsvc.online.redis_info import RedisInfo
from recsvc.online.redis_open import OpenRedis, OpenStore, open_redis
from recsvc.online.redis_schemas import SchemaCheck
from recsvc.online.redis_url import Topology
from recsvc.online.redis_vector_sets import RedisVectorSets
from recsvc.online.redis_whole_view import RedisWholeView
from recsvc.online.vector_store import VectorStores
from recsvc.recommend.impression_files import MAX_OWNER
from recsvc.recommend.page_token import MIN_KEY, PageTokens
from recsvc.recommend.serving import Directories, Recommending
from recsvc.registry.compat import Breaks, ensure_compatible, to_judge
from recsvc.registry.compat import Change as DefinitionChange
from recsvc.registry.loader import load as load_registry
from recsvc.registry.registry import Registry
from recsvc.rpc.handler import Calls, Handlers
from recsvc.rpc.limits import Limits
from recsvc.rpc.server import RpcServer
from recsvc.rpc.servicer import ServingServicer
from recsvc.secret import Secret
from recsvc.telemetry import metrics as m
from recsvc.telemetry.counters import Counters
from recsvc.telemetry.id_hash import IdHash
from recsvc.telemetry.loop_lag import watch_loop
from recsvc.telemetry.series import Point
from recsvc.telemetry.setup import Telemetry, Wishes

log = logging.getLogger(__name__)

SLOW_SHARE: Final = 0.8
"""Of the time that a read may take, what makes it slow where no setting says so."""
PING_INTERVAL_S: Final = 1.0
"""How often the store is asked whether it is there, for its health service name; also how long it has to answer."""


def now_micros() -> int:
    """Return the wall clock in microseconds since 1970."""
    return time.time_ns() // 1_000


@contextlib.asynccontextmanager
async def running(settings: Settings, spec: str, registry: Registry | None = None) -> AsyncIterator[App]:
    """Start a server for the definitions that ``spec`` names, and stop it in order at the end.

    ``registry`` is what was loaded from ``spec`` before, if it was. Raises ConfigError, DefinitionError and
    StartupError.
    """
    if registry is None:
        registry = load_registry(spec)
    telemetry = _telemetry(settings)
    counters = Counters(monotonic=time.monotonic, calls=telemetry.calls)
    required = settings.redis_at_start == "required"
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(telemetry.close)
        opening = open_redis(settings.redis, connection_settings(settings), required=required)
        redis = await stack.enter_async_context(opening)
        store = await stack.enter_async_context(redis.reader(counters))
        chain = ReadChain(chain_settings(settings), _surroundings(counters), _behind(store, redis))
        stack.push_async_callback(chain.close)
        sets = _vector_sets(redis, counters)
        if sets is not None:
            stack.callback(sets.close)
        recommending = _recommending(settings, redis, counters, sets)
        stack.push_async_callback(recommending.close)
        await recommending.adopt(registry)
        app = App(settings, spec, FeatureReaders(chain, counters, settings), registry, recommending)
        app.metrics_page = telemetry.page
        await stack.enter_async_context(app.serving(redis))
        telemetry.serves(app.address)
        yield app


class FeatureReaders:
    """Makes the reader of a registry, over the one chain and the one set of counters."""

    def __init__(self, chain: Chain, counters: Counters, settings: Settings) -> None:
        self.counters = counters
        self._chain = chain
        self._max_keys = settings.max_store_keys
        self._policy = ViewPolicy(settings.cache_s, settings.stale_if_error_s)

    def __repr__(self) -> str:
        return f"FeatureReaders({self._chain!r}, {self.counters!r})"

    def of(self, registry: Registry) -> FeatureReader:
        """Return a reader of ``registry``."""
        return FeatureReader(
            registry,
            self._chain,
            self.counters,
            now_micros=now_micros,
            max_keys=self._max_keys,
            policy=self._policy,
        )


class App:
    """A server: the definitions that answer now, and the gRPC face. ``running`` makes one."""

    def __init__(  # what it serves with
        self,
        settings: Settings,
        spec: str,
        readers: FeatureReaders,
        registry: Registry,
        recommending: Recommending,
    ) -> None:
        self._settings = settings
        self._spec = spec
        self._readers = readers
        self._recommending = recommending
        self._reader = readers.of(registry)
        calls = Calls()
        handlers = Handlers(
            calls,
            readers.counters.calls,
            default_deadline_s=settings.default_deadline_ms / 1000,
            margin_s=settings.deadline_margin_ms / 1000,
        )
        servicer = ServingServicer(
            lambda: self._reader,
            _limits(settings),
            lambda: recommending.recommender,
            overrides=settings.experiment_overrides == "allowed",
            hash_id=_id_hash(settings),
        )
        handler = servicer.generic_handler(handlers)
        self._rpc = RpcServer(
            handler,
            handlers.unknown(),
            calls,
            listen=settings.listen,
            max_request_bytes=settings.max_request_bytes,
        )
        self._reload_wanted = asyncio.Event()
        self.metrics_page = ""
        """Where metrics can be scraped, HOST:PORT; empty: nowhere."""
        self._metrics = readers.counters.metrics
        self._metrics[m.CALLS_ACTIVE].observe(lambda: [((), calls.under_way)])
        self._metrics[m.FRESHNESS].observe(lambda: _freshness(self.registry))

    def __repr__(self) -> str:
        return f"App({self._rpc!r}, {self._reader!r}, {self._readers!r})"

    @property
    def address(self) -> str:
        """Where it serves, HOST:PORT."""
        return self._rpc.address

    @property
    def registry(self) -> Registry:
        """The definitions that answer now."""
        return self._reader.registry

    @contextlib.asynccontextmanager
    async def serving(self, redis: OpenRedis) -> AsyncIterator[None]:
        """Serve, and at the end stop so that no call that was taken is cut off."""
        await self._rpc.start()
        schemas = SchemaCheck(redis.client)
        tasks = [
            asyncio.create_task(self._watch(redis, schemas)),
            asyncio.create_task(self._reload_when_wanted(schemas)),
        ]
        if self._metrics.enabled:
            tasks += [
                asyncio.create_task(watch_loop(self._metrics)),
                asyncio.create_task(RedisInfo(redis.client, self._metrics).watch()),
            ]
        for task in tasks:
            task.add_done_callback(_log_failure)
        try:
            yield
        finally:
            await self._rpc.stop(lame_duck_s=self._settings.lame_duck_s, refuse_s=self._settings.refuse_s)
            await ended(tasks)

    def reload(self) -> None:
        """Read the definitions again soon, and serve them from then on.

        Wrong or breaking ones are logged, and the old ones stay.
        """
        self._reload_wanted.set()

    async def _reload_when_wanted(self, schemas: SchemaCheck) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            try:
                self._reader, changes = await self._reloaded(schemas)
            except (ConfigError, DefinitionError, StoreUnavailableError) as error:
                problems = "; ".join(str(error).splitlines())
                log.error("reload refused, the old definitions stay: %s", problems)  # noqa: TRY400  # made for this
            except Exception:  # what users define is theirs, and the next reload must find this task alive
                log.exception("reload failed, the old definitions stay")
            else:
                _log_reload(self.registry, changes)

    async def _reloaded(self, schemas: SchemaCheck) -> tuple[FeatureReader, Sequence[DefinitionChange]]:
        """Return the reader of what the definitions are now, and what has changed; raises where there can be none."""
        # In threads: it is the user's code, and even a fast one would hold up all calls.
        registry = await asyncio.to_thread(load_registry, self._spec)
        stored = await schemas.stored(to_judge(self.registry, registry)) or {}
        changes = await asyncio.to_thread(ensure_compatible, self.registry, registry, stored)
        reader = await asyncio.to_thread(self._readers.of, registry)
        await self._recommending.adopt(registry)  # first, for calls with the new ones need it
        return reader, changes

    async def _watch(self, redis: OpenRedis, schemas: SchemaCheck) -> None:
        """Keep the store's own health name up to date; the server's health does not depend on it, nor on its rows."""
        was = True
        checked: Registry | None = None
        while True:
            up = await redis.answers(PING_INTERVAL_S)
            await self._rpc.set_store_health(up=up)
            if not up:
                checked = None  # it may be another one that comes back
            elif checked is not (registry := self.registry) and await schemas.tell(registry):
                checked = registry
            if up != was:
                log.warning("the store %s", "answers again" if up else "does not answer")
            was = up
            await asyncio.sleep(PING_INTERVAL_S)


def _telemetry(settings: Settings) -> Telemetry:
    """Return what measures, by the settings and OpenTelemetry's variables. Raises ConfigError and StartupError."""
    wishes = Wishes(
        version=__version__,
        metrics=settings.metrics == "on",
        page=settings.metrics_listen,
        late_s=settings.late_ms / 1000,
        late_per_s=settings.late_per_s,
        baggage=settings.trace_baggage,
    )
    try:
        return Telemetry(wishes, random=random.Random())  # noqa: S311  # names traces, keeps no secret
    except ValueError as error:
        raise ConfigError(str(error)) from error
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = (
            f"--metrics-listen {settings.metrics_listen}" if settings.metrics_listen else "OTEL_EXPORTER_PROMETHEUS_*"
        )
        raise StartupError(f"{where}: cannot listen there ({reason})") from error


def _id_hash(settings: Settings) -> IdHash | None:
    """Return what makes of ids what may stand in spans; None where nothing may. Raises ConfigError."""
    try:
        return IdHash(settings.id_hash_key) if settings.id_hash_key else None
    except ValueError as error:
        raise ConfigError(f"--id-hash-key: {error}") from error


def _freshness(registry: Registry) -> list[Point]:
    views = registry.views.values()
    return [((view.label,), view.freshness.total_seconds()) for view in views if view.freshness is not None]


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task ended", exc_info=error)


def connection_settings(settings: Settings) -> ConnectionSettings:
    """Return how to connect to the store that ``settings`` name."""
    return ConnectionSettings(
        connect_timeout_s=settings.redis_connect_timeout_ms / 1000,
        max_connections=settings.redis_connections + 1,  # one is for the question whether the store is there
    )


def chain_settings(settings: Settings) -> ChainSettings:
    """Return the bounds of the read path."""
    return ChainSettings(
        cache_entries=settings.cache_entries,
        cache_bytes=settings.cache_mb * 1_000_000,
        coalesce=CoalesceSettings(
            slots=min(settings.fetch_slots, settings.redis_connections),
            fetches=settings.redis_connections,
            gather_s=settings.fetch_gather_ms / 1000,
            keys_per_fetch=settings.fetch_keys,
            timeout_s=settings.redis_timeout_ms / 1000,
            waiting_keys=settings.max_waiting_keys,
            waiting_bytes=settings.max_waiting_mb * 1_000_000,
            waiting_calls=settings.max_waiting_calls,
        ),
        breaker=BreakerSettings(
            mode=Mode(settings.breaker),
            window_s=settings.breaker_window_ms / 1000,
            min_calls=settings.breaker_min_calls,
            failure_share=settings.breaker_failure_share,
            slow_s=(settings.breaker_slow_ms or SLOW_SHARE * settings.redis_timeout_ms) / 1000,
            slow_share=settings.breaker_slow_share,
            open_s=settings.breaker_open_ms / 1000,
            probes=settings.breaker_probes,
        ),
    )


def _behind(store: OpenStore, redis: OpenRedis) -> NamedStore | Router:
    """Return what the chain reads from: the nodes of a cluster, or the one server by its place."""
    if store.single is not None:
        return NamedStore(parse(redis.url).place, store.single)
    if store.router is None:
        raise AssertionError("a store is a single server or a cluster")
    return store.router


def _vector_sets(redis: OpenRedis, counters: Counters) -> RedisVectorSets | None:
    """Return what opens indexes whose vectors are in the store; of a Cluster they cannot be searched."""
    return None if parse(redis.url).topology is Topology.CLUSTER else RedisVectorSets(redis.url, calls=counters.calls)


def _recommending(
    settings: Settings, redis: OpenRedis, counters: Counters, stores: VectorStores | None
) -> Recommending:
    """Return what makes slates, not yet for any definitions. Raises ConfigError."""
    return Recommending(
        Directories(
            *(Path(d) if d else None for d in (settings.index_dir, settings.model_dir, settings.impressions_dir)),
        ),
        _page_tokens(settings.page_token_key),
        partial(RedisWholeView, redis.client),
        now_micros=now_micros,
        clock=time.monotonic,
        random=random.Random(),  # noqa: S311  # seeds of what is drawn, keeps no secret
        counters=counters,
        stores=stores,
        target_s=settings.recommend_target_ms / 1000,
        owner=_owner(settings.listen),
    )


def _page_tokens(keys: Secret) -> PageTokens:
    """Return what makes tokens by the first of the keys. Raises ConfigError."""
    return PageTokens([key.strip().encode() for key in keys.split(",")] if keys else [secrets.token_bytes(MIN_KEY)])


def _owner(listen: str) -> str:
    """Return what names this server in files, and none beside it, on this host or on others that share a volume."""
    return re.sub(r"[^A-Za-z0-9_]", "_", f"{socket.gethostname()}_{listen}")[-MAX_OWNER:]


def _surroundings(counters: Counters) -> Surroundings:
    def changed(change: Change) -> None:
        counters.breaker_changed(change.name, change.before, change.after, change.why)

    rng = random.Random()  # noqa: S311  # spreads times, keeps no secret
    return Surroundings(time.monotonic, rng, changed, counters.metrics)


def _limits(settings: Settings) -> Limits:
    return Limits(
        rows=settings.max_rows,
        features=settings.max_features,
        cells=settings.max_cells,
        reply_bytes=settings.max_reply_bytes,
        id_bytes=settings.max_id_bytes,
    )


def _log_reload(registry: Registry, changes: Sequence[DefinitionChange]) -> None:
    listed = "".join(f"; {change}" for change in changes)
    log.info("reloaded: registry %s, %d changes%s", registry.fingerprint, len(changes), listed)
    for change in changes:
        if change.breaks is Breaks.CALLERS:
            log.warning("reloaded: callers may break: %s", change)
