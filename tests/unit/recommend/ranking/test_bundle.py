"""A bundle that is damaged, or was made for other features, is refused with one line that says what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsvc import FLOAT64, Feature
from recsvc.recommend.ranking.bundle import bundle_directory, load_bundle, publish_bundle, write_bundle
from recsvc.recommend.ranking.errors import BundleError
from recsvc.recommend.ranking.linear import LinearModel
from recsvc.recommend.ranking.models import Model
from tests.parts.rankers import NUMBERS, VECTORS, Example, linear, registry

Document = dict[str, Any]
EXAMPLE = Example(linear())


def write(directory: Path, **other: Any) -> None:  # noqa: ANN401  # any argument of write_bundle
    """Write the bundle of a linear model, or of what else is wanted."""
    arguments: dict[str, Any] = {
        "model": EXAMPLE.model,
        "name": "clicks",
        "version": "7",
        "service": NUMBERS,
        "registry": registry(),
        "warm_up": EXAMPLE.rows(3),
    }
    write_bundle(directory, **(arguments | other))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A good bundle, of its own for each test."""
    write(tmp_path / "clicks")
    return tmp_path / "clicks"


def refusal(directory: Path) -> str:
    """Return what loading a bundle complains of, less the start that all have."""
    with pytest.raises(BundleError) as caught:
        load_bundle(directory, registry())
    start, text = f"model bundle {directory}: ", str(caught.value)
    assert text.startswith(start)
    assert "\n" not in text
    return text.removeprefix(start)


def document(bundle: Path) -> Document:
    """Read the manifest of a bundle."""
    found: Document = json.loads((bundle / "manifest.json").read_bytes())
    return found


def rewrite(bundle: Path, name: str, change: Callable[[Document], object]) -> None:
    """Change a JSON file of a bundle, and its checksum with it."""
    manifest = document(bundle)
    if name == "manifest.json":
        change(manifest)
    else:
        content = json.loads((bundle / name).read_bytes())
        change(content)
        data = json.dumps(content).encode()
        (bundle / name).write_bytes(data)
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_the_manifest_says_what_the_bundle_is(bundle: Path) -> None:
    """Somebody who reads it finds kind, version, service, the features with their types, and the registry."""
    found = document(bundle)
    assert (found["format"], found["kind"], found["name"], found["version"]) == (1, "LINEAR", "clicks", "7")
    assert (found["service"], found["registry"]) == (NUMBERS, registry().features_fingerprint)
    assert found["features"][1] == {"name": "film:price", "type": "FLOAT64"}
    assert list(found["files"]) == ["weights.json"]


def test_fields_that_nobody_knows_are_left_alone(bundle: Path) -> None:
    """A trainer may note down what it likes beside what is read."""
    rewrite(bundle, "manifest.json", lambda d: d.update(trained_at="2026-11-21", metrics={"auc": 0.75}))
    assert load_bundle(bundle, registry()).version == "7"


