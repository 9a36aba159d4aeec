"""`recsvc recommend`: how its words are read, and how a slate is shown; calls go to a server of canned answers."""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from recsvc.cli.main import main
from recsvc.cli.recommend import document, filters, placement_and_user, typed
from recsvc.cli.slate_view import WORDS, print_slate, reason_text, score_texts
from recsvc.client import Reason, ReasonCode, any_of
from recsvc.client.slates import read_slate
from recsvc.errors import ConfigError
from recsvc.pb import packed, serving_pb2
from tests.rpc.canned import CannedServer, running

ITEMS: list[dict[str, Any]] = [
    {
        "item_id": "50",
        "rank": 11,
        "score": 1 / 3,
        "sources": [{"source": "near", "rank": 3}, {"source": "pop", "rank": 1}],
        "reasons": [{"code": 3, "item_id": "7"}, {"code": 4, "category": "War"}],
    },
    {"item_id": "[red]51", "rank": 12, "score": math.nan, "reasons": [{"code": 7}]},
]
COLUMNS: list[dict[str, Any]] = [
    {
        "name": "film:title",
        "values": {"strings": {"values": ["Star [Wars]", ""]}},
        "statuses": bytes([1, 3]),
        "sources": bytes([1, 7]),
    },
    {
        "name": "film:genres",
        "values": {"string_lists": {"values": ["War", "[x]"], "lengths": np.array([2, 0], "<u4").tobytes()}},
        "statuses": bytes([1]),
        "sources": bytes([1]),
    },
    {
        "name": "taste:mean",
        "values": {"float64s": {"values": np.array([math.inf]).tobytes()}},
        "statuses": bytes([1]),
        "sources": bytes([1]),
    },
]
DIAGNOSTICS = {
    "drops": [{"filter": "available", "dropped": 0}, {"filter": "filters[0]", "dropped": 1_200}],
    "passed": 3_400,
    "candidates": {"pop": 100, "near": 150},
    "no_contributions": "has none",
}


def reply(**changes: Any) -> Any:  # noqa: ANN401  # the twin of a reply
    """Return the reply of a server, with changes."""
    usual: dict[str, Any] = {
        "recommendation_id": "id-2",
        "session_recommendation_id": "id-1",
        "items": ITEMS,
        "columns": COLUMNS,
        "assignments": [{"experiment": "ranker", "variant": "trees", "source": 1}],
        "model_version": "linear@3",
        "ranked_by": 1,
        "registry_fingerprint": "f00d",
        "index_versions": {"films": "v7", "a": "v1"},
        "degraded": [{"reason": 8, "source": "near"}, {"reason": 6, "view": "film@v1"}],
        "relaxed": bytes([2]),
        "next_page_token": "token",
    }
    return packed.RecommendResponse(**(usual | changes))


def printed(names: Mapping[str, str] | None = None, **changes: Any) -> list[str]:  # noqa: ANN401  # any field of the reply
    """Return the lines that a slate is printed as."""
    file = io.StringIO()
    print_slate(Console(file=file, width=120), read_slate(reply(**changes)), names or {})
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_filters_of_one_feature_are_alternatives() -> None:
    """Values keep the type that their text looks like; features keep the order in which they came."""
    given = [
        "film:genres=War",
        "film:year=1995",
        "film:genres=Sci=Fi",
        'film:title="12"',
        "film:out=2026-01-01",
        "a:b=",
    ]
    assert filters(given) == [
        any_of("film:genres", ["War", "Sci=Fi"]),
        any_of("film:year", [1995]),
        any_of("film:title", ["12"]),
        any_of("film:out", [datetime(2026, 1, 1, tzinfo=UTC)]),
        any_of("a:b", [""]),
    ]
    assert filters([]) == []


@pytest.mark.parametrize("text", ["film:genres", "=War", ""])
def test_what_is_no_filter_is_told(text: str) -> None:
    """A filter has a feature and a value."""
    with pytest.raises(ConfigError, match=f"--filter '{text}' is not VIEW:FEATURE=VALUE"):
        filters([text])


