"""How the client connects: channel options that suit a ranking service, which would rather know at once than wait."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from recsvc import __version__

SERVICE: Final = "recsvc.v1.ServingService"
GET_FEATURES: Final = f"/{SERVICE}/GetFeatures"
GET_FEATURES_BATCH: Final = f"/{SERVICE}/GetFeaturesBatch"
RECOMMEND: Final = f"/{SERVICE}/Recommend"
READING: Final = (GET_FEATURES, GET_FEATURES_BATCH, RECOMMEND)

DEFAULT_TIMEOUT: Final = 0.5
"""Deadline of a call in seconds, where neither client nor call has one. It holds for all attempts together."""
MAX_REPLY_BYTES: Final = 8 * 1024 * 1024
"""The server's limit is 4,000,000 bytes unless configured higher; grpc's own limit here would be 4 MiB."""

SERVICE_CONFIG: Final = json.dumps(
    {
        # All addresses that DNS gives take turns; grpc's default would send everything to the first.
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                # Named one by one: these only read, so asking twice is harmless.
                "name": [{"service": SERVICE, "method": name.rpartition("/")[2]} for name in READING],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.05s",
                    "backoffMultiplier": 2,
                    # A server that stops, or is gone: the next attempt goes to another one.
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        # While more than half of the calls fail, none is sent twice.
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }
)

OPTIONS: Final[dict[str, Any]] = {
    "grpc.service_config": SERVICE_CONFIG,
    "grpc.max_receive_message_length": MAX_REPLY_BYTES,
    "grpc.primary_user_agent": f"recsvc-python/{__version__}",
    # A peer that vanished without a word is noticed after 25 s, and no balancer drops an idle connection. The server
    # must permit that (min_ping_interval_without_data_ms and keepalive_permit_without_calls): recsvc takes a ping every
    # 10 s, grpc by itself one in 5 minutes, and in 2 hours while there are no calls.
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    # A server that comes back is found within 2 s; grpc's default backs off to 2 minutes.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 2_000,
    "grpc.max_reconnect_backoff_ms": 2_000,
}


def channel_options(extra: Mapping[str, Any] | None = None) -> list[tuple[str, Any]]:
    """Return the options of a channel; those of ``extra`` come instead of the defaults."""
    return list({**OPTIONS, **(extra or {})}.items())
