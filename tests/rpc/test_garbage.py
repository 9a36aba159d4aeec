"""Bytes that are no request: INVALID_ARGUMENT or a proper answer, whatever they are, and never more than that."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Iterator
from typing import Any, Final

import grpc
import pytest

from recsvc.pb import serving_pb2 as pb
from tests.rpc.calling import BATCH, PATIENCE, SINGLE, int64s, refusal, strings
from tests.rpc.serving import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

SINGLE_REQUEST: Final = pb.GetFeaturesRequest(
    entities={"user_id": "1", "item_id": "é"},
    features=["profile:age", "film", "live:age_plus", "request:words"],
    context={
        "offset": pb.Value(int64_value=1),
        "words": pb.Value(string_list_value=pb.StringList(values=["a"])),
    },
    include_event_times=True,
).SerializeToString()
BATCH_REQUEST: Final = pb.GetFeaturesBatchRequest(
    entities={"user_id": int64s(1), "item_id": strings("a", "é")},
    features=["profile:age", "film", "live:age_plus", "request:embedding"],
    context={
        "offset": pb.ColumnValues(int64s=pb.Int64Column(values=[1, 2])),
        "embedding": pb.ColumnValues(vectors=pb.VectorColumn(dimension=2, values=[1, 2, 3, 4])),
    },
    include_event_times=True,
).SerializeToString()
REQUESTS: Final = ((SINGLE, SINGLE_REQUEST), (BATCH, BATCH_REQUEST))
ALLOWED: Final = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
AT_ONCE: Final = 100


async def codes(served: Served, requests: Iterable[tuple[str, bytes]]) -> dict[grpc.StatusCode, int]:
    """Send them all, a number at once, and count the codes; what is refused has details as ever."""
    found: dict[grpc.StatusCode, int] = {}
    todo: Iterator[tuple[str, bytes]] = iter(requests)

    async def worker() -> None:
        for method, data in todo:
            code = await outcome(served, method, data)
            found[code] = found.get(code, 0) + 1

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return found


async def outcome(served: Served, method: str, data: bytes) -> grpc.StatusCode:
    """Send bytes and return the code."""
    try:
        await served.caller.raw(method, data)
    except grpc.aio.AioRpcError as error:
        found = refusal(error)
        assert found.reason, (data, found)
        assert found.wrong, (data, found)
        return found.code
    return grpc.StatusCode.OK


async def test_malformed_bytes_are_invalid(served: Served) -> None:
    """Bytes that do not parse are INVALID_ARGUMENT with a reason of their own, and no word of the parser."""
    for method in (SINGLE, BATCH):
        for data in (b"\xff", b"\x0a\xff", b"\x1a\x01\xff", b"\x0f", b"not a message"):
            found = await served.caller.refused_raw(method, data)
            assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
            assert found.wrong == {"request": "the bytes are not a message of this method"}


async def test_no_bytes_are_an_empty_request(served: Served) -> None:
    """Nothing at all parses, and is refused for what it lacks."""
    for method in (SINGLE, BATCH):
        found = await served.caller.refused_raw(method, b"")
        assert list(found.wrong) == ["feature_service"]


async def test_random_bytes_never_get_further(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """10,000 random strings of bytes: each is refused as INVALID_ARGUMENT, and none is an error of ours."""
    source = random.Random(20)
    requests = [(source.choice((SINGLE, BATCH)), source.randbytes(source.randrange(1, 80))) for _ in range(10_000)]
    with caplog.at_level(logging.WARNING):
        assert (await codes(served, requests)).keys() <= ALLOWED - {grpc.StatusCode.OK}
    assert not caplog.records


async def test_damaged_requests_are_refused_or_answered(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Every prefix of a right request, and thousands with other bytes here and there, are answered or refused."""
    with caplog.at_level(logging.WARNING):
        found = await codes(served, damaged(random.Random(21)))
    assert found.keys() <= ALLOWED
    assert found[grpc.StatusCode.OK] > 20
    assert found[grpc.StatusCode.INVALID_ARGUMENT] > 100
    assert not caplog.records


def damaged(source: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield requests that are nearly right."""
    for method, data in REQUESTS:
        yield from ((method, data[:end]) for end in range(len(data) + 1))
        for _ in range(1_500):
            changed = bytearray(data)
            for _ in range(source.randrange(1, 4)):
                at = source.randrange(len(changed))
                match source.randrange(3):
                    case 0:
                        changed[at] = source.randrange(256)
                    case 1:
                        del changed[at]
                    case _:
                        changed[at:at] = source.randbytes(source.randrange(1, 4))
            yield method, bytes(changed)


async def test_a_request_of_the_other_method_is_refused_or_answered(served: Served) -> None:
    """Bytes of one method sent to the other are handled like any others."""
    found = await codes(served, [(BATCH, SINGLE_REQUEST), (SINGLE, BATCH_REQUEST)])
    assert found.keys() <= ALLOWED


async def test_deep_nesting_is_refused(served: Served) -> None:
    """A message nested a thousand deep is malformed, not a stack that overflows."""
    deep = b""
    for _ in range(1_000):
        deep = b"\x7b" + deep + b"\x7c"  # a group of an unknown field
    found = await served.caller.refused_raw(SINGLE, deep)
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_unknown_fields_are_ignored(served: Served) -> None:
    """A newer client's surplus field does not matter."""
    surplus = b"\xfa\x07\x03abc"  # field 127, three bytes
    assert await outcome(served, SINGLE, SINGLE_REQUEST + surplus) is grpc.StatusCode.OK


async def test_a_compressed_request_is_answered(served: Served) -> None:
    """A call that is compressed with gzip is answered like any other."""
    method: Any = served.caller.channel.unary_unary(SINGLE)  # typed for messages
    answer = await method(SINGLE_REQUEST, compression=grpc.Compression.Gzip, timeout=PATIENCE)
    assert pb.GetFeaturesResponse.FromString(answer).features
