"""What a slate says: order and scores, reasons, diagnostics, features, and who made it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import pytest

from recsvc.pb import serving_pb2 as pb
from tests.rpc.calling import column_values
from tests.rpc.shop import (
    AVAILABLE,
    COUNT,
    GOODS,
    IDS,
    POPULARITY,
    USERS,
    VECTORS,
    WITH_VECTOR,
    Shop,
    any_of,
    flaws,
    model_scores,
    names,
    none_of,
    who_may_come,
)
from tests.rpc.shop_definitions import PINS

pytestmark = pytest.mark.asyncio(loop_scope="module")

REASONS: Final = pb.EXPLAIN_LEVEL_REASONS
DIAGNOSTICS: Final = pb.EXPLAIN_LEVEL_DIAGNOSTICS
SEEDS: Final = ["i22", "i31"]


async def test_the_model_orders_and_scores(shop: Shop) -> None:
    """Items stand by what the linear model gives them; the reply names it and that it ordered them."""
    reply = await shop.slate(user_id="1", limit=15)
    added = model_scores("1")
    assert [item.score for item in reply.items] == pytest.approx([0.25 + sum(added[n].values()) for n in names(reply)])
    assert [item.score for item in reply.items] == sorted((item.score for item in reply.items), reverse=True)
    assert (reply.ranked_by, reply.model_version) == (pb.RANKED_BY_MODEL, "linear@7")
    assert all(item.sources for item in reply.items)


async def test_nearest_items_come_by_their_vectors(shop: Shop) -> None:
    """Without a ranker the order is that of retrieval: here the inner product with the user's embedding."""
    reply = await shop.slate("retrieval", user_id="2", limit=10)
    score = dict(zip(WITH_VECTOR, (VECTORS @ VECTORS[30]).tolist(), strict=True))
    assert names(reply) == sorted(AVAILABLE & set(WITH_VECTOR), key=lambda name: -score[name])[:10]
    assert (reply.ranked_by, reply.model_version) == (pb.RANKED_BY_RETRIEVAL_ORDER, "")
    assert [[(s.source, s.rank) for s in item.sources] for item in reply.items] == [[("near", k)] for k in range(1, 11)]


async def test_nearest_items_come_by_the_mean_of_recent_ones(shop: Shop) -> None:
    """What is near is near the mean of the vectors of the user's recent items; without any, popular items come."""
    reply = await shop.slate("mean", user_id="1", limit=10, explain=REASONS)
    score = dict(zip(WITH_VECTOR, (VECTORS @ VECTORS[[3, 7]].mean(axis=0)).tolist(), strict=True))
    assert names(reply) == sorted(AVAILABLE & set(WITH_VECTOR), key=lambda name: -score[name])[:10]
    assert {r.code for item in reply.items for r in item.reasons} == {pb.REASON_CODE_SIMILAR_TO_TASTE}
    assert not reply.degraded
    for nobody in ("2", "404", ""):
        assert (await shop.slate("mean", user_id=nobody)).ranked_by == pb.RANKED_BY_POPULARITY


async def test_explained_items_have_titles(shop: Shop) -> None:
    """With reasons an item has what people call it; empty where nobody knows, and where no reasons are asked for."""
    for user in ("1", ""):
        explained = await shop.slate("repeating", user_id=user, limit=40, explain=REASONS)
        assert {i.item_id: i.title for i in explained.items} == {n: GOODS[n]["title"] or "" for n in names(explained)}
        assert not explained.columns
    assert not any(item.title for item in (await shop.slate("plain", limit=40)).items)


async def test_boosts_move_items_by_positions(shop: Shop) -> None:
    """Boosts move items up and down from where they were found, add up, and are told; scores stay."""
    found = await shop.slate("retrieval", user_id="2", limit=20)
    boosted = await shop.slate("boosted", user_id="2", limit=20, explain=REASONS)
    up = {n: 5 * (GOODS[n]["category"] == "book") - 3 * (GOODS[n]["fragile"] is True) for n in names(found)}
    wanted = {name: (row - up[name], -up[name], row) for row, name in enumerate(names(found))}
    assert names(boosted) == sorted(names(found), key=wanted.__getitem__) != names(found)
    assert {i.item_id: i.score for i in boosted.items} == {i.item_id: i.score for i in found.items}
    told = {i.item_id for i in boosted.items if pb.REASON_CODE_BOOSTED in {reason.code for reason in i.reasons}}
    assert told == {name for name, by in up.items() if by > 0}
    assert not boosted.relaxed


