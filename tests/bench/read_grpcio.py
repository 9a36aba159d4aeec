"""The floor and the path to the cache with other releases of grpcio: `--grpcio 1.76.0 1.78.2 newest`.

Each release has an environment of its own, with the versions of everything else as they are here (but for protobuf,
which has to fit), in the cache of the parts; recsvc is run from this source tree. All releases are measured in turns.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.bench.read_generator import Pressure
from tests.bench.read_paths import (
    BATCH_FLOOR,
    CONNECTIONS,
    IN_FLIGHT,
    SINGLE_FLOOR,
    SINGLE_HIT,
    Field,
    Sizes,
    field,
)
from tests.bench.read_process import ROOT
from tests.bench.read_stand import Measured, Series, Stand
from tests.bench.read_values import load
from tests.bench.report import Figures, Report, rounded, table
from tests.clients.cache import built, run_build

NEWEST: Final = "newest"
_FAMILY: Final = ("grpcio", "grpcio-health-checking", "grpcio-reflection")
_FREE: Final = frozenset({"protobuf", "googleapis-common-protos"})
"""Whose versions depend on grpcio's."""


def python_with(version: str) -> Path:
    """Return a Python that has this release of grpcio, and all that recsvc needs."""
    folder = built(
        f"grpcio-{version}-py{sys.version_info.major}{sys.version_info.minor}", lambda at: _install(at, version)
    )
    return folder / "bin" / "python"


def _install(folder: Path, version: str) -> None:
    """Make the environment; its scripts will name the folder that it is built in, its Python does not care."""
    run_build([sys.executable, "-m", "venv", str(folder)], folder)
    family = [f"{name}=={version}" for name in _FAMILY]
    run_build([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *family, *_others()], folder)


def _others() -> Iterator[str]:
    """Return what recsvc needs beside grpcio, in the versions that are installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in project["dependencies"]:
        name = re.split(r"[^\w-]", text, maxsplit=1)[0]
        if name not in _FAMILY:
            yield name if name in _FREE else f"{name}=={importlib.metadata.version(name)}"


def newest() -> str:
    """Return the release that pip would install."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    done = subprocess.run([*command, "--report", "-", "grpcio"], capture_output=True, text=True, check=True)
    version: str = json.loads(done.stdout)["install"][0]["metadata"]["version"]
    return version


async def measure(sizes: Sizes, versions: Sequence[str]) -> Report:
    """Measure all releases."""
    asked = dict.fromkeys(newest() if version == NEWEST else version for version in versions)
    pythons = {version: python_with(version) for version in asked}
    with Stand.up() as stand, contextlib.ExitStack() as stack:
        await load(stand.redis.url, sizes.users, views=1)
        fields = {v: stack.enter_context(field(stand, sizes, python)) for v, python in pythons.items()}
        return report(_in_turns(fields, sizes), stand.repeats)


def _in_turns(fields: Mapping[str, Field], sizes: Sizes) -> dict[str, dict[str, Series]]:
    names = [SINGLE_FLOOR, SINGLE_HIT.name, BATCH_FLOOR]
    found: dict[str, dict[str, list[Measured]]] = {version: {name: [] for name in names} for version in fields}
    for number in range(-1, sizes.rounds):
        for name in names:
            for version, ready in fields.items():
                calls = sizes.batches if name == BATCH_FLOOR else sizes.calls
                done = ready.burst(name, Pressure(IN_FLIGHT, CONNECTIONS, calls=calls, keep=max(1, calls // 3)))
                if number >= 0:
                    found[version][name].append(done)
    return {version: {n: Series(tuple(every)) for n, every in paths.items()} for version, paths in found.items()}


def report(found: Mapping[str, Mapping[str, Series]], repeats: Sequence[str]) -> Report:
    """Return the table."""
    names = list(next(iter(found.values())))
    shown = table(f"CPU of the server per call in µs, {IN_FLIGHT} in flight", "grpcio", *names)
    figures: Figures = {}
    least = {name: min(paths[name].cpu_us for paths in found.values()) for name in names}
    for version, paths in found.items():
        cells = [f"{series.cpu_us:.1f} ({series.cpu_us / least[name]:.2f} ×)" for name, series in paths.items()]
        shown.add_row(version, *cells)
        figures[version] = {name: rounded(series.cpu_us) for name, series in paths.items()}
    return Report("grpcio", [shown], figures, notes=["in brackets: against the cheapest", *repeats])
