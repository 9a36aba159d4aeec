"""Settings: one table of them, flag before environment before file before default, and a line for what is wrong."""

from __future__ import annotations

import argparse
import ast
import inspect
from dataclasses import Field
from pathlib import Path
from typing import Any

import pytest

from recsvc import config
from recsvc.app import chain_settings
from recsvc.cli.serve import add_settings
from recsvc.config import SETTINGS, Settings, check, flag, load, markdown_table, misspelt, variable
from recsvc.errors import ConfigError
from recsvc.online.breaker import BreakerSettings, Mode
from recsvc.online.chain import ChainSettings
from recsvc.online.coalesce import CoalesceSettings

ROOT = Path(__file__).resolve().parents[2]
OTHER: dict[str, Any] = {
    "listen": ["127.0.0.1:1", "[::1]:2", "localhost:3"],
    "redis": ["redis://a", "redis://b", "redis://c"],
    "redis_at_start": ["optional", "required", "optional"],
    "breaker": ["open", "closed", "auto"],
    "log_level": ["debug", "warning", "error"],
    "index_dir": ["a", "b", "c"],
    "model_dir": ["a", "b", "c"],
    "impressions_dir": ["a", "b", "c"],
    "page_token_key": ["a" * 16, "b" * 16, "c" * 16],
    "id_hash_key": ["a" * 16, "b" * 16, "c" * 16],
    "metrics": ["off", "on", "off"],
    "metrics_listen": ["127.0.0.1:1", "[::1]:2", "localhost:3"],
    "trace_baggage": ["a", "a,b", "c"],
    "log_format": ["json", "text", "auto"],
    "experiment_overrides": ["allowed", "refused", "allowed"],
}
"""Three right values of each text; numbers are all the same."""


def values(setting: Field[Any]) -> list[Any]:
    """Return three right values of a setting."""
    kind: type[Any] = type(setting.default)
    most = setting.metadata["maximum"] or 4_000
    return OTHER.get(setting.name) or [kind(most * share) for share in (1.0, 0.75, 0.5)]


def wrong(flags: dict[str, object], environment: dict[str, str] | None = None, file: Path | None = None) -> str:
    """Return the one line that says what is wrong with settings."""
    with pytest.raises(ConfigError) as caught:
        load(flags, environment=environment or {}, file=file)
    text = str(caught.value)
    assert "\n" not in text
    return text


def toml(folder: Path, text: str) -> Path:
    """Write a file of settings."""
    file = folder / "recsvc.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_nothing_given_is_the_defaults() -> None:
    """Without flag, environment and file every setting has its default, the one of the class."""
    assert load({}, environment={}) == Settings()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_flag_wins_over_environment_over_file(setting: Field[Any], tmp_path: Path) -> None:
    """For every setting each source is read, and the stronger one wins."""
    first, second, third = values(setting)
    file = toml(tmp_path, f'{setting.name} = "{third}"' if isinstance(third, str) else f"{setting.name} = {third}")
    environment = {variable(setting): str(second)}
    assert getattr(load({}, environment={}, file=file), setting.name) == third
    assert getattr(load({}, environment=environment, file=file), setting.name) == second
    assert getattr(load({setting.name: str(first)}, environment=environment, file=file), setting.name) == first
    assert getattr(load({setting.name: None}, environment=environment, file=file), setting.name) == second


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_settings_have_the_type_of_their_default(setting: Field[Any]) -> None:
    """What is read from text is a number where the default is one."""
    found = getattr(load({}, environment={variable(setting): str(values(setting)[0])}), setting.name)
    assert type(found) is type(setting.default)


FREE_TEXT = {"redis", "index_dir", "model_dir", "impressions_dir", "page_token_key", "id_hash_key", "trace_baggage"}
"""What is right for these is for others to say, such as redis_url."""
NOT_FREE_TEXT = [s for s in SETTINGS if s.name not in FREE_TEXT]


@pytest.mark.parametrize("setting", NOT_FREE_TEXT, ids=lambda s: s.name)
def test_a_wrong_value_is_told_with_setting_and_source(setting: Field[Any], tmp_path: Path) -> None:
    """A wrong value is one line that begins with where it stands, wherever it stands, and has the value."""
    text = toml(tmp_path, f'{setting.name} = "bad value"')
    assert wrong({setting.name: "bad value"}).startswith(f"{flag(setting)}: 'bad value' ")
    assert wrong({}, {variable(setting): "bad value"}).startswith(f"{variable(setting)}: 'bad value' ")
    assert wrong({}, None, text).startswith(f"{setting.name} in {text}: 'bad value' ")