def test_every_reason_has_words() -> None:
    """A reason that the contract gets is one that people can read; one of a newer server is told as such."""
    assert WORDS.keys() == {code.name for code in ReasonCode if code}
    assert reason_text(Reason(ReasonCode.SIMILAR_TO_SEED, "50", "")) == "like seed 50"
    assert reason_text(Reason(ReasonCode.POPULAR, "", "War")) == "popular War"
    assert reason_text(Reason(ReasonCode.UNSPECIFIED, "", "")) == "unspecified"


def test_a_slate_is_a_table() -> None:
    """Rank, item, score, features and reasons of each item; below it how the slate was made and what did not work."""
    assert printed() == [
        "rank item score film:title film:genres taste:mean because of",
        "11 50 0.3333 Star [Wars] [War, [x]] inf like 7, popular War",
        "12 [red]51 - - [] inf fills the slate",
        "registry f00d · ordered by linear@3, index a v1, index films v7",
        "experiment ranker: trees (HASHED)",
        "relaxed: CAPS",
        "degraded: SOURCE_TIMED_OUT near",
        "degraded: METADATA_STALE film@v1",
    ]


def test_without_reasons_a_table_has_sources() -> None:
    """Where no reasons were asked for, it is said where each item came from."""
    items = [{**item, "reasons": []} for item in ITEMS]
    lines = printed(items=items, columns=[], ranked_by=2)
    assert lines[:4] == [
        "rank item score from",
        "11 50 0.3333 near, pop",
        "12 [red]51 -",
        "registry f00d · ordered by RETRIEVAL_ORDER, index a v1, index films v7",
    ]


def test_diagnostics_are_a_line() -> None:
    """How many passed, what left how many of the rest out, and what each source found; nothing where not asked for."""
    line = "3,400 items passed: filters[0] left out 1,200 of 4,600; found: near 150, pop 100"
    assert line in printed(diagnostics=DIAGNOSTICS)
    assert "1 item passed: nothing was left out" in printed(diagnostics={"passed": 1})
    assert not [line for line in printed() if "passed" in line]


def test_diagnostics_have_the_words_of_the_user() -> None:
    """What left items out is called as it was typed, each filter of several features too."""
    names = typed(["film:year=1995", "film:genres=Sci Fi", "film:year=1996"], ["Comdy", "War"])
    assert names == {
        "filters[0]": "--filter film:year=1995 --filter film:year=1996",
        "filters[1]": "--filter 'film:genres=Sci Fi'",
        "filters[2]": "--category Comdy --category War",
        "excluded": "--exclude",
        "seeds": "--seed",
    }
    left_out = [{"filter": name, "dropped": n} for name, n in (("filters[0]", 50), ("seen", 2), ("excluded", 0))]
    lines = printed(typed([], ["Comdy"]), diagnostics={"drops": left_out, "passed": 8})
    assert "8 items passed: --category Comdy left out 50 of 60, seen left out 2 of 10" in lines


def test_items_are_shown_by_their_titles() -> None:
    """Where the reply has titles they are a column, as they are."""
    items = [{**ITEMS[0], "title": "Star [Wars]"}, {**ITEMS[1], "title": ""}]
    lines = printed(items=items, columns=[])
    assert lines[0] == "rank item score title because of"
    assert lines[1] == "11 50 0.3333 Star [Wars] like 7, popular War"


def test_placement_and_user_come_in_any_order() -> None:
    """Both can be left out: the placement is `home` then, and the user anonymous."""
    assert placement_and_user([]) == ("home", None)
    assert placement_and_user(["page"]) == ("page", None)
    assert placement_and_user(["user_id=196"]) == ("home", "196")
    assert placement_and_user(["user_id=a=b", "page"]) == placement_and_user(["page", "user_id=a=b"]) == ("page", "a=b")
    assert placement_and_user(["radio", "member_id=1"]) == ("radio", "1")


