"""Pages: nothing twice, nothing lost, and tokens that go with their request only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import Any, Final

import grpc
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from recsvc.app import running
from recsvc.errors import ConfigError
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend import item_hashes
from recsvc.recommend.item_hashes import Hashes, ItemHashes, hashes
from recsvc.recommend.turns import Turns
from recsvc.secret import Secret
from tests.parts.topologies import Endpoint
from tests.rpc.calling import Caller
from tests.rpc.serving import settings
from tests.rpc.shop import AVAILABLE, IDS, METHOD, SPEC, Shop, any_of, flaws, is_present, names, none_of, who_may_come
from tests.rpc.shop_definitions import PINS

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST: Final[dict[str, Any]] = {
    "user_id": "1",
    "limit": 7,
    "filters": [none_of("goods:category", "film")],
    "exclude_item_ids": ["i20", "i21"],
    "seed_item_ids": ["i22"],
    "randomization_unit": "u",
}
CHANGES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "other user": ({"user_id": "2"}, "OTHER_USER"),
    "no user": ({"user_id": ""}, "OTHER_USER"),
    "other unit": ({"randomization_unit": "v"}, "OTHER_USER"),
    "other value": ({"filters": [none_of("goods:category", "book")]}, "OTHER_FILTERS"),
    "other predicate": ({"filters": [any_of("goods:category", "film")]}, "OTHER_FILTERS"),
    "no filters": ({"filters": []}, "OTHER_FILTERS"),
    "one filter more": ({"filters": [*FIRST["filters"], is_present("goods:price")]}, "OTHER_FILTERS"),
    "other exclusions": ({"exclude_item_ids": ["i20"]}, "OTHER_REQUEST"),
    "other seeds": ({"seed_item_ids": []}, "OTHER_REQUEST"),
}


def flat(pages: list[pb.RecommendResponse]) -> list[str]:
    """Return the ids of all pages in order."""
    return [name for page in pages for name in names(page)]


@examples(max_examples=25)
@given(
    user=st.sampled_from(["", "1", "2", "4", "404"]),
    limit=st.integers(3, 60),
    exclude=st.lists(st.sampled_from(IDS), max_size=20),
    wanted=st.sampled_from([[], [none_of("goods:category", "film")], [is_present("goods:tags")]]),
)
async def test_pages_cover_all_that_passes_and_repeat_nothing(
    shop: Shop, user: str, limit: int, exclude: list[str], wanted: list[pb.Filter]
) -> None:
    """All pages together have each item that may come once; ranks go on; only the last page is short."""
    pages = await shop.pages(user_id=user, limit=limit, exclude_item_ids=exclude, filters=wanted)
    found = flat(pages)
    assert sorted(found) == sorted(who_may_come(user, wanted, exclude))
    assert [item.rank for page in pages for item in page.items] == list(range(1, len(found) + 1))
    assert all(len(page.items) == limit for page in pages[:-1])


async def test_pages_share_their_session(shop: Shop) -> None:
    """Each page has an id of its own, and all have the id of the first as that of the session."""
    pages = await shop.pages(**FIRST)
    assert len({page.recommendation_id for page in pages}) == len(pages) > 2
    assert {page.session_recommendation_id for page in pages} == {pages[0].recommendation_id}


async def test_limit_explain_and_context_may_differ(shop: Shop) -> None:
    """A later page may have another size, be explained, and have another context."""
    first = await shop.slate(**FIRST)
    context = {"hour": pb.Value(int64_value=3)}
    changed = FIRST | {"limit": 3, "explain": pb.EXPLAIN_LEVEL_DIAGNOSTICS, "context": context}
    second = await shop.slate(**changed, page_token=first.next_page_token)
    assert len(second.items) == 3
    assert not {*names(first)} & {*names(second)}
    drops = {d.filter: d.dropped for d in second.diagnostics.drops}
    assert drops["earlier_pages"] == 7


async def test_a_request_that_says_the_same_otherwise_goes_on(shop: Shop) -> None:
    """The order and repeats of exclusions do not matter."""
    first = await shop.slate(**FIRST)
    same = FIRST | {"exclude_item_ids": ["i21", "i20", "i21"]}
    assert len((await shop.slate(**same, page_token=first.next_page_token)).items) == 7


@pytest.mark.parametrize(("change", "why"), CHANGES.values(), ids=list(CHANGES))
async def test_a_token_goes_with_its_request_only(shop: Shop, change: dict[str, Any], why: str) -> None:
    """With another user, other filters or other items a token is refused, and the reason is told."""
    first = await shop.slate(**FIRST)
    refusal = await shop.refused(**(FIRST | change), page_token=first.next_page_token)
    assert (refusal.code.name, refusal.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN")
    assert refusal.metadata["problem"] == why
    assert list(refusal.wrong) == ["page_token"]


async def test_a_token_is_of_one_placement(shop: Shop) -> None:
    """A token of another placement is refused."""
    first = await shop.slate("plain", limit=5)
    refusal = await shop.refused("capped", limit=5, page_token=first.next_page_token)
    assert refusal.metadata["problem"] == "OTHER_PLACEMENT"


async def test_tampered_tokens_are_refused(shop: Shop) -> None:
    """A token with any letter changed, cut, lengthened or made up is refused, and nothing fails in another way."""
    token = (await shop.slate(**FIRST)).next_page_token
    changed = [token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(0, len(token), 7)]
    for wrong in [*changed, token[:-1], token[:-4], token + "A", token + "=", "A", "é", "A" * 30_000, "===="]:
        refusal = await shop.refused(**FIRST, page_token=wrong)
        assert refusal.code.name == "INVALID_ARGUMENT"
        assert refusal.metadata["problem"] in {"TAMPERED", "UNKNOWN_FORMAT"}


async def test_pins_stand_on_the_first_page_only(shop: Shop) -> None:
    """Pinned items come on the first page, where they stand, and not again."""
    pages = await shop.pages("pinned", limit=6)
    assert {i.item_id: i.rank for i in pages[0].items if i.item_id in PINS} == PINS
    assert sorted(flat(pages)) == sorted(AVAILABLE)
    later = await shop.slate("pinned", limit=6, explain=pb.EXPLAIN_LEVEL_REASONS, page_token=pages[0].next_page_token)
    assert pb.REASON_CODE_PINNED not in {r.code for item in later.items for r in item.reasons}
    assert pb.SLATE_RULE_PINS not in later.relaxed


async def test_a_page_that_ends_with_all_has_no_token(shop: Shop) -> None:
    """A page that has the last item that passes has no token; one item before there is one."""
    count = len(AVAILABLE)
    assert not (await shop.slate("plain", limit=count)).next_page_token
    first = await shop.slate("plain", limit=count - 1)
    last = await shop.slate("plain", limit=count - 1, page_token=first.next_page_token)
    assert len(last.items) == 1
    assert not last.next_page_token


async def test_pages_go_on_at_another_replica_with_the_same_key(
    shop: Shop, redis_8: Endpoint, shop_directories: dict[str, object]
) -> None:
    """A token of one server goes on at another that has its key, and is refused by one that has not."""
    chosen = settings(redis_8.url, page_token_key=Secret("k" * 16), **shop_directories)
    async with (
        running(chosen, SPEC) as one,
        running(chosen, SPEC) as other,
        Caller(one.address) as calls_one,
        Caller(other.address) as calls_other,
    ):
        first, second = Shop(one, calls_one, shop.rows), Shop(other, calls_other, shop.rows)
        page = await first.slate(**FIRST)
        found = names(page)
        for asked in [second, first] * 5:
            if not page.next_page_token:
                break
            page = await asked.slate(**FIRST, page_token=page.next_page_token)
            found += names(page)
        assert sorted(found) == sorted(who_may_come("1", FIRST["filters"], FIRST["exclude_item_ids"], ["i22"]))
        token = (await first.slate(**FIRST)).next_page_token
        assert (await shop.refused(**FIRST, page_token=token)).metadata["problem"] == "TAMPERED"


async def test_who_has_no_time_for_hashing_all_ids_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the ids of a large catalogue are looked at, a call with little time ends in it, and the next goes on."""
    token = (await shop.slate(**FIRST)).next_page_token
    catalogue = shop.app._recommending.recommender.snapshot("shop").catalogue
    go_on = threading.Event()

    def slow(ids: Iterable[str]) -> Hashes:
        assert go_on.wait(60)
        return hashes(ids)

    monkeypatch.setattr(catalogue.hashes, "_known", ItemHashes())
    monkeypatch.setattr(item_hashes, "hashes", slow)
    data = pb.RecommendRequest(placement="home", **FIRST, page_token=token).SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError, match="ids of a large catalogue"):
        await shop.caller.raw(METHOD, data, 0.5)
    go_on.set()
    assert len((await shop.slate(**FIRST, page_token=token)).items) == 7


