"""Every setting of the server, once: flag, environment variable, key in the TOML file, default and meaning.

The order of force is flag, environment, file, default. The table in the README is ``markdown_table()``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from recsvc.errors import ConfigError

PREFIX: Final = "RECSVC_"


def _setting(default: Any, text: str, *, minimum: float | None = None, choices: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    return field(default=default, metadata={"help": text, "minimum": minimum, "choices": choices})


@dataclass(frozen=True, slots=True)
class Settings:
    """The server's settings; times are in the unit that the name ends with."""

    listen: str = _setting("127.0.0.1:50051", "HOST:PORT to serve on; port 0 takes a free one")
    redis: str = _setting(
        "embedded",
        "the online store: redis://, rediss://, unix://, redis+cluster://, redis+sentinel:// URL, `embedded` (a private"
        " redis-server that ends with this process) or `embedded:DIR` (keeps its data in DIR)",
    )
    redis_timeout_ms: int = _setting(50, "the longest that one read of the store may take", minimum=1)
    redis_connect_timeout_ms: int = _setting(500, "the longest that opening a connection to the store may take", minimum=1)
    redis_connections: int = _setting(32, "connections to the store, per node in a cluster", minimum=1)
    redis_at_start: str = _setting(
        "required", "whether the server starts while the store does not answer", choices=("required", "optional")
    )
    default_deadline_ms: int = _setting(500, "the deadline of calls that come without one", minimum=1)
    deadline_margin_ms: int = _setting(5, "kept back from a caller's deadline for answering", minimum=0)
    max_rows: int = _setting(1_000, "rows that one GetFeaturesBatch may ask for", minimum=1)
    max_features: int = _setting(500, "features that one call may ask for", minimum=1)
    max_cells: int = _setting(100_000, "values (rows x features, broadcast ones once) that one call may ask for", minimum=1)
    max_store_keys: int = _setting(5_000, "distinct rows of the store that one call may need", minimum=1)
    max_reply_bytes: int = _setting(4_000_000, "bytes that an answer may have, computed before anything is read", minimum=1)
    max_request_bytes: int = _setting(1_048_576, "bytes that a request may have", minimum=1_024)
    lame_duck_s: float = _setting(0.5, "after SIGTERM: how long to serve on while health says NOT_SERVING", minimum=0)
    refuse_s: float = _setting(1.0, "after that: how long new calls get UNAVAILABLE before connections close", minimum=0)
    log_level: str = _setting("info", "how much is logged", choices=("debug", "info", "warning", "error"))


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

    Raises ConfigError that names the setting, where it came from, and what would be right.
    """
    values: dict[str, Any] = {}
    from_file = _read(file) if file else {}
    for setting in SETTINGS:
        if flags.get(setting.name) is not None:
            values[setting.name] = parse(setting, flags[setting.name], flag(setting))
        elif variable(setting) in environment:
            values[setting.name] = parse(setting, environment[variable(setting)], variable(setting))
        elif setting.name in from_file:
            values[setting.name] = parse(setting, from_file[setting.name], f"{setting.name} in {file}")
    return Settings(**values)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: is not TOML: {error}") from error
    unknown = sorted(document.keys() - {s.name for s in SETTINGS})
    if unknown:
        known = ", ".join(s.name for s in SETTINGS)
        raise ConfigError(f"--config {path}: no such setting {', '.join(unknown)}; there is {known}")
    return document


def parse(setting: Field[Any], value: object, where: str) -> object:
    """Return ``value`` as the setting's type; raises ConfigError that begins with ``where``."""
    wanted = type(setting.default)
    try:
        parsed = value if isinstance(value, wanted) and not isinstance(value, bool) else wanted(str(value))
    except ValueError:
        raise ConfigError(f"{where}: {value!r} is not {_WANTED[wanted]}") from None
    minimum, choices = setting.metadata["minimum"], setting.metadata["choices"]
    if minimum is not None and not parsed >= minimum:
        raise ConfigError(f"{where}: {value!r} must be at least {minimum}")
    if choices and parsed not in choices:
        raise ConfigError(f"{where}: {value!r} must be one of {', '.join(choices)}")
    return parsed


_WANTED: Final[dict[type, str]] = {int: "a whole number", float: "a number", str: "a text"}


def markdown_table() -> str:
    """Return the table of settings for the README."""
    lines = ["| flag | environment | default | meaning |", "|---|---|---|---|"]
    for setting in SETTINGS:
        if setting.default is MISSING:
            raise AssertionError(f"{setting.name} has no default")
        choices = setting.metadata["choices"]
        text = setting.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        lines.append(f"| `{flag(setting)}` | `{variable(setting)}` | `{setting.default}` | {text} |")
    return "\n".join(lines)