@pytest.mark.parametrize(
    ("scores", "texts"),
    [
        ([0.0194, 0.01875, 0.0188], ["0.01940", "0.01875", "0.01880"]),
        ([12.345, -3.0, math.nan], ["12.35", "-3.00", "-"]),
        ([123456.7, 1.0], ["123457", "1"]),
        ([1e-9, 5e-10], ["1.000e-09", "5.000e-10"]),
        ([1e30, math.inf], ["1.000e+30", "inf"]),
        ([0.0, 0.0], ["0.000", "0.000"]),
        ([math.nan], ["-"]),
        ([], []),
    ],
)
def test_scores_have_the_same_decimals(scores: list[float], texts: list[str]) -> None:
    """The largest score has four digits at least, and the others as many decimals, so that they stand in line."""
    assert score_texts(scores) == texts


def test_an_order_that_is_not_that_of_the_scores_is_told() -> None:
    """Scores are from before diversity and rules: where these changed the order, it is said."""
    items = [{"item_id": str(n), "rank": n, "score": score} for n, score in enumerate([0.5, math.nan, 0.3, 0.4], 1)]
    moved = "ordered by linear@3 (score), then by diversity and rules, index a v1"
    assert moved in printed(items=items, columns=[])[5]
    assert "then by" not in printed(items=items[:3], columns=[])[4]


def test_a_slate_without_items_is_printed() -> None:
    """Nothing that passes is an answer, also where features were asked for: what it is not ordered by is not said."""
    columns = [{"name": "film:title", "values": {"strings": {"values": []}}}, COLUMNS[2]]
    empty: dict[str, Any] = {"items": [], "columns": columns, "ranked_by": 3, "model_version": "", "index_versions": {}}
    assert printed(**empty)[0] == "registry f00d"
    assert "no item passes; --explain says what left them out" in printed(**empty)
    diagnostics = {"drops": [{"filter": "filters[0]", "dropped": 60}], "passed": 0, "candidates": {"pop": 0}}
    assert "no item passes: --category Comdy left out 60 of 60" in printed(
        typed([], ["Comdy"]), **empty, diagnostics=diagnostics
    )
    assert "no item passes: the catalogue has none" in printed(**empty, diagnostics={"passed": 0})
    found = document(read_slate(reply(items=[], columns=columns)))
    assert found["items"] == []


def test_a_slate_is_a_document() -> None:
    """--json has every fact as any parser reads it: nothing cut or rounded, and what is no number of JSON as text."""
    found = document(read_slate(reply()))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == {
        "recommendation_id": "id-2",
        "session_recommendation_id": "id-1",
        "items": [
            {
                "item_id": "50",
                "title": "",
                "rank": 11,
                "score": 1 / 3,
                "sources": {"near": 3, "pop": 1},
                "reasons": [
                    {"code": "SIMILAR_TO_RECENT", "item_id": "7", "category": ""},
                    {"code": "POPULAR", "item_id": "", "category": "War"},
                ],
                "features": {"film:title": "Star [Wars]", "film:genres": ["War", "[x]"], "taste:mean": "inf"},
            },
            {
                "item_id": "[red]51",
                "title": "",
                "rank": 12,
                "score": None,
                "sources": {},
                "reasons": [{"code": "FILLED", "item_id": "", "category": ""}],
                "features": {"film:title": None, "film:genres": [], "taste:mean": "inf"},
            },
        ],
        "assignments": [{"experiment": "ranker", "variant": "trees", "source": "HASHED"}],
        "ranked_by": "MODEL",
        "model_version": "linear@3",
        "index_versions": {"films": "v7", "a": "v1"},
        "degraded": [
            {"reason": "SOURCE_TIMED_OUT", "view": "", "source": "near"},
            {"reason": "METADATA_STALE", "view": "film@v1", "source": ""},
        ],
        "relaxed": ["CAPS"],
        "registry_fingerprint": "f00d",
        "next_page_token": "token",
    }


