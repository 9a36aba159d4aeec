"""What is said of each value, in one row and in columns: the table of status and source, line by line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest
from google.protobuf.duration_pb2 import Duration

from recsvc.pb import serving_pb2 as pb
from recsvc.registry.model import FeatureView
from tests.rpc import definitions
from tests.rpc.calling import Fact, column_facts, column_values, degraded, facts, int64s, strings
from tests.rpc.definitions import JOINED, clicks, film_1, film_2, profile, rated
from tests.rpc.rows import now_micros
from tests.rpc.serving import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

FULL: Final[dict[str, Any]] = {
    "age": 2**62,
    "score": -0.25,
    "ratio": 0.5,
    "active": False,
    "city": "Ürümqi",
    "joined": 1_234_567_890_123_456,
    "taste": [0.5, -1.5, 0.0],
    "recent": [1, -2, 3],
    "tags": ["a", "", "ß"],
}
DEFAULTS: Final[dict[str, Any]] = {
    "age": -1,
    "score": 0.5,
    "ratio": None,
    "active": True,
    "city": "nowhere",
    "joined": round(JOINED.timestamp() * 1e6),
    "taste": [1.0, 2.0, 3.0],
    "recent": [7],
    "tags": ["new", "é"],
}
HOUR: Final = 3_600_000_000


async def ask(served: Served, view: FeatureView, *ids: str) -> dict[str, Fact]:
    """Read all of a view for one row in both ways, find that they agree, and return what is said by feature."""
    keys = [e.join_key for e in view.entities]
    row = await served.caller.one(
        pb.GetFeaturesRequest(entities=dict(zip(keys, ids, strict=True)), features=[view.label])
    )
    columns = {k: strings(text) for k, text in zip(keys, ids, strict=True)}
    batch = await served.caller.many(pb.GetFeaturesBatchRequest(entities=columns, features=[view.label]))
    found = facts(row)
    assert column_facts(batch) == {name: [fact] for name, fact in found.items()}
    assert degraded(batch) == degraded(row)
    return {name.partition(":")[2]: fact for name, fact in found.items()}


async def test_a_stored_value_is_present_from_the_store(served: Served) -> None:
    """Every type comes back as it was written, PRESENT from STORE."""
    served.rows.put(profile, ["1"], FULL)
    assert await ask(served, profile, "1") == {name: (v, "PRESENT", "STORE") for name, v in FULL.items()}


async def test_null_is_data_and_gets_no_default(served: Served) -> None:
    """A null in the row is NULL_VALUE from STORE, without a value, whatever the default is."""
    served.rows.put(profile, ["2"], dict.fromkeys(FULL))
    assert await ask(served, profile, "2") == dict.fromkeys(FULL, (None, "NULL_VALUE", "STORE"))


async def test_empty_is_not_null(served: Served) -> None:
    """Empty strings and lists, zero and false are values."""
    empty = {**FULL, "age": 0, "score": 0.0, "active": False, "city": "", "recent": [], "tags": []}
    served.rows.put(profile, ["3"], empty)
    assert await ask(served, profile, "3") == {name: (v, "PRESENT", "STORE") for name, v in empty.items()}


async def test_an_unknown_entity_is_data(served: Served) -> None:
    """Without a row every feature is NOT_FOUND, with its default, or with nothing where it has none."""
    expected = {n: (v, "NOT_FOUND", "NONE" if v is None else "DEFAULT") for n, v in DEFAULTS.items()}
    assert await ask(served, profile, "404") == expected


async def test_a_deleted_entity_is_not_found(served: Served) -> None:
    """The row that stands for a deletion is no row to a reader."""
    served.rows.put(profile, ["5"], FULL)
    served.rows.bury(profile, ["5"])
    assert {fact[1] for fact in (await ask(served, profile, "5")).values()} == {"NOT_FOUND"}


async def test_a_feature_younger_than_the_row_is_not_found(served: Served) -> None:
    """Of a row whose writer did not know the last features yet these are NOT_FOUND, the others as ever."""
    served.rows.put(profile, ["6"], FULL, written=4)
    found = await ask(served, profile, "6")
    assert {n: found[n] for n in list(FULL)[:4]} == {n: (FULL[n], "PRESENT", "STORE") for n in list(FULL)[:4]}
    assert {n: found[n] for n in list(FULL)[4:]} == {n: (DEFAULTS[n], "NOT_FOUND", "DEFAULT") for n in list(FULL)[4:]}


async def test_a_row_past_its_max_age_is_not_served(served: Served) -> None:
    """Past max age there is the default and OUTSIDE_MAX_AGE, just before it the value; null has an age as well."""
    old, young = now_micros() - 2 * HOUR - 1, now_micros() - 2 * HOUR + 600_000_000
    served.rows.put(clicks, ["7"], {"today": 5, "rate": None}, event_micros=old)
    served.rows.put(clicks, ["8"], {"today": 5, "rate": 1.5}, event_micros=young)
    assert await ask(served, clicks, "7") == {
        "today": (0, "OUTSIDE_MAX_AGE", "DEFAULT"),
        "rate": (None, "OUTSIDE_MAX_AGE", "NONE"),
    }
    assert await ask(served, clicks, "8") == {"today": (5, "PRESENT", "STORE"), "rate": (1.5, "PRESENT", "STORE")}


async def test_a_view_without_freshness_has_no_max_age(served: Served) -> None:
    """Where nothing is promised, nothing is too old."""
    served.rows.put(profile, ["9"], FULL, event_micros=-(2**62))
    assert (await ask(served, profile, "9"))["age"] == (FULL["age"], "PRESENT", "STORE")


async def test_a_value_of_the_request_is_present_from_the_request(served: Served) -> None:
    """What the caller gives can be asked back: PRESENT from REQUEST."""
    request = pb.GetFeaturesRequest(features=["request:offset"], context={"offset": pb.Value(int64_value=-5)})
    assert facts(await served.caller.one(request)) == {"request:offset": (-5, "PRESENT", "REQUEST")}


async def test_a_computed_value_has_the_worst_status_of_its_inputs(served: Served) -> None:
    """PRESENT where all inputs are; else as the worst of them; where one has no value, so has the feature."""
    served.rows.put(profile, ["20"], {**FULL, "age": 40})
    served.rows.put(profile, ["21"], dict.fromkeys(FULL))
    context = {"offset": pb.Value(int64_value=2), "weight": pb.Value(float64_value=0.5)}
    features = ["live:age_plus", "live:ratio_plus", "live:plus_plus"]
    found = {}
    for user in ("20", "21", "22"):
        request = pb.GetFeaturesRequest(entities={"user_id": user}, features=features, context=context)
        found[user] = list(facts(await served.caller.one(request)).values())
    assert found == {
        "20": [(42, "PRESENT", "COMPUTED"), (1.0, "PRESENT", "COMPUTED"), (42.5, "PRESENT", "COMPUTED")],
        "21": [(None, "NULL_VALUE", "COMPUTED")] * 3,
        # -1 stands in for the age and is computed with; the ratio has no default, so there is nothing to compute with.
        "22": [(1, "NOT_FOUND", "COMPUTED"), (None, "NOT_FOUND", "NONE"), (1.5, "NOT_FOUND", "COMPUTED")],
    }


async def test_a_computed_value_takes_its_own_default_where_an_input_has_none(served: Served) -> None:
    """A feature of several views is as bad as the worst of them."""
    served.rows.put(rated, ["30", "x"], {"rating": 4.0})
    request = pb.GetFeaturesRequest(entities={"user_id": "30", "item_id": "x"}, features=["live:pair", "rated"])
    assert facts(await served.caller.one(request)) == {
        "live:pair": (1904.0, "NOT_FOUND", "COMPUTED"),
        "rated:rating": (4.0, "PRESENT", "STORE"),
    }


async def test_pinned_versions_stand_side_by_side(served: Served) -> None:
    """One call reads two versions of a view, each from its own row, and the answer names both."""
    served.rows.put(film_1, ["f"], {"year": 1999, "title": "t"})
    served.rows.put(film_2, ["f"], {"year": 1999.75})
    row = await served.caller.one(pb.GetFeaturesRequest(entities={"item_id": "f"}, feature_service="pinned"))
    assert facts(row) == {
        "film@v1:year": (1999, "PRESENT", "STORE"),
        "film@v2:year": (1999.75, "PRESENT", "STORE"),
    }
    assert [(v.view, v.version) for v in row.views] == [("film", 1), ("film", 2)]


async def test_no_version_means_the_active_one(served: Served) -> None:
    """`film` is `film@v1` while version 1 is active, and is answered under the name that was asked for."""
    served.rows.put(film_1, ["g"], {"year": 2001, "title": None})
    row = await served.caller.one(pb.GetFeaturesRequest(entities={"item_id": "g"}, features=["film", "film@v1:year"]))
    assert facts(row) == {
        "film:year": (2001, "PRESENT", "STORE"),
        "film:title": (None, "NULL_VALUE", "STORE"),
        "film@v1:year": (2001, "PRESENT", "STORE"),
    }
    assert [(v.view, v.version) for v in row.views] == [("film", 1)]


async def test_features_come_in_the_order_asked(served: Served) -> None:
    """Order and repetition are the caller's; a bare view is all of its features in the order defined."""
    asked = ["profile:city", "clicks", "profile:age", "profile:city"]
    row = await served.caller.one(pb.GetFeaturesRequest(entities={"user_id": "1"}, features=asked))
    assert [f.name for f in row.features] == [
        "profile:city",
        "clicks:today",
        "clicks:rate",
        "profile:age",
        "profile:city",
    ]