NUMBERS = [s for s in SETTINGS if not isinstance(s.default, str)]


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda s: s.name)
@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-inf", "1e999", "0x10", "-1", "9" * 400, "1e300", "true"])
def test_what_is_no_number_in_range_is_told(setting: Field[Any], text: str) -> None:
    """No number goes on that is not finite, below its minimum or beyond 32 bits."""
    assert wrong({setting.name: text}).startswith(f"{flag(setting)}: {text!r} ")


@pytest.mark.parametrize("setting", [s for s in NUMBERS if s.metadata["maximum"]], ids=lambda s: s.name)
def test_maximums_hold(setting: Field[Any]) -> None:
    """The maximum itself is right, one more is told with the maximum."""
    maximum = setting.metadata["maximum"]
    assert getattr(load({setting.name: str(maximum)}, environment={}), setting.name) == maximum
    assert wrong({setting.name: str(maximum + 1)}).endswith(f"must be at most {maximum}")


@pytest.mark.parametrize("setting", [s for s in NUMBERS if s.metadata["minimum"]], ids=lambda s: s.name)
def test_minimums_hold(setting: Field[Any]) -> None:
    """The minimum itself is right, one less is told with the minimum."""
    minimum = setting.metadata["minimum"]
    assert getattr(load({setting.name: str(minimum)}, environment={}), setting.name) == minimum
    assert wrong({setting.name: str(minimum - 1)}).endswith(f"must be at least {minimum}")


@pytest.mark.parametrize(
    "text", ["", "50051", ":50051", "host", "host:", "host:port", "host:65536", "::1:50051", "a b:1", "host:1:2"]
)
def test_what_is_no_address_is_told(text: str) -> None:
    """A host is needed, for without one gRPC would serve everybody; so is a port of 16 bits."""
    assert wrong({"listen": text}) == f"--listen: {text!r} is not HOST:PORT, such as 127.0.0.1:50051"


@pytest.mark.parametrize("line", ["redis = 5", 'redis = ["redis://:secret@h"]', "redis = true"])
def test_what_is_no_text_is_told_without_its_value(line: str, tmp_path: Path) -> None:
    """Where a text should stand the value is not repeated: it may hold a password."""
    file = toml(tmp_path, line)
    assert wrong({}, None, file) == f"redis in {file}: is not a text"


@pytest.mark.parametrize("line", ["max_rows = 2.5", "max_rows = true", "max_rows = [1]", "refuse_s = {a = 1}"])
def test_what_is_no_number_in_a_file_is_told(line: str, tmp_path: Path) -> None:
    """TOML's other types are no numbers."""
    assert "number" in wrong({}, None, toml(tmp_path, line))


def test_unknown_settings_in_a_file_are_told(tmp_path: Path) -> None:
    """Every key that is no setting is named, with the setting that it looks like; a table is told as such."""
    file = toml(tmp_path, "max_row = 1\nlisten = 'h:1'\ncolour = 2\n[server]\ncache_s = 3")
    assert wrong({}, None, file).split("; ") == [
        f"--config {file}: colour is no setting, `recsvc serve --help` names all",
        f"--config {file}: max_row is no setting, is max_rows meant?",
        f"--config {file}: [server] is a table, and settings stand in none: they come first in the file",
    ]


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda s: s.name)
def test_a_number_in_quotes_is_no_number_in_a_file(setting: Field[Any], tmp_path: Path) -> None:
    """TOML has types: a text is no number there, while flags and variables are texts."""
    file = toml(tmp_path, f'{setting.name} = "{setting.default}"')
    kind = "a whole number" if isinstance(setting.default, int) else "a number"
    quoted = f"{setting.name} in {file}: '{setting.default}' is a text, not {kind}: write it without quotes"
    assert wrong({}, None, file) == quoted


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Wrong flags, variables and keys of the file are in one line, each with its place."""
    file = toml(tmp_path, "cache_ss = 3\nmax_rows = 0")
    assert wrong({"redis_connections": "x"}, {"RECSVC_CACHE_S": "y"}, file).split("; ") == [
        f"--config {file}: cache_ss is no setting, is cache_s meant?",
        "--redis-connections: 'x' is not a whole number",
        "RECSVC_CACHE_S: 'y' is not a number",
        f"max_rows in {file}: 0 must be at least 1",
    ]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A file that is not there, no TOML or no UTF-8 is one line with its name."""
    assert wrong({}, None, tmp_path / "none.toml") == (
        f"--config {tmp_path / 'none.toml'}: cannot be read (No such file or directory)"
    )
    assert "is not TOML" in wrong({}, None, toml(tmp_path, "listen ="))
    file = toml(tmp_path, "")
    file.write_bytes(b"\xff")
    assert "is not TOML" in wrong({}, None, file)