def test_diagnostics_are_in_the_document() -> None:
    """What was dropped and found, and the scores and contributions of each item, in the order of the items."""
    scores = {
        "stage_scores": [{"stage": "near", "score": 0.5}],
        "contributions": [{"feature": "film:year", "value": -math.inf}],
    }
    found = document(read_slate(reply(items=[{**ITEMS[0], **scores}, ITEMS[1]], diagnostics=DIAGNOSTICS)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["diagnostics"] == {
        "drops": [{"filter": "available", "dropped": 0}, {"filter": "filters[0]", "dropped": 1_200}],
        "passed": 3_400,
        "candidates": {"near": 150, "pop": 100},
        "no_contributions": "has none",
        "stage_scores": [{"near": 0.5}, {}],
        "contributions": [{"film:year": "-inf"}, {}],
    }


def test_help_tells_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` has an example, and says what each flag takes."""
    with pytest.raises(SystemExit) as caught:
        main(["recommend", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    flags = ["--limit", "--filter", "--category", "--exclude", "--seed", "--feature", "--explain", "--page-token"]
    for flag in [*flags, "--context", "--server", "--timeout", "--json"]:
        assert f"\n  {flag} " in shown
    assert "example: recsvc recommend home user_id=196" in shown


async def test_what_is_asked_for_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """Each flag becomes its field of the request, and the answer is printed."""
    words = ["home", "user_id=196", "--category", "Comedy", "--limit", "5", "--filter", "film:genres=War"]
    words += ["--exclude", "1", "--exclude", "2", "--seed", "3", "--feature", "film:title", "--explain"]
    words += ["--context", "hour=7", "--page-token", "page"]
    async with running(CannedServer([reply().SerializeToString()])) as server:
        status = await asyncio.to_thread(main, ["recommend", *words, "--server", server.address, "--timeout", "20"])
    assert status == 0
    assert server.requests == [
        serving_pb2.RecommendRequest(
            placement="home",
            user_id="196",
            limit=5,
            context={"hour": serving_pb2.Value(int64_value=7)},
            filters=[any_of("film:genres", ["War"]).message(), any_of("category", ["Comedy"]).message()],
            exclude_item_ids=["1", "2"],
            seed_item_ids=["3"],
            features=["film:title"],
            explain=serving_pb2.EXPLAIN_LEVEL_DIAGNOSTICS,
            page_token="page",
        )
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("rank ")
    assert lines[-1] == "next page: --page-token token"


async def test_the_last_page_names_no_next_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a token in the reply nothing is said of a next page."""
    async with running(CannedServer([reply(next_page_token="").SerializeToString()])) as server:
        words = ["recommend", "home", "--server", server.address, "--timeout", "20"]
        assert await asyncio.to_thread(main, words) == 0
    assert "next page" not in capsys.readouterr().out


async def test_json_is_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints the document and nothing else; without flags nothing special is asked for."""
    async with running(CannedServer([reply().SerializeToString()])) as server:
        words = ["recommend", "home", "--json", "--server", server.address, "--timeout", "20"]
        assert await asyncio.to_thread(main, words) == 0
    right = serving_pb2.RecommendRequest(placement="home", explain=serving_pb2.EXPLAIN_LEVEL_NONE)
    assert server.requests == [right]
    assert json.loads(capsys.readouterr().out) == document(read_slate(reply()))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--filter", "film:genres"], "--filter 'film:genres' is not VIEW:FEATURE=VALUE"),
        (["page"], "'home page': at most one placement, and one KEY=ID of the user"),
        (["=1"], "'=1' is not KEY=ID, such as user_id=196"),
        (["user_id="], "'user_id=' is not KEY=ID, such as user_id=196"),
        (["--page-token", ""], "--page-token is empty: there is no next page; without the flag the first one comes"),
        (["--context", "hour"], "--context 'hour' is not NAME=VALUE"),
        (["--limit", "-1"], "limit: -1 is no number of items; give 1 or more, or 0 for as many as the placement says"),
    ],
)
def test_what_cannot_be_asked_is_a_line(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake in the words is told without a call."""
    assert main(["recommend", "home", *words, "--server", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == f"recsvc: {problem}\n"