async def test_a_service_mixes_entities_and_computed_features(served: Served) -> None:
    """One call reads views of the user, of the item and of the pair, and says which definitions answered."""
    request = pb.GetFeaturesRequest(
        entities={"user_id": "1", "item_id": "f"},
        feature_service="ranking",
        context={"offset": pb.Value(int64_value=1)},
    )
    row = await served.caller.one(request)
    names = ["profile:age", "film:year", "film:title", "rated:rating", "live:age_plus"]
    assert [f.name for f in row.features] == names
    assert row.registry_fingerprint == definitions.registry.fingerprint == served.app.registry.fingerprint
    assert [v.view for v in row.views] == ["profile", "film", "rated", "live"]
    assert not row.degraded


async def test_event_times_come_when_asked_for(served: Served) -> None:
    """With include_event_times a known row tells its event time, also one past max age; an unknown one tells none."""
    old = now_micros() - 5 * HOUR
    served.rows.put(clicks, ["40"], {"today": 1, "rate": None}, event_micros=old)
    served.rows.put(profile, ["40"], FULL, event_micros=77)
    asked = ["clicks:today", "profile:age", "film:year"]
    request = pb.GetFeaturesRequest(entities={"user_id": "40", "item_id": "no"}, features=asked)
    assert not any(f.HasField("event_time_micros") for f in (await served.caller.one(request)).features)
    request.include_event_times = True
    row = await served.caller.one(request)
    times = [f.event_time_micros if f.HasField("event_time_micros") else None for f in row.features]
    assert times == [old, 77, None]