async def test_without_candidates_popularity_orders(shop: Shop) -> None:
    """A user without an embedding, where all candidates come from it, gets what is popular, and the reply says so."""
    for user in ("", "404", "3"):
        reply = await shop.slate("retrieval", user_id=user, limit=12, explain=REASONS)
        assert names(reply) == sorted(AVAILABLE, key=lambda name: -POPULARITY[name])[:12]
        assert reply.ranked_by == pb.RANKED_BY_POPULARITY
        assert {reason.code for item in reply.items for reason in item.reasons} == {pb.REASON_CODE_FILLED}
        assert not flaws(reply)


async def test_ids_and_times_of_a_reply(shop: Shop) -> None:
    """Each reply has a UUID of version 7 with the time of now, the fingerprint, and the index that was searched."""
    replies = [await shop.slate(user_id="1") for _ in range(3)]
    ids = {UUID(reply.recommendation_id) for reply in replies}
    assert len(ids) == 3
    assert all(found.version == 7 and abs((found.int >> 80) / 1000 - time.time()) < 60 for found in ids)
    assert all(reply.session_recommendation_id == reply.recommendation_id for reply in replies)
    assert {reply.registry_fingerprint for reply in replies} == {shop.app.registry.fingerprint}
    assert dict(replies[0].index_versions) == {"looks": "v1"}
    assert {(v.view, v.version) for v in replies[0].views} == {("goods", 1), ("trend", 1), ("taste", 1), ("met", 1)}
    assert dict((await shop.slate("plain")).index_versions) == {}
    assert dict((await shop.slate("retrieval", user_id="404")).index_versions) == {}
    assert [v.view for v in (await shop.slate("retrieval", user_id="1")).views] == ["taste"]


async def test_reasons_are_left_out_until_asked_for(shop: Shop) -> None:
    """Without a level, and with NONE, items have their sources and no reasons, scores by stage or diagnostics."""
    for level in (pb.EXPLAIN_LEVEL_UNSPECIFIED, pb.EXPLAIN_LEVEL_NONE):
        reply = await shop.slate(user_id="1", explain=level, seed_item_ids=SEEDS)
        assert not any([*item.reasons, *item.stage_scores, *item.contributions] for item in reply.items)
        assert any(item.sources for item in reply.items)
        assert not reply.HasField("diagnostics")


async def test_reasons_say_why_an_item_is_there(shop: Shop) -> None:
    """Each source of an item is a reason, with the seed or recent item that it is like; nothing else is explained."""
    reply = await shop.slate(user_id="1", limit=40, explain=REASONS, seed_item_ids=SEEDS)
    codes = {
        "near": pb.REASON_CODE_SIMILAR_TO_TASTE,
        "seeds": pb.REASON_CODE_SIMILAR_TO_SEED,
        "recent": pb.REASON_CODE_SIMILAR_TO_RECENT,
        "popular": pb.REASON_CODE_POPULAR,
        "newest": pb.REASON_CODE_NEW,
    }
    assert USERS["1"].recent is not None
    like = {pb.REASON_CODE_SIMILAR_TO_SEED: {*SEEDS}, pb.REASON_CODE_SIMILAR_TO_RECENT: {*USERS["1"].recent}}
    for item in reply.items:
        assert {r.code for r in item.reasons} == ({codes[s.source] for s in item.sources} or {pb.REASON_CODE_FILLED})
        assert all(r.item_id in like.get(r.code, {""}) for r in item.reasons)
        assert not [*item.stage_scores, *item.contributions]
    assert {r.code for item in reply.items for r in item.reasons} > set(codes.values())


async def test_a_seed_is_named_by_its_nearest(shop: Shop) -> None:
    """The seed that a reason names is the one whose vector is nearest to the item's."""
    reply = await shop.slate(user_id="2", limit=500, explain=REASONS, seed_item_ids=SEEDS)
    near = dict(zip(WITH_VECTOR, (VECTORS @ VECTORS[[22, 31]].T).tolist(), strict=True))
    named = [(i.item_id, r.item_id) for i in reply.items for r in i.reasons if r.code == pb.REASON_CODE_SIMILAR_TO_SEED]
    assert len(named) == 20
    assert all(SEEDS.index(seed) == near[item].index(max(near[item])) for item, seed in named)


async def test_popular_ones_of_a_category_name_it(shop: Shop) -> None:
    """Popularity by the categories of recent items gives items of those only, each reason with the category."""
    reply = await shop.slate("alike", user_id="4", limit=5, explain=REASONS)
    given = [(item.item_id, r.category) for item in reply.items for r in item.reasons]
    assert len(given) == 5
    assert all(category == GOODS[name]["category"] for name, category in given)
    assert {category for _, category in given} == {"game"}