MANIFEST_CHANGES: list[tuple[Callable[[Document], object], str]] = [
    (lambda d: d.update(format=2), "format is 2; this version of recsvc reads format 1"),
    (lambda d: d.update(kind="SVM"), "kind is 'SVM'; this version of recsvc knows DOT_PRODUCT, LINEAR, LOGISTIC, ONNX"),
    (lambda d: d.update(kind="DOT_PRODUCT"), "a dot product has none"),
    (lambda d: d.update(kind="ONNX"), "this kind has model.onnx and onnx.json"),
    (lambda d: d.pop("name"), "'name' is missing; it must be a string"),
    (lambda d: d.update(version="../7"), "'version' is '../7'; it must be"),
    (
        lambda d: d.update(service="gone"),
        "service 'gone', which is not defined; there is numbers, titles, vectors",
    ),
    (lambda d: d["features"].pop(), "trained on 4 features, but service 'numbers' gives 5: train it anew"),
    (lambda d: d["features"].reverse(), "feature 0 was 'film:added TIMESTAMP', but service 'numbers' gives"),
    (lambda d: d["features"][0].update(type="FLOAT64"), "feature 0 was 'film:year FLOAT64'"),
    (lambda d: d.update(registry="0" * 16), "trained with registry '0000000000000000', this one is"),
    (lambda d: d.update(files={}), r"lists the files \[\]; this kind has weights.json alone"),
    (lambda d: d["files"].update({"../secret": {}}), "a file is named '../secret'; it must be a plain name"),
    (lambda d: d["files"]["weights.json"].update(sha256="0" * 64), "its SHA-256 differs"),
    (lambda d: d["files"]["weights.json"].update(bytes=1), "the manifest says 1: copy the bundle again"),
    (lambda d: d["files"].update({"more": d["files"]["weights.json"]}), "more is missing"),
    (lambda d: d.update(warm_up={"rows": [], "scores": []}), "'rows' is .*; it must be a list of rows"),
    (lambda d: d["warm_up"]["scores"].pop(), "'warm_up' has 3 rows and 2 scores"),
    (lambda d: d["warm_up"].update(rows=[[1.0]] * 3), "warm-up rows have 1 numbers, the features make 5"),
    (lambda d: d["warm_up"]["rows"][1].pop(), "equally many numbers"),
    (lambda d: d["warm_up"]["scores"].__setitem__(1, 99.0), r"1 of 3 warm-up rows otherwise .*\(row 1: .*, was 99\)"),
]


@pytest.mark.parametrize(("change", "says"), MANIFEST_CHANGES, ids=[says[:40] for _, says in MANIFEST_CHANGES])
def test_a_manifest_that_does_not_fit_is_refused(bundle: Path, change: Callable[[Document], object], says: str) -> None:
    """Each thing that can be wrong in a manifest has its own line."""
    rewrite(bundle, "manifest.json", change)
    with pytest.raises(BundleError, match=says):
        load_bundle(bundle, registry())
    refusal(bundle)


WEIGHT_CHANGES: list[tuple[Callable[[Document], object], str]] = [
    (lambda d: d.update(intercept=1.0), "3 of 3 warm-up rows otherwise than when it was written"),
    (lambda d: d["weights"].pop(), "weights.json: 4 weights, there must be one for each of 5"),
    (lambda d: d.update(intercept="1"), "weights.json: 'intercept' is '1'; it must be a number"),
    (lambda d: d.update(intercept=10**400), "it must be a number"),
    (lambda d: d.update(weights=[1e308] * 5, scales=[1e-300] * 5), "cannot score its warm-up rows: "),
]


@pytest.mark.parametrize(("change", "says"), WEIGHT_CHANGES, ids=[says[:40] for _, says in WEIGHT_CHANGES])
def test_weights_that_do_not_fit_are_refused(bundle: Path, change: Callable[[Document], object], says: str) -> None:
    """Weights with a checksum of their own, but other ones than were tried when the bundle was written."""
    rewrite(bundle, "weights.json", change)
    assert says in refusal(bundle)


def test_an_unrelated_definition_changes_the_fingerprint(bundle: Path) -> None:
    """A model serves with the definitions it was trained with; descriptions are none of them."""
    load_bundle(bundle, registry(description="what the click model reads"))
    with pytest.raises(BundleError, match="definitions that can change a value have changed"):
        load_bundle(bundle, registry((Feature("new", FLOAT64),)))


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_flipped_bit_of_a_file_is_found(bundle: Path, place: int, bit: int) -> None:
    """No byte of a model can change on disk without a refusal."""
    path = bundle / "weights.json"
    good = path.read_bytes()
    bad = bytearray(good)
    bad[place % len(bad)] ^= 1 << bit
    path.write_bytes(bad)
    assert "SHA-256 differs" in refusal(bundle)
    path.write_bytes(good)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


def complaint(directory: Path) -> str:
    """Load a bundle that may be good, and return what is wrong with it, if anything."""
    try:
        load_bundle(directory, registry())
    except BundleError as error:
        return str(error)
    return ""


