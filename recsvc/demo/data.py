"""Reads a data set (three files in the form of MovieLens 100K) into DuckDB tables, and computes views from them.

All times are moved by one number of whole days, so that the data ends less than a day before now, and hours of the day
stay true.
"""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from recsvc.errors import ConfigError
from recsvc.registry.model import FeatureView

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

COLUMNS: Final = {
    "inter": ("user_id", "item_id", "rating", "timestamp"),
    "item": ("item_id", "movie_title", "release_year", "class"),
    "user": ("user_id", "age", "gender", "occupation", "zip_code"),
}
"""The files, by ending, and the columns that are read; a header has the type behind the name (``user_id:token``)."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_DUCKDB: Final = {
    # One thread: what it computes is the same to the last bit in every run. Nothing is fetched from the network.
    "threads": "1",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
_UNKNOWN: Final = "('', 'unknown', 'unkonwn')"
"""How the files say that they do not know; the last one is MovieLens 100K's own spelling."""

_RATINGS: Final = """
    CREATE TABLE ratings AS
    SELECT
        CAST(user_id AS BIGINT) AS user_id,
        CAST(item_id AS BIGINT) AS item_id,
        CAST(rating AS DOUBLE) AS rating,
        make_timestamptz(CAST(CAST(timestamp AS DOUBLE) * 1e6 AS BIGINT)) AS rated_at
    FROM file
"""
_FILMS: Final = f"""
    CREATE TABLE films AS
    SELECT
        CAST(item_id AS BIGINT) AS item_id,
        CASE WHEN movie_title NOT IN {_UNKNOWN} THEN movie_title END AS title,
        TRY_CAST(release_year AS BIGINT) AS release_year,
        list_filter(string_split(class, ' '), lambda genre: genre NOT IN {_UNKNOWN}) AS genres
    FROM file
"""  # noqa: S608  # made of constants
_USERS: Final = f"""
    CREATE TABLE users AS
    SELECT
        CAST(user_id AS BIGINT) AS user_id,
        TRY_CAST(age AS BIGINT) AS age,
        gender,
        CASE WHEN occupation NOT IN {_UNKNOWN} THEN occupation END AS occupation,
        zip_code
    FROM file
"""  # noqa: S608  # made of constants
_TABLES: Final = {"inter": _RATINGS, "item": _FILMS, "user": _USERS}


@dataclass(frozen=True, slots=True)
class DemoData:
    """The tables ``ratings``, ``users``, ``films`` and ``data_end``; a context manager that closes them.

    ``shift`` is what was added to all times, in whole days; ``end`` is the time of the last rating after that.
    """

    connection: duckdb.DuckDBPyConnection = field(repr=False)
    shift: timedelta
    end: datetime

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    def compute(self, view: FeatureView) -> pa.Table:
        """Run the query of the view's source: one row per entity in the order of its ids.

        Columns are the join keys, the features, and ``event_time``. Raises ConfigError where the source has no query,
        or one that does not run or lacks a column.
        """
        source = view.live_source
        if source is None or not source.query:
            raise ConfigError(f"view {view.label}: has no source with a query to compute it from")
        keys = ", ".join(_quoted(e.join_key) for e in view.entities)
        features = ", ".join(_quoted(f.name) for f in view.features)
        columns = f"{keys}, {features}, {_quoted(source.event_time)} AS event_time"
        try:
            # The query stands on lines of its own: it may end in a comment.
            query = f"SELECT {columns} FROM (\n{source.query}\n) ORDER BY {keys}"  # noqa: S608  # definitions are code
            return self.connection.sql(query).to_arrow_table()
        except _extra("duckdb").Error as error:
            raise ConfigError(f"view {view.label}: source {source.name!r}: {_one_line(error)}") from error

    def rated(self) -> tuple[list[str], list[str]]:
        """Return the ids of user and film of every rating, as texts: what embeddings are trained on."""
        table = self.connection.sql("SELECT user_id::VARCHAR, item_id::VARCHAR FROM ratings").to_arrow_table()
        users, films = (column.to_pylist() for column in table.columns)
        return users, films


