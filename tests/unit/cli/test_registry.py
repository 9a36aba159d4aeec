"""`recsvc registry show | check | diff`: what they print, and their status."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from recsvc.cli.main import main

BASE = """
from datetime import UTC, datetime, timedelta
from recsvc import *
user = Entity("user", "user_id", INT64)
item = Entity("item", "item_id", spread=8)
COPIES = {"cache": timedelta(seconds=1), "stale_if_error": timedelta(0), "serve_default": False}
YEAR = Feature("year", INT64, default=1900, description="[red]of release[/red]")
ADDED = Feature("added", TIMESTAMP, default=datetime(2020, 1, 1, tzinfo=UTC))
film = FeatureView("film", [item], [YEAR, ADDED], **COPIES)
FEATURES = [Feature("age", INT64, default=-1, sensitivity=Sensitivity.PERSONAL, owner="people"),
            Feature("tags", STRING_LIST[3, 8]), Feature("mean", FLOAT64, default=float("nan"))]
profile = FeatureView("profile", [user], FEATURES, freshness=timedelta(hours=6), owner="team", source=Source("crm"))
plus = OnDemandFeature("plus", INT64, {"a": "profile:age", "b": "request:now"}, lambda a, b: a + b)
live = OnDemandView("live", [plus])
registry = Registry(views=[profile, film], on_demand=[live], request=[RequestField("now", TIMESTAMP)],
                    services=[FeatureService("ranking", ["profile:age", "film", "live:plus"])])
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A file of definitions."""
    return written(tmp_path, "base.py", BASE)


def written(folder: Path, name: str, text: str) -> Path:
    """Write a file of definitions."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def fingerprint(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the fingerprint of definitions."""
    assert main(["registry", "check", str(file)]) == 0
    found = re.search(r"registry ([0-9a-f]{16})", capsys.readouterr().out)
    assert found
    return found[1]