async def test_event_times_of_columns_are_per_row(served: Served) -> None:
    """Each view tells the event time of each row: one where its keys are broadcast, -2^63 for unknown rows."""
    served.rows.put(profile, ["41"], FULL, event_micros=41)
    served.rows.put(film_1, ["h"], {"year": 1, "title": None}, event_micros=42)
    entities = {"user_id": int64s(41), "item_id": strings("h", "no", "h")}
    request = pb.GetFeaturesBatchRequest(
        entities=entities, features=["profile:age", "film:year", "live:age_plus"], context={"offset": one_int64(1)}
    )
    assert all(not v.event_time_micros for v in (await served.caller.many(request)).views)
    request.include_event_times = True
    times = {v.view: list(v.event_time_micros) for v in (await served.caller.many(request)).views}
    assert times == {"profile": [41], "film": [42, -(2**63), 42], "live": []}


def one_int64(number: int) -> pb.ColumnValues:
    """Return a column of context with one integer, for all rows."""
    return pb.ColumnValues(int64s=pb.Int64Column(values=[number]))


async def test_broadcast_columns_have_one_value(served: Served) -> None:
    """What depends on broadcast keys alone is sent once; what depends on any other, once per row."""
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": strings("1"), "item_id": strings("a", "b", "c")},
        feature_service="ranking",
        context={"offset": one_int64(1)},
    )
    batch = await served.caller.many(request)
    lengths = {c.name: len(column_values(c.values)) for c in batch.columns}
    expected = {"profile:age": 1, "film:year": 3, "film:title": 3, "rated:rating": 3, "live:age_plus": 1}
    assert (batch.row_count, lengths) == (3, expected)


