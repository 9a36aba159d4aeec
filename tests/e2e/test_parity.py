"""The views' SQL, and the on-demand functions, against plain loops over the raw files.

To compare another source of values (a server) with the same loops, put it into the form of `oracle.Read`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsvc.demo.data import DemoData, open_data
from recsvc.demo.definitions import registry
from recsvc.demo.synthetic import write_dataset
from recsvc.registry.model import FeatureView, OnDemandFeature
from recsvc.registry.types import Kind
from tests.e2e import oracle
from tests.e2e.movielens import movielens
from tests.e2e.oracle import KINDS, NO_ROW, Columns, Oracle, Pair, Sample, check

NOW = datetime(2026, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)
REQUEST_TIME = (NOW - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
VIEWS = tuple(registry.views.values())
ON_DEMAND = {f"{v.name}:{f.name}": f for v in registry.on_demand.values() for f in v.features}


@pytest.fixture(scope="module", params=["made-up", "movielens"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each data set in turn."""
    if request.param == "movielens":
        return movielens()
    made_up = tmp_path_factory.mktemp("made-up")
    write_dataset(made_up, seed=20)
    return made_up


@pytest.fixture(scope="module")
def data(directory: Path) -> Iterator[DemoData]:
    """The data set in tables."""
    with open_data(directory, NOW) as opened:
        yield opened


@pytest.fixture(scope="module")
def plain(directory: Path, data: DemoData) -> Oracle:
    """The data set in plain loops."""
    return Oracle(directory, data.shift, REQUEST_TIME)


@pytest.fixture(scope="module")
def computed(data: DemoData) -> Computed:
    """The views of the data set."""
    return Computed(data)


class Computed:
    """Reads what the sources of the views compute, as `oracle.Read`."""

    def __init__(self, data: DemoData) -> None:
        self.rows = {view.name: _rows(view, data.compute(view)) for view in VIEWS}

    def __repr__(self) -> str:
        return f"Computed({', '.join(f'{name}: {len(rows)}' for name, rows in self.rows.items())})"

    def read(self, user_ids: Sequence[int], item_ids: Sequence[int], pairs: Sequence[Pair]) -> Columns:
        """Return every stored feature and every on-demand one."""
        ids: dict[tuple[str, ...], Sequence[tuple[int, ...]]] = {
            ("user_id",): [(user,) for user in user_ids],
            ("item_id",): [(item,) for item in item_ids],
            ("user_id", "item_id"): list(pairs),
        }
        columns: dict[str, Sequence[object]] = {}
        for view in VIEWS:
            for feature in (*(f.name for f in view.features), "event_time"):
                name = f"{view.name}:{feature}"
                columns[name] = self.column(name, ids[tuple(e.join_key for e in view.entities)])
        for name, of in ON_DEMAND.items():
            inputs = self.inputs(of, pairs)
            arrays = {parameter: _array(column) for parameter, column in inputs.items()}
            values = of.function(**arrays).tolist()
            columns[name] = [None if None in given else v for v, *given in zip(values, *inputs.values(), strict=True)]
        return columns

    def column(self, name: str, ids: Sequence[tuple[int, ...]]) -> list[object]:
        """Return one value per key."""
        view, _, feature = name.partition(":")
        return [self.rows[view].get(key, {}).get(feature, NO_ROW) for key in ids]

    def inputs(self, feature: OnDemandFeature, pairs: Sequence[Pair]) -> dict[str, list[object]]:
        """Return the columns that an on-demand feature is computed from, a value per pair, by parameter."""
        of_request = {
            "request:request_time": [REQUEST_TIME] * len(pairs),
            "request:list_position": list(range(1, len(pairs) + 1)),
        }
        users, items = [(user,) for user, _ in pairs], [(item,) for _, item in pairs]
        return {
            parameter: list(of_request.get(name) or self.column(name, users if name.startswith("activity") else items))
            for parameter, name in feature.inputs.items()
        }


