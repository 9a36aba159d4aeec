"""A model that is there, and fails in a call: that costs its order and no slate, and the log says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from recsvc.app import running
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend.ranking.ranker import Ranker
from tests.parts.topologies import Endpoint
from tests.rpc.calling import Caller
from tests.rpc.rows import Rows
from tests.rpc.serving import settings
from tests.rpc.shop import SPEC, Shop, fill, flaws, names, who_may_come


@pytest_asyncio.fixture
async def shop(redis_8: Endpoint, rows: Rows, shop_directories: dict[str, Any]) -> AsyncIterator[Shop]:
    """A server of the shop that has logged nothing yet."""
    fill(rows)
    async with running(settings(redis_8.url, **shop_directories), SPEC) as app, Caller(app.address) as caller:
        yield Shop(app, caller, rows)


@pytest.fixture
def ranker(shop: Shop) -> Ranker:
    """Its model, for a test to break."""
    return shop.app._recommending.recommender.rankers["linear"].inner


@pytest.mark.parametrize(
    ("fault", "why"),
    [("raise", "RuntimeError: out of order"), ("nan", "scores are not finite"), ("shape", "for a matrix of")],
)
async def test_a_failing_ranker_costs_its_order_only(  # noqa: PLR0913, PLR0917  # fixtures
    shop: Shop, ranker: Ranker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str, why: str
) -> None:
    """A ranker that raises, or gives no scores, is told by name; the slate is full and in retrieval order.

    Why is told in the log, once, and to nobody else.
    """

    def rank(matrix: np.ndarray, _names: object) -> np.ndarray:
        if fault == "raise":
            raise RuntimeError("out of order")
        return np.full(len(matrix) + (fault == "shape"), np.nan)

    monkeypatch.setattr(ranker, "rank", rank)
    reply = await shop.slate(user_id="1", limit=500, explain=pb.EXPLAIN_LEVEL_DIAGNOSTICS)
    assert set(names(reply)) == who_may_come("1")
    assert flaws(reply) == {("RANKER_FAILED", "linear")}
    assert (reply.ranked_by, reply.model_version) == (pb.RANKED_BY_RETRIEVAL_ORDER, "linear@7")
    assert not any("rank" in {s.stage for s in item.stage_scores} for item in reply.items)
    assert not any(item.contributions for item in reply.items)
    await shop.slate(user_id="1")
    (line,) = [r.getMessage() for r in caplog.records if "ranker linear failed" in r.getMessage()]
    assert why in line
    assert shop.app._readers.counters.source_failures["linear"] == 2


async def test_an_explanation_that_fails_is_told(
    shop: Shop, ranker: Ranker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A ranker that cannot say what features added still ranks; diagnostics have no contributions, the log why."""

    def contributions(_matrix: object, _names: object) -> None:
        raise RuntimeError("out of words")

    monkeypatch.setattr(ranker, "contributions", contributions)
    reply = await shop.slate(user_id="1", explain=pb.EXPLAIN_LEVEL_DIAGNOSTICS)
    assert (reply.ranked_by, reply.diagnostics.no_contributions) == (pb.RANKED_BY_MODEL, "linear failed to say")
    assert not any(item.contributions for item in reply.items)
    assert "ranker linear failed: RuntimeError: out of words (1 so far)" in caplog.text