async def test_context_per_row_makes_its_columns_long(served: Served) -> None:
    """A computed feature has a value per row where its request context has, although its keys are broadcast."""
    context = {"offset": pb.ColumnValues(int64s=pb.Int64Column(values=[10, 20]))}
    served.rows.put(profile, ["42"], {**FULL, "age": 1})
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": int64s(42)}, features=["live:age_plus", "profile:age", "request:offset"], context=context
    )
    batch = await served.caller.many(request)
    values = {c.name: column_values(c.values) for c in batch.columns}
    assert (batch.row_count, values) == (
        2,
        {"live:age_plus": [11, 21], "profile:age": [1], "request:offset": [10, 20]},
    )


async def test_repeated_ids_are_answered_each_time(served: Served) -> None:
    """An id that stands in a column more than once is read once and answered in each of its rows."""
    served.rows.put(rated, ["50", "a"], {"rating": 1.0})
    served.rows.put(rated, ["50", "b"], {"rating": 2.0})
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": int64s(50), "item_id": strings("b", "a", "no", "b", "a", "b")}, features=["rated"]
    )
    before = keys_looked_up(served)
    batch = await served.caller.many(request)
    assert [fact[0] for fact in column_facts(batch)["rated:rating"]] == [2.0, 1.0, 0.0, 2.0, 1.0, 2.0]
    assert keys_looked_up(served) - before == 3


def keys_looked_up(served: Served) -> int:
    """Return how many keys Redis was asked for so far."""
    stats: Any = served.rows.client.info("stats")
    return int(stats["keyspace_hits"] + stats["keyspace_misses"])


async def test_one_call_is_one_command(served: Served) -> None:
    """All views of all rows of a call are one MGET; more than 512 rows are read in several at once."""
    served.rows.client.config_resetstat()
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": int64s(1), "item_id": strings(*(f"i{n}" for n in range(250)))},
        feature_service="ranking",
        context={"offset": one_int64(1)},
    )
    await served.caller.many(request)
    assert mgets(served) == 1
    request.entities["item_id"].strings.values.extend(f"i{n}" for n in range(250, 300))
    await served.caller.many(request)
    assert mgets(served) == 1 + 2


def mgets(served: Served) -> int:
    """Say how many MGETs Redis has had since its statistics were reset."""
    stats: Any = served.rows.client.info("commandstats")
    calls: int = stats["cmdstat_mget"]["calls"]
    return calls


async def test_no_rows_is_an_answer(served: Served) -> None:
    """An empty column beside broadcast ones is 0 rows: typed columns without values, and nothing is read."""
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": strings("1"), "item_id": pb.KeyColumn(strings=pb.StringIds())},
        features=["profile", "film:year", "rated:rating", "live:age_plus", "request:offset"],
        context={"offset": one_int64(1)},
        include_event_times=True,
    )
    before = keys_looked_up(served)
    batch = await served.caller.many(request)
    assert (batch.row_count, keys_looked_up(served)) == (0, before)
    assert not any(v.event_time_micros for v in batch.views)
    assert [len(column_values(c.values)) for c in batch.columns] == [0] * 13
    assert not any(len(c.statuses) or len(c.sources) for c in batch.columns)
    kinds = {c.name: c.values.WhichOneof("kind") for c in batch.columns}
    assert (kinds["profile:taste"], kinds["profile:tags"], kinds["rated:rating"]) == (
        "vectors",
        "string_lists",
        "float64s",
    )


