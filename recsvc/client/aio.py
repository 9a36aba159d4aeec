"""The client for asyncio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from grpc import aio

from recsvc.client.channel import DEFAULT_TIMEOUT, GET_FEATURES, GET_FEATURES_BATCH, RECOMMEND, channel_options
from recsvc.client.context import ContextValue
from recsvc.client.errors import from_rpc
from recsvc.client.replies import FeatureBatch, FeatureRow, read_batch, read_row
from recsvc.client.requests import Id, Ids, Selection, batch_request, row_request
from recsvc.client.slates import Filter, Slate, Wish, read_slate, slate_request
from recsvc.client.vocabulary import Explain
from recsvc.pb import packed, serving_pb2

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class AsyncClient:
    """`Client` for asyncio: the same parameters, methods and errors. Tasks may share it; make it in the running loop.

    A cancelled call is cancelled at the server too. Close it, or use it in an ``async with`` block.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        wait_for_ready: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._target = target
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready
        arguments = channel_options(options)
        if credentials is None:
            self._channel = aio.insecure_channel(target, arguments)
        else:
            self._channel = aio.secure_channel(target, credentials, arguments)
        self._get_features = self._channel.unary_unary(
            GET_FEATURES,
            serving_pb2.GetFeaturesRequest.SerializeToString,
            serving_pb2.GetFeaturesResponse.FromString,
        )
        self._get_features_batch = self._channel.unary_unary(
            GET_FEATURES_BATCH,
            packed.GetFeaturesBatchRequest.SerializeToString,
            packed.GetFeaturesBatchResponse.FromString,
        )
        self._recommend = self._channel.unary_unary(
            RECOMMEND,
            serving_pb2.RecommendRequest.SerializeToString,
            packed.RecommendResponse.FromString,
        )
        self._closed = False

    async def get_features(  # noqa: PLR0913  # by keyword, and one request
        self,
        entities: Mapping[str, Id],
        *,
        service: str | None = None,
        features: Sequence[str] = (),
        context: Mapping[str, ContextValue] | None = None,
        max_staleness: timedelta | None = None,
        event_times: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109  # the deadline that the server is told
    ) -> FeatureRow:
        """Read one row: the features of ``service``, or those that ``features`` names, of the entities with these ids.

        ``context`` follows the rules of recsvc/client/context.py; ``max_staleness`` limits the age of cached copies
        (zero reads the store); ``timeout`` is in seconds.
        """
        request = row_request(entities, context, Selection(service, features, max_staleness, event_times))
        return read_row(await self._call(self._get_features, request, timeout))

    async def get_features_batch(  # noqa: PLR0913  # by keyword, and one request
        self,
        entities: Mapping[str, Ids],
        *,
        service: str | None = None,
        features: Sequence[str] = (),
        context: Mapping[str, ContextValue] | None = None,
        max_staleness: timedelta | None = None,
        event_times: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109  # the deadline that the server is told
    ) -> FeatureBatch:
        """Read many rows in columns; ids are one per row, or a single one for all rows. Else as get_features."""
        request = batch_request(entities, context, Selection(service, features, max_staleness, event_times))
        return read_batch(await self._call(self._get_features_batch, request, timeout))

    async def recommend(  # noqa: PLR0913  # by keyword, and one request
        self,
        placement: str,
        user: Id | None = None,
        *,
        limit: int = 0,
        context: Mapping[str, ContextValue] | None = None,
        filters: Sequence[Filter] = (),
        exclude: Sequence[Id] = (),
        seeds: Sequence[Id] = (),
        service: str | None = None,
        features: Sequence[str] = (),
        explain: Explain = Explain.NONE,
        unit: str = "",
        overrides: Mapping[str, str] | None = None,
        page_token: str = "",
        max_staleness: timedelta | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # the deadline that the server is told
    ) -> Slate:
        """Ask for a slate of ``placement``, up to ``limit`` items (0: as it says), for ``user`` (None: anonymous).

        ``filters`` must all hold (`any_of`, `none_of`, `between`, …); ``exclude`` never come; ``seeds`` are what the
        slate is to be like; ``service`` or ``features`` are returned of the items. ``unit`` decides variants where
        there is no user; ``page_token`` is that of the page before, with all else as it was.
        """
        wish = Wish(
            user,
            limit,
            context,
            filters,
            exclude,
            seeds,
            service,
            features,
            explain,
            unit,
            overrides,
            page_token,
            max_staleness,
        )
        return read_slate(await self._call(self._recommend, slate_request(placement, wish), timeout))

    async def _call(
        self, method: aio.UnaryUnaryMultiCallable[Request, Reply], request: Request, given: float | None
    ) -> Reply:
        seconds = self._timeout if given is None else given
        try:
            return await method(request, timeout=seconds, wait_for_ready=self._wait_for_ready)
        except aio.AioRpcError as error:
            raise from_rpc(error, self._target, seconds) from None

    async def close(self) -> None:
        """Close the connections; calls still waiting end as CANCELLED. Closing twice does nothing."""
        self._closed = True
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._target!r}, timeout={self._timeout:g}{', closed' if self._closed else ''})"