async def test_popular_ones_of_no_category_name_none(shop: Shop) -> None:
    """To a user without recent items popular items of all categories come, and no category is told."""
    reply = await shop.slate("alike", user_id="2", limit=5, explain=REASONS)
    given = [(r.code, r.category) for item in reply.items for r in item.reasons]
    assert given == [(pb.REASON_CODE_POPULAR, "")] * 5


async def test_new_items_are_young_ones(shop: Shop) -> None:
    """The source of new items gives those created within its days, the youngest first."""
    reply = await shop.slate(user_id="2", limit=48, explain=REASONS)
    new = {s.rank: item.item_id for item in reply.items for s in item.sources if s.source == "newest"}
    assert [new[rank] for rank in sorted(new)] == ["i00", "i01", "i02", "i03", "i04"]


async def test_diagnostics_add_up(shop: Shop) -> None:
    """Drops, in their order, lead from all items to those that passed; candidates are counted by source."""
    filters = [any_of("goods:category", "book", "film", "game"), none_of("goods:stock", 0)]
    fields: dict[str, Any] = {"filters": filters, "exclude_item_ids": ["i21", "i22", "nope"], "seed_item_ids": ["i26"]}
    reply = await shop.slate(user_id="1", limit=500, explain=DIAGNOSTICS, **fields)
    drops = {d.filter: d.dropped for d in reply.diagnostics.drops}
    order = ["available", "filters[0]", "filters[1]", "excluded", "seeds", "seen", "seen_pairs"]
    assert list(drops) == order
    assert drops["available"] == COUNT + 1 - len(AVAILABLE)
    assert (drops["excluded"], drops["seeds"]) == (2, 1)
    assert COUNT + 1 - sum(drops.values()) == reply.diagnostics.passed == len(reply.items)
    assert len(reply.items) == len(who_may_come("1", filters, ["i21", "i22"], ["i26"]))
    counted = {name: sum(s.source == name for i in reply.items for s in i.sources) for name in ("seeds", "near")}
    assert all(reply.diagnostics.candidates[name] >= count > 0 for name, count in counted.items())
    assert set(reply.diagnostics.candidates) == {"near", "seeds", "recent", "popular", "newest"}


async def test_a_placements_filters_are_counted_apart(shop: Shop) -> None:
    """Drops by filters of the placement are named so, before those of the request."""
    reply = await shop.slate("cheap", explain=DIAGNOSTICS, filters=[any_of("goods:category", "book")])
    assert [d.filter for d in reply.diagnostics.drops] == ["available", "placement.filters[0]", "filters[0]"]


async def test_diagnostics_show_scores_by_stage_and_contributions(shop: Shop) -> None:
    """Scores of each source, the merged and the final one stand with an item; what each feature added sums up to it.

    Contributions leave out sensitive features.
    """
    reply = await shop.slate(user_id="1", limit=15, explain=DIAGNOSTICS)
    added = model_scores("1")
    for item in reply.items:
        stages = {s.stage: s.score for s in item.stage_scores}
        assert set(stages) == {"merge", "rank", *(s.source for s in item.sources)}
        assert stages["rank"] == item.score
        shown = {c.feature: c.value for c in item.contributions}
        expected = {name: part for name, part in added[item.item_id].items() if name != "goods:margin"}
        assert shown == pytest.approx(expected)
        assert item.score == pytest.approx(0.25 + sum(added[item.item_id].values()))
    assert reply.diagnostics.no_contributions == ""


async def test_without_a_ranker_there_are_no_contributions(shop: Shop) -> None:
    """A slate in retrieval order has no score of a rank stage and no contributions, and nothing to excuse."""
    reply = await shop.slate("retrieval", user_id="2", explain=DIAGNOSTICS)
    assert all({s.stage for s in item.stage_scores} == {"merge", "near"} for item in reply.items)
    assert not any(item.contributions for item in reply.items)
    assert reply.diagnostics.no_contributions == ""


@pytest.mark.parametrize("limit", [1, 10, 48])
async def test_features_are_those_of_the_rows(shop: Shop, limit: int) -> None:
    """The features of a service, or named ones, are the values of the items' rows, in the order of the slate."""
    asked = [f"goods:{name}" for name in ("price", "category", "tags", "created_at", "fragile")]
    for fields in ({"feature_service": "page"}, {"features": asked}):
        reply = await shop.slate("plain", limit=limit, **fields)
        assert [column.name for column in reply.columns] == asked
        for column in reply.columns:
            expected = [GOODS[name][column.name.partition(":")[2]] for name in names(reply)]
            assert known(column, limit) == expected, column.name
            assert set(column.sources) == {pb.VALUE_SOURCE_STORE}