async def test_no_rows_may_come_with_context_that_has_no_kind(served: Served) -> None:
    """In some languages an empty list has no type: with 0 rows that is no mistake."""
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": strings("1"), "item_id": pb.KeyColumn(strings=pb.StringIds())},
        features=["live:age_plus"],
        context={"offset": pb.ColumnValues()},
    )
    batch = await served.caller.many(request)
    assert (batch.row_count, column_values(batch.columns[0].values)) == (0, [])


async def test_columns_keep_their_full_length(served: Served) -> None:
    """A slot without a value holds 0, NaN or empty, and its status says so."""
    served.rows.put(profile, ["60"], FULL)
    served.rows.put(profile, ["61"], dict.fromkeys(FULL))
    batch = await served.caller.many(
        pb.GetFeaturesBatchRequest(entities={"user_id": int64s(61, 60)}, features=["profile"])
    )
    blank = {c.name.partition(":")[2]: column_values(c.values)[0] for c in batch.columns}
    assert {n: repr(v) for n, v in blank.items()} == {
        "age": "0",
        "score": "nan",
        "ratio": "nan",
        "active": "False",
        "city": "''",
        "joined": "0",
        "taste": "[nan, nan, nan]",
        "recent": "[]",
        "tags": "[]",
    }


async def test_statuses_are_short_where_they_are_all_the_same(served: Served) -> None:
    """One status and one source stand for all rows where they agree; else there is a byte for each."""
    served.rows.put(film_1, ["s"], {"year": 1, "title": None})
    for ids, expected in ((("no", "nor", "neither"), 1), (("s", "no", "s"), 3)):
        batch = await served.caller.many(
            pb.GetFeaturesBatchRequest(entities={"item_id": strings(*ids)}, features=["film:year"])
        )
        assert (len(batch.columns[0].statuses), len(batch.columns[0].sources)) == (expected, expected)


async def test_join_keys_that_are_not_needed_are_ignored(served: Served) -> None:
    """A service may drop a view without breaking its callers: what nobody needs may even be wrong."""
    request = pb.GetFeaturesRequest(
        entities={"user_id": "1", "item_id": ""}, features=["profile:age"], context={"flag": pb.Value()}
    )
    assert facts(await served.caller.one(request)) == {"profile:age": (FULL["age"], "PRESENT", "STORE")}
    batch = await served.caller.many(
        pb.GetFeaturesBatchRequest(
            entities={"user_id": strings("1"), "item_id": strings("", "x", "y")},
            features=["profile:age"],
            context={"flag": pb.ColumnValues(), "offset": pb.ColumnValues(strings=pb.StringColumn(values=["x"] * 3))},
        )
    )
    assert (batch.row_count, len(column_values(batch.columns[0].values))) == (3, 1)


@pytest.mark.parametrize("staleness", [timedelta(0), timedelta(microseconds=1), timedelta(days=10_000)])
async def test_max_staleness_may_be_any_that_is_not_negative(served: Served, staleness: timedelta) -> None:
    """Without a cache every answer is fresh enough."""
    duration = Duration()
    duration.FromTimedelta(staleness)
    request = pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile:age"], max_staleness=duration)
    assert facts(await served.caller.one(request))["profile:age"][1:] == ("PRESENT", "STORE")


@pytest.mark.parametrize("text", ["0", "-1", str(2**63 - 1), str(-(2**63))])
async def test_integer_ids_may_be_any_of_64_bits(served: Served, text: str) -> None:
    """As text or as a number, the same id is the same row."""
    served.rows.put(profile, [text], {**FULL, "city": text})
    assert (await ask(served, profile, text))["city"][0] == text
    batch = await served.caller.many(
        pb.GetFeaturesBatchRequest(entities={"user_id": int64s(int(text))}, features=["profile:city"])
    )
    assert column_facts(batch)["profile:city"] == [(text, "PRESENT", "STORE")]


@pytest.mark.parametrize("text", [" ", "a{b}:c%", "\u0000", "日本" * 85, "x" * 512, "~1", "01"])
async def test_text_ids_may_be_any_text(served: Served, text: str) -> None:
    """1 to 512 bytes of whatever UTF-8 are an id of their own."""
    served.rows.put(film_1, [text], {"year": 3, "title": text[:16]})
    assert (await ask(served, film_1, text))["title"] == (text[:16], "PRESENT", "STORE")