def test_the_read_path_has_the_defaults_of_the_settings() -> None:
    """What the library does by itself is what the server does by itself."""
    assert chain_settings(Settings()) == ChainSettings()


def test_the_read_path_is_as_set() -> None:
    """Each setting of the read path arrives where it is used, in seconds and bytes."""
    flags = {
        "cache_entries": 7,
        "cache_mb": 2,
        "fetch_slots": 3,
        "fetch_gather_ms": 2.5,
        "fetch_keys": 11,
        "redis_timeout_ms": 70,
        "redis_connections": 9,
        "max_waiting_keys": 13,
        "max_waiting_mb": 4,
        "max_waiting_calls": 17,
        "breaker": "closed",
        "breaker_window_ms": 2_000,
        "breaker_min_calls": 6,
        "breaker_failure_share": 0.25,
        "breaker_slow_ms": 30,
        "breaker_slow_share": 0.75,
        "breaker_open_ms": 600,
        "breaker_probes": 4,
    }
    assert chain_settings(load(flags, environment={})) == ChainSettings(
        cache_entries=7,
        cache_bytes=2_000_000,
        coalesce=CoalesceSettings(
            slots=3,
            fetches=9,
            gather_s=0.0025,
            keys_per_fetch=11,
            timeout_s=0.07,
            waiting_keys=13,
            waiting_bytes=4_000_000,
            waiting_calls=17,
        ),
        breaker=BreakerSettings(
            mode=Mode.CLOSED,
            window_s=2.0,
            min_calls=6,
            failure_share=0.25,
            slow_s=0.03,
            slow_share=0.75,
            open_s=0.6,
            probes=4,
        ),
    )


def test_there_are_no_more_slots_than_connections() -> None:
    """A server with few connections has as many slots."""
    coalesce = chain_settings(load({"redis_connections": 2}, environment={})).coalesce
    assert (coalesce.slots, coalesce.fetches) == (2, 2)


def test_settings_that_do_not_go_together_are_told() -> None:
    """A call may not need more rows than may wait for the store: it would never be read."""
    assert check(Settings()) == Settings()
    with pytest.raises(ConfigError, match="--max-store-keys 101 is more than --max-waiting-keys 100: "):
        check(Settings(max_store_keys=101, max_waiting_keys=100))
    check(Settings(max_store_keys=100, max_waiting_keys=100))


def test_other_variables_are_not_settings() -> None:
    """Variables of other programs, and ours that are none of the server's, are left alone."""
    assert load({}, environment={"RECSVC_SERVER": "x", "LISTEN": "y"}) == Settings()


def test_a_variable_that_looks_like_a_setting_is_told_with_it() -> None:
    """A slip is found; what is right, what other commands read and what Kubernetes sets for a service is none."""
    others = {"SERVER", "JAEGER", "METRICS_PAGE", "SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_50051_TCP_PROTO"}
    right = {variable(setting) for setting in SETTINGS}
    assert misspelt(dict.fromkeys({f"RECSVC_{name}" for name in others} | right | {"LISTE"}, "x")) == {}
    slips = {"RECSVC_CACHES_S": "1", "RECSVC_REDIS_TIMOUT_MS": "2", "RECSVC_LISTE": "3"}
    meant = {"RECSVC_CACHES_S": "RECSVC_CACHE_S", "RECSVC_REDIS_TIMOUT_MS": "RECSVC_REDIS_TIMEOUT_MS"}
    assert misspelt(slips) == {**meant, "RECSVC_LISTE": "RECSVC_LISTEN"}


def test_readme_has_the_table() -> None:
    """The README's table of settings is the one that the code gives."""
    assert markdown_table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_has_every_setting() -> None:
    """Each setting has a row with flag, variable, default and meaning, and no cell breaks the table."""
    lines = markdown_table().splitlines()
    assert len(lines) == 2 + len(SETTINGS)
    for setting, line in zip(SETTINGS, lines[2:], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:3] == [f"`{flag(setting)}`", f"`{variable(setting)}`", f"`{setting.default}`"]
        assert cells[3:] != [""]
        assert len(cells) == 4


def test_flags_have_no_defaults_of_their_own() -> None:
    """The command line gives every setting a flag, and leaves the default to the table."""
    parser = argparse.ArgumentParser()
    add_settings(parser)
    given = vars(parser.parse_args([]))
    assert given == {setting.name: None for setting in SETTINGS}


def test_every_setting_is_read_by_somebody() -> None:
    """A setting that nothing reads would be a promise: each is an attribute that the server's code names."""
    named = {
        node.attr
        for path in (ROOT / "recsvc").rglob("*.py")
        if path != Path(inspect.getfile(config))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert {s.name for s in SETTINGS} <= named
