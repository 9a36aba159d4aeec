"""The client for ordinary, blocking code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

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


class Client:
    """Asks one recsvc target, which may be many servers behind a DNS name. Threads may share it; make it after forking.

    * ``target``: ``host:port``, ``dns:///name:port`` (all its addresses take turns), ``unix:/path``.
    * ``timeout``: deadline of a call in seconds, all attempts included. A call that got UNAVAILABLE is tried again, at
      most twice within it: both methods only read.
    * ``credentials``: TLS (grpc.ssl_channel_credentials); None sends in the clear.
    * ``wait_for_ready``: whether a call waits, up to its deadline, for a server that cannot be reached. By default it
      fails at once, so that the caller's own fallback gets the time. A first call waits for the connection either way.
    * ``options``: grpc channel options, put in the place of the defaults (recsvc/client/channel.py).

    Methods raise ClientError. Close it, or use it in a ``with`` block.
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
            self._channel = grpc.insecure_channel(target, arguments)
        else:
            self._channel = grpc.secure_channel(target, credentials, arguments)
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

    def get_features(  # noqa: PLR0913  # by keyword, and one request
        self,
        entities: Mapping[str, Id],
        *,
        service: str | None = None,
        features: Sequence[str] = (),
        context: Mapping[str, ContextValue] | None = None,
        max_staleness: timedelta | None = None,
        event_times: bool = False,
        timeout: float | None = None,
    ) -> FeatureRow:
        """Read one row: the features of ``service``, or those that ``features`` names, of the entities with these ids.

        ``context`` follows the rules of recsvc/client/context.py; ``max_staleness`` limits the age of cached copies
        (zero reads the store); ``timeout`` is in seconds.
        """
        request = row_request(entities, context, Selection(service, features, max_staleness, event_times))
        return read_row(self._call(self._get_features, request, timeout))

    def get_features_batch(  # noqa: PLR0913  # by keyword, and one request
        self,
        entities: Mapping[str, Ids],
        *,
        service: str | None = None,
        features: Sequence[str] = (),
        context: Mapping[str, ContextValue] | None = None,
        max_staleness: timedelta | None = None,
        event_times: bool = False,
        timeout: float | None = None,
    ) -> FeatureBatch:
        """Read many rows in columns; ids are one per row, or a single one for all rows. Else as get_features."""
        request = batch_request(entities, context, Selection(service, features, max_staleness, event_times))
        return read_batch(self._call(self._get_features_batch, request, timeout))

    def recommend(  # noqa: PLR0913  # by keyword, and one request
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
        timeout: float | None = None,
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
        return read_slate(self._call(self._recommend, slate_request(placement, wish), timeout))

    def _call(
        self, method: grpc.UnaryUnaryMultiCallable[Request, Reply], request: Request, given: float | None
    ) -> Reply:
        seconds = self._timeout if given is None else given
        try:
            return method(request, timeout=seconds, wait_for_ready=self._wait_for_ready)
        except grpc.RpcError as error:
            raise from_rpc(error, self._target, seconds) from None

    def close(self) -> None:
        """Close the connections; calls still waiting end as CANCELLED. Closing twice does nothing."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._target!r}, timeout={self._timeout:g}{', closed' if self._closed else ''})"