def _rows(view: FeatureView, table: pa.Table) -> dict[tuple[int, ...], dict[str, object]]:
    """Return features and event time by the ids of the row; times in microseconds."""
    plain = {
        name: (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    keys = list(zip(*(plain.pop(e.join_key) for e in view.entities), strict=True))
    rows = [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]
    by_key = dict(zip(keys, rows, strict=True))
    assert len(by_key) == len(rows), f"{view.label}: several rows for one key"
    return by_key


def _array(column: Sequence[object]) -> np.ndarray:
    """Return the array that a function gets: int64 or float64, with 0 or NaN where there is no value."""
    is_float = any(isinstance(value, float) for value in column)
    empty = np.nan if is_float else 0
    return np.array([empty if v is None else v for v in column], dtype=np.float64 if is_float else np.int64)


def test_every_feature_of_random_users_and_films_is_what_a_plain_loop_says(plain: Oracle, computed: Computed) -> None:
    """Every feature and event time of 200 users, films and pairs is what plain loops over the files give."""
    sample = plain.sample(seed=11, count=200)
    check(plain.read(*sample), computed.read(*sample))


def test_one_user_with_many_films_is_what_a_plain_loop_says(plain: Oracle, computed: Computed) -> None:
    """A ranking call, one user and 500 films, is what plain loops over the files give."""
    user = max(plain.by_user, key=lambda u: len(plain.by_user[u]))
    items = list(plain.films)[:500]
    sample = Sample([user], items, [(user, item) for item in items])
    check(plain.read(*sample), computed.read(*sample))


def test_views_have_a_row_for_everybody_and_nobody_else(plain: Oracle, computed: Computed) -> None:
    """Views of users and films have exactly those of the files, `rated` exactly the pairs with a rating."""
    by_entity = {"user_id": {(u,) for u in plain.users}, "item_id": {(i,) for i in plain.films}}
    for view in VIEWS:
        keys = [e.join_key for e in view.entities]
        assert set(computed.rows[view.name]) == (by_entity[keys[0]] if len(keys) == 1 else set(plain.by_pair))


def test_every_value_fits_its_type(computed: Computed) -> None:
    """No value of the data sets is longer than its feature's bound, or of another type: none would be rejected."""
    for view in VIEWS:
        for key, row in computed.rows[view.name].items():
            for feature in view.features:
                value = row[feature.name]
                assert value is None or feature.type.normalize(value) is not None, f"{view.label} {key}"


def test_samples_have_nulls_and_missing_rows(plain: Oracle) -> None:
    """What is compared has values, nulls and pairs without a row: a comparison of values alone would prove less."""
    columns = plain.read(*plain.sample(seed=11, count=200))
    for name in ("activity:rating_mean_7d", "film:release_year"):
        assert {value is None for value in columns[name]} == {True, False}
    assert {value is NO_ROW for value in columns["rated:rating"]} == {True, False}


def test_every_feature_has_an_oracle() -> None:
    """A feature that is added to the definitions must be added to the oracle too."""
    stored = {f"{v.name}:{name}" for v in VIEWS for name in (*(f.name for f in v.features), "event_time")}
    assert stored | ON_DEMAND.keys() == KINDS.keys()


def test_the_oracle_is_on_its_own() -> None:
    """The oracle imports the standard library only, so it cannot share a mistake with what it judges."""
    tree = ast.parse(Path(oracle.__file__).read_text(encoding="utf-8"))
    imports = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imports |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imports} <= sys.stdlib_module_names - {"sqlite3"}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_one_wrong_value_is_found(plain_made_up: Oracle, name: str) -> None:
    """One value of one column that is off by a millionth, missing, or of another type fails the comparison."""
    sample = plain_made_up.sample(seed=1, count=5)
    expected = plain_made_up.read(*sample)
    for wrong in _wrong(expected[name][0]):
        with pytest.raises(AssertionError, match=name):
            check(expected, {**expected, name: [wrong, *expected[name][1:]]})


@pytest.fixture(scope="module")
def plain_made_up(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """Plain loops over made-up data."""
    made_up = tmp_path_factory.mktemp("made-up")
    write_dataset(made_up, seed=20)
    return Oracle(made_up, timedelta(0), REQUEST_TIME)


def _wrong(value: object) -> Iterator[object]:
    """Yield values that are not the same as this one."""
    yield from (v for v in (None, NO_ROW) if v is not value)
    match value:
        case bool():
            yield not value
            yield int(value)
        case int():
            yield value + 1
            yield float(value)
        case float():
            yield value * 1.000001 + 1e-12
        case str():
            yield f"{value} "
        case [first, *rest]:
            yield rest
            yield from ([wrong, *rest] for wrong in _wrong(first))


@pytest.mark.parametrize("name", sorted(ON_DEMAND))
def test_on_demand_functions_give_the_same_bits_offline(
    plain: Oracle, computed: Computed, tmp_path: Path, name: str
) -> None:
    """A function over columns of a Parquet file gives the very bits that it gives over the values that are served."""
    feature = ON_DEMAND[name]
    sample = plain.sample(seed=12, count=500)
    served = {p: _array(column) for p, column in computed.inputs(feature, sample.pairs).items()}
    kinds = {p: _kind(reference) for p, reference in feature.inputs.items()}
    pq.write_table(_arrow(computed.inputs(feature, sample.pairs), kinds), tmp_path / "inputs.parquet")

    table = pq.read_table(tmp_path / "inputs.parquet")
    offline = feature.function(**{p: _column(table[p], kind) for p, kind in kinds.items()})

    assert offline.dtype == np.float64
    assert _bits(offline) == _bits(feature.function(**served))


@pytest.mark.parametrize("name", sorted(ON_DEMAND))
def test_on_demand_functions_give_the_same_bits_however_rows_are_cut(
    plain: Oracle, computed: Computed, name: str
) -> None:
    """A row has the same bits alone, among many, and out of memory with gaps (where SIMD may take other paths)."""
    feature = ON_DEMAND[name]
    sample = plain.sample(seed=13, count=200)
    arrays = {p: _array(column) for p, column in computed.inputs(feature, sample.pairs).items()}
    together = _bits(feature.function(**arrays))

    alone = [_bits(feature.function(**{p: a[n : n + 1] for p, a in arrays.items()}))[0] for n in range(len(together))]
    apart = feature.function(**{p: np.stack([a, a, a], axis=1)[:, 1] for p, a in arrays.items()})

    assert alone == together
    assert _bits(apart) == together


def _kind(reference: str) -> Kind:
    """Return the kind of a stored feature or of a field of the request."""
    view, _, name = reference.partition(":")
    if view == "request":
        return registry.request[name].type.kind
    return next(f.type.kind for f in registry.view(view).features if f.name == name)


def _arrow(inputs: dict[str, list[Any]], kinds: dict[str, Kind]) -> pa.Table:
    """Return the inputs as a training set has them: typed columns with nulls."""
    types = {Kind.INT64: pa.int64(), Kind.FLOAT64: pa.float64(), Kind.TIMESTAMP: pa.timestamp("us", tz="UTC")}
    return pa.table({p: pa.array(column, type=types[kinds[p]]) for p, column in inputs.items()})


def _column(column: pa.ChunkedArray, kind: Kind) -> np.ndarray:
    """Return a column of a file in the form in which functions get it."""
    if kind is Kind.TIMESTAMP:
        column = column.cast(pa.int64())
    filled: np.ndarray = column.fill_null(float("nan") if kind is Kind.FLOAT64 else 0).to_numpy()
    return filled


def _bits(values: np.ndarray) -> list[int]:
    """Return the bits of doubles."""
    return list(np.ascontiguousarray(values, dtype=np.float64).view(np.int64).tolist())