def open_data(directory: Path, now: datetime) -> DemoData:
    """Read the files in ``directory``, and move their times so that the data ends in the 24 hours before ``now``.

    ``now`` has a time zone. Raises ConfigError where files or columns are missing, where a line is wrong, and without
    the packages of ``recsvc[data]``.
    """
    files = _find(directory)
    with ExitStack() as on_error:
        connection = _extra("duckdb").connect(config=_DUCKDB)
        on_error.callback(connection.close)
        connection.execute("SET TimeZone = 'UTC'")  # not among the start-up options: it belongs to an extension
        for kind, path in files.items():
            _load(connection, kind, path)
        data = _moved(connection, now, files["inter"])
        on_error.pop_all()
    return data


def _find(directory: Path) -> dict[str, Path]:
    """Return the file of each kind."""
    found = {kind: sorted(directory.glob(f"*.{kind}")) for kind in COLUMNS}
    missing = [f"*.{kind}" for kind, paths in found.items() if not paths]
    if missing:
        wanted = "; ".join(f"*.{kind} with {', '.join(columns)}" for kind, columns in COLUMNS.items())
        raise ConfigError(
            f"data: {directory} has no {' and no '.join(missing)}; wanted are tab-separated files {wanted}"
        )
    for kind, paths in found.items():
        if len(paths) > 1:
            raise ConfigError(f"data: {directory} has {len(paths)} files *.{kind} ({_names(paths)}); keep one")
    return {kind: paths[0] for kind, paths in found.items()}


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _load(connection: duckdb.DuckDBPyConnection, kind: str, path: Path) -> None:
    """Make the table of one file."""
    connection.register("file", _read(kind, path))
    try:
        connection.execute(_TABLES[kind])
    except _extra("duckdb").Error as error:
        raise ConfigError(f"data: {path}: {_one_line(error)}") from error
    finally:
        connection.unregister("file")


def _read(kind: str, path: Path) -> pa.Table:
    """Return the columns of a file as strings. Tabs and line ends are all that means something in it, quotes do not."""
    pyarrow, csv = _extra("pyarrow"), _extra("pyarrow.csv")
    try:
        names = _header(kind, path)
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(
                include_columns=names, column_types=dict.fromkeys(names, pyarrow.string())
            ),
        )
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise ConfigError(f"data: {path}: {_one_line(error)}") from error
    return table.rename_columns(list(COLUMNS[kind]))


def _header(kind: str, path: Path) -> list[str]:
    """Return the names of the wanted columns as the file has them, types included."""
    with path.open(encoding="utf-8-sig") as lines:
        header = lines.readline().rstrip("\n").split("\t")
    full_names = {name.partition(":")[0]: name for name in header}
    missing = [name for name in COLUMNS[kind] if name not in full_names]
    if missing:
        raise ConfigError(f"data: {path} has no column {', '.join(missing)}; its columns are {', '.join(header)}")
    return [full_names[name] for name in COLUMNS[kind]]


def _moved(connection: duckdb.DuckDBPyConnection, now: datetime, path: Path) -> DemoData:
    """Move all times by whole days and make the table ``data_end``."""
    last = _one(connection, "SELECT epoch_us(max(rated_at)) FROM ratings")
    if last is None:
        raise ConfigError(f"data: {path} has no ratings")
    end = _EPOCH + timedelta(microseconds=last)
    shift = (now - end) // _DAY * _DAY
    connection.execute("UPDATE ratings SET rated_at = rated_at + to_days(?)", [shift // _DAY])
    connection.execute("CREATE TABLE data_end AS SELECT max(rated_at) AS ended_at FROM ratings")
    return DemoData(connection, shift, end + shift)


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> Any:  # noqa: ANN401  # whatever the query gives
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


def _extra(name: str) -> Any:  # noqa: ANN401  # a module
    """Import a package that only comes with the extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError("this needs DuckDB and pyarrow: pip install 'recsvc[data]'") from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _one_line(error: Exception) -> str:
    """Return an error's text without line ends, and without the mark under a line of SQL."""
    return " ".join(str(error).replace("^", " ").split())