async def test_a_page_that_waits_for_hashes_keeps_nobodys_turn(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the ids of a large catalogue are looked at, other slates of the placement are made, with all sources."""
    token = (await shop.slate(**FIRST)).next_page_token
    recommender = shop.app._recommending.recommender
    begun, go_on = threading.Event(), threading.Event()

    def slow(ids: Iterable[str]) -> Hashes:
        begun.set()
        assert go_on.wait(60)
        return hashes(ids)

    monkeypatch.setattr(recommender.snapshot("shop").catalogue.hashes, "_known", ItemHashes())
    monkeypatch.setattr(item_hashes, "hashes", slow)
    monkeypatch.setitem(recommender._turns, "home", Turns(1.0, at_once=1))
    page = asyncio.create_task(shop.slate(**FIRST, page_token=token))
    try:
        assert await asyncio.to_thread(begun.wait, 60)
        reply = await shop.slate(**FIRST)
    finally:
        go_on.set()
    assert (flaws(reply), flaws(await page)) == (set(), set())


async def test_the_key_can_be_changed_while_people_read_on(shop: Shop, redis_8: Endpoint) -> None:
    """Of several keys the first makes tokens and all are accepted, so each step of a change keeps tokens of before."""
    old, new = "o" * 16, "n" * 16
    pages: list[pb.RecommendResponse] = []
    for keys in (old, f"{old},{new}", f"{new}, {old}", new):
        chosen = settings(redis_8.url, page_token_key=Secret(keys))
        async with running(chosen, SPEC) as app, Caller(app.address) as caller:
            of = Shop(app, caller, shop.rows)
            if pages:
                token = pages[-1].next_page_token
                pages.append(await of.slate("plain", limit=5, page_token=token))
            pages.append(await of.slate("plain", limit=5))
            if keys == new:
                token = pages[0].next_page_token
                refusal = await of.refused("plain", limit=5, page_token=token)
                assert refusal.metadata["problem"] == "TAMPERED"
    assert all(len(page.items) == 5 for page in pages)


@pytest.mark.parametrize("keys", ["k" * 15, f"{'k' * 16},", f"{'k' * 16},{'n' * 15}"])
async def test_each_key_is_long_enough(redis_8: Endpoint, keys: str) -> None:
    """A short key is refused at the start, also beside a good one."""
    with pytest.raises(ConfigError, match="--page-token-key: needs at least one key"):
        async with running(settings(redis_8.url, page_token_key=Secret(keys)), SPEC):
            pass