async def test_features_of_user_and_pair_come_with_the_items(shop: Shop) -> None:
    """For a known user, features of the user are the same for all items, those of pairs the items' own."""
    reply = await shop.slate(user_id="1", limit=500, features=["taste:age", "met:count", "taste:recent"])
    n = len(reply.items)
    columns = {column.name: known(column, n) for column in reply.columns}
    assert columns["taste:age"] == [44] * n
    assert columns["taste:recent"] == [USERS["1"].recent] * n
    assert columns["met:count"] == [1 if name in USERS["1"].pairs else None for name in names(reply)]


@pytest.mark.parametrize("level", pb.ExplainLevel.values())
@pytest.mark.parametrize("placement", ["home", "retrieval", "pinned"])
async def test_an_empty_slate_is_an_answer(shop: Shop, placement: str, level: pb.ExplainLevel.ValueType) -> None:
    """Where nothing passes there are no items, no columns and no token, and nothing is degraded."""
    user, nowhere = "" if placement == "pinned" else "1", [any_of("goods:category", "nowhere")]
    reply = await shop.slate(placement, user_id=user, filters=nowhere, features=["goods:price"], explain=level)
    assert (list(reply.items), list(reply.columns), reply.next_page_token) == ([], [], "")
    assert not flaws(reply)


@pytest.mark.parametrize("level", pb.ExplainLevel.values())
async def test_who_has_seen_all_has_an_empty_slate(shop: Shop, level: pb.ExplainLevel.ValueType) -> None:
    """A user without any candidates, as all that is left is excluded, gets an empty slate at each level."""
    left = sorted(who_may_come("3"))
    reply = await shop.slate(user_id="3", exclude_item_ids=left, features=["goods:price"], explain=level)
    assert (list(reply.items), list(reply.columns), reply.next_page_token) == ([], [], "")
    assert not flaws(reply)


async def test_pins_stand_where_they_should(shop: Shop) -> None:
    """Pinned items stand at their positions, with the reason; one that does not pass is left out, which is told."""
    reply = await shop.slate("pinned", limit=10, explain=REASONS)
    places = {
        item.item_id: item.rank for item in reply.items if pb.REASON_CODE_PINNED in {r.code for r in item.reasons}
    }
    assert places == PINS
    assert not reply.relaxed
    for lost in PINS:
        without = await shop.slate("pinned", limit=10, exclude_item_ids=[lost])
        assert {item.item_id: item.rank for item in without.items if item.item_id in PINS} == {
            name: position for name, position in PINS.items() if name != lost
        }
        assert list(without.relaxed) == [pb.SLATE_RULE_PINS]
    beyond = await shop.slate("pinned", limit=4, exclude_item_ids=["i41"])
    assert not beyond.relaxed
    unknown = await shop.slate("misspinned", limit=10)
    assert [item.item_id for item in unknown.items][2] == "i40"
    assert (len(unknown.items), list(unknown.relaxed)) == (10, [pb.SLATE_RULE_PINS])


async def test_diversity_keeps_slates_full(shop: Shop) -> None:
    """Maximal marginal relevance changes the order, not who may come."""
    reply = await shop.slate("varied", user_id="1", limit=500)
    assert set(names(reply)) == AVAILABLE
    assert not flaws(reply)


async def test_slates_differ_by_chance_and_popular_ones_lead(shop: Shop) -> None:
    """Popular candidates are drawn anew for each call, so slates differ, and each is in the order of popularity."""
    slates = {tuple(names(await shop.slate("plain", limit=10))) for _ in range(10)}
    assert len(slates) > 1
    assert all(list(slate) == sorted(slate, key=lambda name: -POPULARITY[name]) for slate in slates)
    assert all(set(slate) <= set(IDS[:45]) for slate in slates)


def each(codes: Sequence[int], rows: int) -> list[int]:
    """Return a code for each row, also where one stands for all."""
    listed = list(codes)
    return listed * rows if len(listed) == 1 else listed


def known(column: pb.FeatureColumn, rows: int) -> list[object]:
    """Return the values of a column, a value for each row, None where there is none."""
    values = column_values(column.values)
    values = values * rows if len(values) == 1 else values
    codes = zip(each(column.statuses, rows), each(column.sources, rows), strict=True)
    lacking = [st == pb.FEATURE_STATUS_NULL_VALUE or so == pb.VALUE_SOURCE_NONE for st, so in codes]
    return [None if lacks else v for v, lacks in zip(values, lacking, strict=True)]