@given(data=st.data(), value=json_values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_rubbish_in_a_manifest_is_a_refusal(bundle: Path, data: st.DataObject, value: object) -> None:
    """Whatever stands in a field, the bundle loads or there is one line: no other error comes out."""
    good = (bundle / "manifest.json").read_text()
    found = json.loads(good)
    into = found
    while True:
        key = data.draw(st.sampled_from(list(into) if isinstance(into, dict) else range(len(into))))
        if not (isinstance(into[key], dict | list) and into[key] and data.draw(st.booleans())):
            break
        into = into[key]
    into[key] = value
    (bundle / "manifest.json").write_text(json.dumps(found))
    assert "\n" not in complaint(bundle)
    (bundle / "manifest.json").write_text(good)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "\ufeff{}", '{"format": NaN}', "[" * 100_000, '{"format": true}']
)
def test_a_manifest_that_is_none_is_refused(bundle: Path, text: str) -> None:
    """What is no JSON, or no object, is named as that."""
    (bundle / "manifest.json").write_text(text)
    assert refusal(bundle).startswith("manifest.json")


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    """A directory that is not there, an empty one, and a pipe where a file should be, which nobody waits for."""
    assert "manifest.json is missing" in refusal(tmp_path / "nothing")
    assert "manifest.json is missing" in refusal(tmp_path)
    os.mkfifo(tmp_path / "manifest.json")
    assert "no file" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"name": "a/b"}, "the model's name is 'a/b'"),
        ({"version": ""}, "the model's version is ''"),
        ({"service": "gone"}, "feature service 'gone'"),
        ({"service": VECTORS}, "a linear model takes numbers"),
        ({"warm_up": np.empty((0, 5))}, "0 warm-up rows; there must be 1 to 1000"),
        ({"warm_up": np.empty((1, 4))}, "a matrix of"),
        ({"model": LinearModel(0.0, (), (), ())}, "0 weights"),
    ],
)
def test_nothing_is_written_that_would_not_load(tmp_path: Path, other: dict[str, object], says: str) -> None:
    """A model that does not fit is refused before there is a directory of it."""
    with pytest.raises(BundleError, match=says):
        write(tmp_path / "clicks", **other)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_written_once(bundle: Path) -> None:
    """A version that is served from is never changed in place."""
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    with pytest.raises(BundleError, match="exists already"):
        write(bundle)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


class Unwritable(LinearModel):
    """A model whose files cannot be written, after one that can."""

    __slots__ = ()

    def files(self) -> dict[str, bytes]:
        """Return a good file and one of a name that no file can have."""
        return {"good": b"", "bad/name": b""}


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """What could not be finished is gone, so nobody loads the half of it."""
    model: Model = Unwritable(0.0, (1.0,) * 5, (0.0,) * 5, (1.0,) * 5)
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "clicks", model=model)
    assert list(tmp_path.iterdir()) == []


def test_infinite_warm_up_values_are_missing_ones(tmp_path: Path) -> None:
    """JSON has no infinities; rows that have some are kept as rows with missing values."""
    write(tmp_path / "clicks", warm_up=np.array([[np.inf, 1.0, -np.inf, np.nan, 0.0]]))
    assert document(tmp_path / "clicks")["warm_up"]["rows"] == [[None, 1.0, None, None, 0.0]]
    load_bundle(tmp_path / "clicks", registry())


def test_a_directory_of_versions_has_the_one_that_is_published(tmp_path: Path) -> None:
    """Without CURRENT the directory is the bundle itself; with it the version that was published last is."""
    assert bundle_directory(tmp_path) == tmp_path
    for version in ("1", "2"):
        write(tmp_path / version, version=version)
        publish_bundle(tmp_path, version)
        assert bundle_directory(tmp_path) == tmp_path / version
        assert load_bundle(bundle_directory(tmp_path), registry()).version == version
    publish_bundle(tmp_path, "1")
    assert bundle_directory(tmp_path) == tmp_path / "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "CURRENT"]


def test_what_is_no_bundle_is_not_published(tmp_path: Path) -> None:
    """A version that is not there, and a CURRENT that names none, are told in one line."""
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        publish_bundle(tmp_path, "1")
    for content, words in ((b"../clicks\n", "names no version"), (b"\xff\n", "cannot read CURRENT")):
        (tmp_path / "CURRENT").write_bytes(content)
        with pytest.raises(BundleError, match=words):
            bundle_directory(tmp_path)