def test_check_says_that_all_is_right(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Right definitions are one line and status 0."""
    assert main(["registry", "check", str(base)]) == 0
    output = capsys.readouterr()
    assert re.fullmatch(
        rf"{re.escape(str(base))}: right \(2 views, 0 placements, registry [0-9a-f]{{16}}\)\n", output.out
    )
    assert output.err == ""


def test_check_says_all_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong definitions are status 1 and a line for each mistake, on stderr."""
    text = BASE.replace('"profile:age", "film"', '"profile:nope", "nope"').replace('Feature("year"', 'Feature("Year"')
    assert main(["registry", "check", str(written(tmp_path, "wrong.py", text))]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 3


@pytest.mark.parametrize(
    ("spec", "words"),
    [("none.py", "is not a file"), ("no.such.module", "neither a Python file nor"), ("colorsys", "no Registry")],
)
def test_definitions_that_are_not_there_are_one_line(spec: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file, module or Registry that cannot be found is status 1 and one line."""
    assert main(["registry", "check", spec]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error


def test_show_prints_all_that_is_defined(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views with their features, facts and versions, on-demand views, services and the request context."""
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["registry", "show", str(base)]) == 0
    shown = capsys.readouterr().out
    for words in (
        "profile@v1 (active)",
        "film@v1 (active)",
        "live@v1 (active)",
        "on demand",
        "age",
        "STRING_LIST[3, 8]",
        "personal",
        "[red]of release[/red]",
        "2020-01-01 00:00:00+00:00",
        "user (user_id INT64), freshness 6:00:00, max age 12:00:00, ttl 18:00:00, source crm, owner team",
        "max age none, ttl none, source -, cache 0:00:01, stale if error 0:00:00, no defaults",
        "profile:age, film, live:plus",
        "request context: now TIMESTAMP",
    ):
        assert words in shown
    assert f"registry {fingerprint(base, capsys)}" in shown


def test_show_as_json_is_for_programs(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json has the same facts, as JSON that any parser reads: no NaN, no Python objects."""
    assert main(["registry", "show", "--json", str(base)]) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    shown = json.loads(capsys.readouterr().out, parse_constant=refuse)
    views = {view["name"]: view for view in shown["views"]}
    features = {f["name"]: f for view in shown["views"] for f in view["features"]}
    assert shown["active"] == {"profile": 1, "film": 1, "live": 1}
    assert shown["services"] == {"ranking": ["profile:age", "film", "live:plus"]}
    assert shown["request"] == {"now": "TIMESTAMP"}
    assert (views["profile"]["max_age_s"], views["profile"]["join_keys"]) == (43_200.0, ["user_id"])
    assert (views["film"]["ttl_s"], views["film"]["freshness_s"]) == (None, None)
    copies = ("cache_s", "stale_if_error_s", "serve_default")
    assert [views["profile"][name] for name in copies] == [None, None, True]
    assert [views["film"][name] for name in copies] == [1.0, 0.0, False]
    assert features["age"] == {
        "name": "age",
        "type": "INT64",
        "default": -1,
        "description": "",
        "owner": "people",
        "sensitivity": "personal",
    }
    assert (features["added"]["default"], features["mean"]["default"]) == (1_577_836_800_000_000, "nan")
    assert shown["fingerprint"] == fingerprint(base, capsys)


PLACED = BASE.replace(
    "registry = Registry(views=[profile, film]",
    """stats = FeatureView("stats", [item], [Feature("pop", FLOAT64), Feature("open", BOOL)], mirrored=True)
films = Catalogue("films", item, "stats:pop", available="stats:open")
few = Placement("few", "films", [Popular("popular", weight=0.1)])
home = Placement("home", "films", [Popular("popular", weight=0.1), SimilarToSeeds("seeds", "alike")], user=user,
                 filters=[Condition("stats:open", IsTrue()), Condition("stats:pop", Range(max=float("inf")))],
                 service="ranking", ranker="trees", boosts=[Boost(Condition("stats:pop", AnyOf([1.0])), 2)],
                 experiments=[Experiment("color", "salt", [Variant("blue", [(0, 10)])])])
registry = Registry(catalogues=[films], placements=[home, few], views=[profile, film, stats]""",
)


@pytest.fixture
def placed(tmp_path: Path) -> Path:
    """A file of definitions with placements."""
    return written(tmp_path, "placed.py", PLACED)


def test_show_prints_placements(placed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catalogues and placements have a table each, with what makes slates."""
    assert main(["registry", "show", str(placed)]) == 0
    shown = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines()]
    assert ["films", "item", "stats:pop", "stats:pop"] in lines
    assert ["", "", "", "stats:open"] in lines
    popular, seeds = "Popular(name=popular, weight=0.1)", "SimilarToSeeds(name=seeds, index=alike)"
    assert ["home", "films", "user", popular, "stats:open IsTrue()", "trees, with ranking", "color: blue"] in lines
    assert ["", "", "", seeds, "stats:pop Range(max=inf)", "", ""] in lines
    assert ["few", "films", "", popular, "", "by sources", ""] in lines


def test_show_as_json_has_all_of_placements(placed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each field of a catalogue and a placement, with the kinds of its parts; entities by name, times in seconds."""
    assert main(["registry", "show", "--json", str(placed)]) == 0
    shown = json.loads(capsys.readouterr().out)
    (films,) = shown["catalogues"]
    home, few = shown["placements"]
    assert (films["name"], films["item"], films["available"], films["filterable"]) == (
        "films",
        "item",
        "stats:open",
        [],
    )
    assert few["sources"] == [
        {
            "kind": "Popular",
            "name": "popular",
            "pool": 1000,
            "recent": None,
            "weight": 0.1,
            "candidates": 100,
            "quota": 0,
            "timeout_s": 0.05,
        }
    ]
    assert (home["user"], home["ranker"], home["stale_after_s"], home["when_stale"]) == ("user", "trees", 600, "serve")
    assert home["filters"][1] == {
        "kind": "Condition",
        "feature": "stats:pop",
        "predicate": {
            "kind": "Range",
            "min": None,
            "max": "inf",
            "min_exclusive": False,
            "max_exclusive": False,
        },
    }
    assert home["experiments"][0]["variants"] == [
        {"kind": "Variant", "name": "blue", "buckets": [[0, 10]], "placement": None}
    ]


UNAVAILABLE = {', available="stats:open"': "", 'Condition("stats:open", IsTrue()), ': ""}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weight=0.1), Sim": "weight=3.0), Sim"}, "placement 'home': source 'popular': weight 0.1 -> 3.0"),
        ({"[home, few]": "[home]"}, "BREAKING callers: placement 'few': removed"),
        (UNAVAILABLE, "BREAKING callers: catalogue 'films': filters can no longer name ['stats:open']"),
        (
            {'"profile:age", "film",': '"profile:age",'},
            "BREAKING callers: service 'ranking': features removed ['film']",
        ),
        (
            {'("ranking", [': '("renamed", [', 'service="ranking"': 'service="renamed"'},
            "BREAKING callers: service 'ranking': removed",
        ),
        ({"[profile, film, stats]": "[profile, stats]", ' "film",': ""}, "BREAKING callers: view 'film@v1': removed"),
        ({"[YEAR, ADDED]": "[YEAR]"}, "BREAKING callers: view 'film@v1': feature 'added' dropped from the end"),
        ({"[YEAR, ADDED]": "[ADDED]"}, "BREAKING rows: view 'film@v1': feature 'year' removed; "),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_diff_says_what_breaks_whom(
    placed: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], told: str
) -> None:
    """What callers name and what rows are are told apart; either is status 1, and what hurts nobody is not."""
    text = PLACED
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    other = written(placed.parent, "new.py", text)
    assert main(["registry", "diff", str(placed), str(other)]) == (1 if "BREAKING" in told else 0)
    assert any(line.startswith(f"  {told}") for line in capsys.readouterr().out.splitlines())


def test_nothing_changed_is_said(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Definitions against themselves: no changes, status 0."""
    assert main(["registry", "diff", str(base), str(base)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"registry ([0-9a-f]{16}) -> \1", lines[0])
    assert lines[1:] == ["no changes"]


def test_appended_features_do_not_break(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An appended feature is a change that is not breaking: status 0."""
    new = written(tmp_path, "new.py", BASE.replace("FEATURES, freshness", '[*FEATURES, Feature("x", BOOL)], freshness'))
    assert main(["registry", "diff", str(base), str(new)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(" -> ")[0] != lines[0].split(" -> ")[1]
    assert lines[1:] == ["  view 'profile@v1': feature 'x' (BOOL) appended", "1 change, 0 breaking"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('Feature("age", INT64, default=-1', 'Feature("age", FLOAT64, default=-1', "type INT64 -> FLOAT64"),
        ('Feature("year", INT64', 'Feature("released", INT64', "'year' removed"),
        ("spread=8", "spread=9", "spread 8 -> 9"),
        ('Entity("user", "user_id", INT64)', 'Entity("user", "user_id")', "key_type"),
    ],
)
def test_breaking_changes_are_status_1(
    base: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    """What breaks rows or callers is marked, counted, and status 1; as a rollback it breaks as well."""
    assert old in BASE
    other = written(base.parent, "new.py", BASE.replace(old, new))
    assert main(["registry", "diff", str(base), str(other)]) == 1
    shown = capsys.readouterr().out
    breaking = [line for line in shown.splitlines() if line.startswith("  BREAKING ")]
    assert any(words in line for line in breaking)
    assert shown.splitlines()[-1].endswith(f"{len(breaking)} breaking")
    assert main(["registry", "diff", str(other), str(base)]) == 1
