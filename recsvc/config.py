"""Every setting of the server, once: flag, environment variable, key in the TOML file, default and meaning.

The order of force is flag, environment, file, default. The table in the README is ``markdown_table()``.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from recsvc.errors import ConfigError
from recsvc.secret import Secret

PREFIX: Final = "RECSVC_"
_LOOKS_LIKE: Final = 0.8
"""How alike (difflib's ratio) a name and a setting's are, for one to be meant by the other."""
_HOST_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):(\d{1,5})", re.ASCII)
_MAX_PORT: Final = 65_535
_MAX_NUMBER: Final = 2**31 - 1
"""Numbers go on to gRPC, whose options have 32 bits."""


def _setting(  # noqa: PLR0913  # each is a fact of a setting, given by name
    default: Any,  # noqa: ANN401  # its type is the setting's
    text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    address: bool = False,
) -> Any:  # noqa: ANN401  # a field
    facts = {"help": text, "minimum": minimum, "maximum": maximum, "choices": choices, "address": address}
    return field(default=default, metadata=facts)


@dataclass(frozen=True, slots=True)
class Settings:
    """The server's settings; times are in the unit that the name ends with."""

    listen: str = _setting("127.0.0.1:50051", "HOST:PORT to serve on; port 0 takes a free one", address=True)
    redis: str = _setting(
        "embedded",
        "the online store: redis://, rediss://, unix://, redis+cluster://, redis+sentinel:// URL, `embedded` (a private"
        " redis-server that ends with this process) or `embedded:DIR` (keeps its data in DIR)",
    )
    redis_timeout_ms: int = _setting(
        50, "the longest that a read of the store may take, with the wait for its turn", minimum=1
    )
    redis_connect_timeout_ms: int = _setting(
        500, "the longest that opening a connection to the store may take", minimum=1
    )
    redis_connections: int = _setting(64, "connections to the store, per node in a cluster", minimum=1)
    redis_at_start: str = _setting(
        "required", "whether the server starts while the store does not answer", choices=("required", "optional")
    )
    cache_s: float = _setting(
        5.0, "how long a copy of a row is fresh, where its view does not say; 0: every call reads the store", minimum=0
    )
    stale_if_error_s: float = _setting(
        300.0,
        "how old a copy may be that stands in while the store cannot be read, where its view does not say",
        minimum=0,
    )
    cache_entries: int = _setting(500_000, "copies of rows that are kept", minimum=1)
    cache_mb: int = _setting(256, "megabytes that copies of rows may take", minimum=1)
    fetch_slots: int = _setting(
        4, "reads of the store (of each node) at once, before misses gather to leave together", minimum=1
    )
    fetch_gather_ms: float = _setting(1.0, "the longest that misses gather while all slots are busy", minimum=0)
    fetch_keys: int = _setting(512, "rows that one read of the store may ask for", minimum=1)
    max_waiting_keys: int = _setting(
        50_000, "rows (of each node) that may wait for the store; new misses are shed from 80 % on", minimum=1
    )
    max_waiting_mb: int = _setting(16, "megabytes that the names of these rows may take; likewise", minimum=1)
    max_waiting_calls: int = _setting(5_000, "calls that may wait for the store; likewise", minimum=1)
    breaker: str = _setting(
        "auto",
        "circuit breaker of the store (of each node): by itself, or held open or closed for a drill",
        choices=("auto", "open", "closed"),
    )
    breaker_window_ms: int = _setting(1_000, "the time whose reads the breaker judges", minimum=10)
    breaker_min_calls: int = _setting(5, "reads in that time, before it judges at all", minimum=1)
    breaker_failure_share: float = _setting(0.5, "it opens where this share of them failed", minimum=0.01, maximum=1)
    breaker_slow_ms: int = _setting(0, "a read that takes longer is slow; 0: 80 % of --redis-timeout-ms", minimum=0)
    breaker_slow_share: float = _setting(0.8, "it opens where this share of them was slow", minimum=0.01, maximum=1)
    breaker_open_ms: int = _setting(
        500, "how long it stays open before it probes the store, plus up to half", minimum=1
    )
    breaker_probes: int = _setting(2, "good probes in a row that close it", minimum=1)
    default_deadline_ms: int = _setting(500, "the deadline of calls that come without one", minimum=1)
    deadline_margin_ms: int = _setting(5, "kept back from a caller's deadline for answering", minimum=0)
    max_rows: int = _setting(1_000, "rows that one GetFeaturesBatch may ask for", minimum=1)
    max_features: int = _setting(500, "features that one call may ask for", minimum=1)
    max_cells: int = _setting(
        100_000, "values (rows x features, broadcast ones once) that one call may ask for", minimum=1
    )
    max_store_keys: int = _setting(5_000, "distinct rows of the store that one call may need", minimum=1)
    max_reply_bytes: int = _setting(
        4_000_000, "bytes that an answer may have, computed before anything is read", minimum=1
    )
    max_id_bytes: int = _setting(512, "bytes that an id of a STRING entity may have", minimum=1, maximum=512)
    max_request_bytes: int = _setting(1_048_576, "bytes that a request may have", minimum=1_024)
    index_dir: str = _setting("", "directory of vector indexes, one directory of versions for each; empty: none")
    model_dir: str = _setting("", "directory of model bundles, one directory for each; empty: none")
    page_token_key: Secret = _setting(  # noqa: RUF009  # a field, as all others
        Secret(),
        "secret of at least 16 characters that page tokens are signed with, the same on all replicas; of several, with"
        " commas between, the first signs and all are accepted; empty: one is made up, and pages go on only on this"
        " server",
    )
    recommend_target_ms: int = _setting(
        50, "how long a slate may take; while more than 5 % take longer, they have fewer candidates", minimum=1
    )
    impressions_dir: str = _setting("", "directory for what was recommended, as rotating JSON lines; empty: not kept")
    experiment_overrides: str = _setting(
        "refused", "whether callers may choose variants of experiments", choices=("refused", "allowed")
    )
    lame_duck_s: float = _setting(0.5, "after SIGTERM: how long to serve on while health says NOT_SERVING", minimum=0)
    refuse_s: float = _setting(
        1.0, "after that: how long new calls get UNAVAILABLE before connections close", minimum=0
    )
    metrics: str = _setting("on", "whether metrics are kept", choices=("on", "off"))
    metrics_listen: str = _setting(
        "", "HOST:PORT of a page for Prometheus, a port for each process; empty: none", address=True
    )
    late_ms: int = _setting(
        100, "a call that takes longer leaves a span `recsvc.late`, where it was not sampled", minimum=1
    )
    late_per_s: int = _setting(10, "such spans a second, at most; 0: none", minimum=0)
    id_hash_key: Secret = _setting(  # noqa: RUF009  # a field, as all others
        Secret(),
        "secret of at least 16 characters; with it spans have keyed hashes of ids (`recsvc hash-id`); empty: no ids",
    )
    trace_baggage: str = _setting(
        "", "entries of callers' baggage that become attributes of spans, with commas between"
    )
    log_level: str = _setting("info", "how much is logged", choices=("debug", "info", "warning", "error"))
    log_format: str = _setting(
        "auto", "how: text, JSON, or auto: text for a terminal, JSON for all else", choices=("auto", "json", "text")
    )


SETTINGS: Final[tuple[Field[Any], ...]] = fields(Settings)


def flag(setting: Field[Any]) -> str:
    """Return the command-line flag of a setting."""
    return "--" + setting.name.replace("_", "-")


def variable(setting: Field[Any]) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + setting.name.upper()


def load(
    flags: Mapping[str, object], *, environment: Mapping[str, str] = os.environ, file: Path | None = None
) -> Settings:
    """Return the settings from flags (None: not given), environment and TOML file.

    Raises ConfigError that names every wrong setting, where it came from, and what would be right.
    """
    values: dict[str, Any] = {}
    from_file = _read(file) if file else {}
    wrong = [f"--config {file}: {problem}" for problem in _unknown(from_file)]
    for setting in SETTINGS:
        try:
            if flags.get(setting.name) is not None:
                values[setting.name] = parse(setting, flags[setting.name], flag(setting))
            elif variable(setting) in environment:
                values[setting.name] = parse(setting, environment[variable(setting)], variable(setting))
            elif setting.name in from_file:
                values[setting.name] = _parse_toml(setting, from_file[setting.name], f"{setting.name} in {file}")
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError("; ".join(wrong))
    return Settings(**values)


def misspelt(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return variables that are no settings but look like one, each with the one it looks like.

    Others that begin with RECSVC_ are none of ours: Kubernetes sets RECSVC_SERVICE_HOST for a service of that name.
    """
    known = {variable(setting) for setting in SETTINGS}
    others = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    meant = {name: _meant(name.removeprefix(PREFIX).lower()) for name in others}
    return {name: variable(setting) for name, setting in meant.items() if setting is not None}


def _meant(name: str) -> Field[Any] | None:
    """Return the setting that a name looks like, if there is one."""
    known = {setting.name: setting for setting in SETTINGS}
    found = difflib.get_close_matches(name, known, n=1, cutoff=_LOOKS_LIKE)
    return known[found[0]] if found else None


def check(settings: Settings) -> Settings:
    """Return ``settings``; raises ConfigError where two of them do not go together."""
    if settings.max_store_keys > settings.max_waiting_keys:
        raise ConfigError(
            f"--max-store-keys {settings.max_store_keys} is more than --max-waiting-keys {settings.max_waiting_keys}:"
            " a call that large would never be read"
        )
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: is not TOML: {error}") from error


def _unknown(document: Mapping[str, Any]) -> list[str]:
    """Return a line for each key of a TOML file that is no setting."""
    wrong = []
    for name in sorted(document.keys() - {setting.name for setting in SETTINGS}):
        meant = _meant(name)
        if isinstance(document[name], dict):
            wrong.append(f"[{name}] is a table, and settings stand in none: they come first in the file")
        elif meant is not None:
            wrong.append(f"{name} is no setting, is {meant.name} meant?")
        else:
            wrong.append(f"{name} is no setting, `recsvc serve --help` names all")
    return wrong


def _parse_toml(setting: Field[Any], value: object, where: str) -> object:
    """Return ``parse``, of a value that has a type of its own: a number in quotes is none."""
    wanted = type(setting.default)
    if isinstance(value, str) and not issubclass(wanted, str):
        raise ConfigError(f"{where}: {value!r} is a text, not {_WANTED[wanted]}: write it without quotes")
    return parse(setting, value, where)


def parse(setting: Field[Any], value: object, where: str) -> object:
    """Return ``value`` as the setting's type; raises ConfigError that begins with ``where``."""
    wanted: type[Any] = type(setting.default)
    parsed = _converted(value, wanted)
    if parsed is None:
        shown = "" if issubclass(wanted, str) else f"{value!r} "  # what should be a text may hold a password
        raise ConfigError(f"{where}: {shown}is not {_WANTED[wanted]}")
    minimum, choices = setting.metadata["minimum"], setting.metadata["choices"]
    if minimum is not None and not parsed >= minimum:
        raise ConfigError(f"{where}: {value!r} must be at least {minimum}")
    maximum = setting.metadata["maximum"] or _MAX_NUMBER
    if not issubclass(wanted, str) and not parsed <= maximum:
        raise ConfigError(f"{where}: {value!r} must be at most {maximum}")
    if choices and parsed not in choices:
        raise ConfigError(f"{where}: {value!r} must be one of {', '.join(choices)}")
    if setting.metadata["address"] and parsed != setting.default and not _is_address(parsed):
        raise ConfigError(f"{where}: {value!r} is not HOST:PORT, such as 127.0.0.1:50051")
    return parsed


def _converted(value: object, wanted: type[Any]) -> Any:  # noqa: ANN401  # of the type wanted, or None
    """Return a value as TOML or a command line gives it in the type wanted; None where it is none of that type."""
    if isinstance(value, bool) or not isinstance(value, str | int | wanted):
        return None
    if issubclass(wanted, str) and not isinstance(value, str):
        return None
    try:
        return wanted(value)
    except ValueError:
        return None


def _is_address(text: str) -> bool:
    match = _HOST_PORT.fullmatch(text)
    return match is not None and int(match[2]) <= _MAX_PORT


_WANTED: Final[dict[type, str]] = {int: "a whole number", float: "a number", str: "a text", Secret: "a text"}


def markdown_table() -> str:
    """Return the table of settings for the README."""
    lines = ["| flag | environment | default | meaning |", "|---|---|---|---|"]
    for setting in SETTINGS:
        choices = setting.metadata["choices"]
        text = setting.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        lines.append(f"| `{flag(setting)}` | `{variable(setting)}` | `{setting.default}` | {text} |")
    return "\n".join(lines)
