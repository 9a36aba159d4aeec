"""Who may import whom: the layers of recsvc, read off the imports of every module.

`cli -> app -> rpc -> recommend -> online -> registry -> errors, config, deadline`: a layer may use all to its right.
Three packages stand beside the server, for cli alone: training, which makes what is served, evaluation, which serves
what was trained and measures it, and inspect, which looks at a server from outside.
Imports inside functions and under TYPE_CHECKING count like any other: what a module names, it depends on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FOUNDATION = frozenset({"errors", "config", "deadline", "secret"})
# `recsvc` itself: the names that users write definitions with.
ROOT_PACKAGE = ""
# A fact that any module may tell, and no layer.
VERSION = "recsvc.__version__"

# What each layer may import of recsvc, itself aside. One that is not listed here has no place yet: give it one.
ALLOWED: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "secret": frozenset(),
    "config": frozenset({"errors", "secret"}),
    "deadline": frozenset({"errors"}),
    "telemetry": frozenset({"secret"}),
    "pb": frozenset({"errors"}),
    ROOT_PACKAGE: frozenset({"registry"}),
    "registry": FOUNDATION,
    "online": FOUNDATION | {"registry", "telemetry"},
    "recommend": FOUNDATION | {"registry", "online", "telemetry"},
    "rpc": FOUNDATION | {"registry", "online", "recommend", "telemetry", "pb"},
    "app": FOUNDATION | {ROOT_PACKAGE, "registry", "online", "recommend", "rpc", "telemetry"},
    "client": FOUNDATION | {"pb"},
    # Definitions and data as a user would have them, so no more than a user has.
    "demo": FOUNDATION | {ROOT_PACKAGE, "registry"},
    "training": FOUNDATION | {"registry", "online", "recommend", "client", "telemetry"},
    "evaluation": FOUNDATION | {"registry", "online", "recommend", "app", "client", "demo", "training", "telemetry"},
    "inspect": FOUNDATION | {"telemetry"},
    "cli": FOUNDATION
    | {ROOT_PACKAGE, "registry", "online", "recommend", "rpc", "app", "client", "demo", "telemetry"}
    | {"training", "evaluation", "inspect"},
    "__main__": frozenset({"cli"}),
}

# Libraries that only these modules may know: by the start of the module's name.
CONFINED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("grpc", "grpc_health", "grpc_reflection"),
        ("recsvc.rpc.", "recsvc.client.", "recsvc.telemetry.setup.", "recsvc.pb."),
    ),
    # Messages are for those who may see recsvc/pb, and collectors' answers for who reads those.
    "google": ("recsvc.rpc.", "recsvc.client.", "recsvc.telemetry.rejections.", "recsvc.pb."),
    **dict.fromkeys(("redis", "hiredis"), ("recsvc.online.redis_",)),
}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the path of every module of recsvc."""
    for path in sorted((ROOT / "recsvc").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Say for each import of `module` that the layers forbid: its line, what it names, and what the rule is."""
    own = layer_of(module)
    if own not in ALLOWED:
        return [f"{module}: {_name(own)} is in no layer; add it to ALLOWED in {Path(__file__).name}"]
    found = []
    for line, target in imported(module, ast.parse(source), is_package=is_package):
        if problem := _forbidden(module, own, target):
            found.append(f"{module}:{line}: imports {target}, {problem}")
    return found


def _forbidden(module: str, own: str, target: str) -> str | None:
    library = target.partition(".")[0]
    if library == "recsvc":
        wanted = layer_of(target)
        if wanted == own or wanted in ALLOWED[own]:
            return None
        allowed = ", ".join(_name(layer) for layer in sorted(ALLOWED[own]))
        return f"but {_name(own)} may import {f'{allowed} only' if allowed else 'nothing of recsvc'}"
    places = CONFINED.get(library)
    if places is None or f"{module}.".startswith(places):
        return None
    return f"but {library} is for {', '.join(place.rstrip('.') for place in places)} only"


def _name(layer: str) -> str:
    return f"recsvc.{layer}" if layer else "recsvc"


def layer_of(target: str) -> str:
    """Name the layer of a dotted name in recsvc: its second part, or the root package where there is none."""
    parts = target.split(".")
    return parts[1] if len(parts) > 1 else ROOT_PACKAGE


def imported(module: str, tree: ast.Module, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield the line and the absolute dotted name of everything that is imported anywhere in the module."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=name, names=names, level=level):
                base = _absolute(module, name, level, is_package=is_package)
                members = (_member(base, alias.name) for alias in names)
                yield from ((node.lineno, target) for target in members if target != VERSION)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name
            case _:
                pass


def _absolute(module: str, name: str | None, level: int, *, is_package: bool) -> str:
    """Resolve `from ..name import` as seen from `module`."""
    if level == 0:
        return name or ""
    parts = module.split(".")
    base = parts[: len(parts) - level + (1 if is_package else 0)]
    return ".".join([*base, name] if name else base)


def _member(base: str, name: str) -> str:
    """Tell `from recsvc import rpc`, a layer, from `from recsvc import Entity`, a name of the root package."""
    return f"recsvc.{name}" if base == "recsvc" and (name in ALLOWED or name == "__version__") else base


@pytest.mark.parametrize(("module", "path"), [pytest.param(*found, id=found[0]) for found in modules()])
def test_every_module_keeps_to_its_layer(module: str, path: Path) -> None:
    """No module of recsvc imports what its layer may not know."""
    source = path.read_text(encoding="utf-8")
    assert violations(module, source, is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("recsvc.registry.model", "import recsvc.online.row", id="upwards"),
        pytest.param("recsvc.registry.model", "from recsvc import rpc", id="layer from the root package"),
        pytest.param("recsvc.online.chain", "from recsvc.rpc.convert import column", id="from a module"),
        pytest.param("recsvc.online.chain", "from ..rpc import convert", id="relative"),
        pytest.param("recsvc.online.chain", "def f():\n    import recsvc.app", id="in a function"),
        pytest.param(
            "recsvc.registry.plan",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from recsvc.online import row",
            id="for types alone",
        ),
        pytest.param("recsvc.registry.loader", "import importlib\nimportlib.import_module('recsvc.cli')", id="dynamic"),
        pytest.param("recsvc.online.chain", "from recsvc.pb import serving_pb2", id="messages outside rpc"),
        pytest.param("recsvc.app", "from recsvc.pb import serving_pb2", id="messages in app"),
        pytest.param("recsvc.app", "import grpc.aio", id="grpc outside rpc"),
        pytest.param("recsvc.telemetry.metrics", "import grpc", id="grpc in telemetry other than setup"),
        pytest.param("recsvc.app", "from redis.asyncio import Redis", id="redis in app"),
        pytest.param("recsvc.online.chain", "import redis", id="redis beside its adapters"),
        pytest.param("recsvc.rpc.server", "from google.protobuf import message\nimport redis", id="second of two"),
        pytest.param("recsvc.telemetry.hop", "from recsvc import errors", id="telemetry is a leaf"),
        pytest.param("recsvc.client", "from recsvc.registry import types", id="client knows no registry"),
        pytest.param("recsvc.client.aio", "from recsvc import Registry, __version__", id="definitions in client"),
        pytest.param("recsvc.app", "from recsvc.demo import movies", id="demo outside cli"),
        pytest.param("recsvc.app", "from recsvc.training.als import train_als", id="training in the server"),
        pytest.param("recsvc.training.examples", "from recsvc.app import running", id="training starts no server"),
        pytest.param("recsvc.training.als", "from recsvc import evaluation", id="training past its judge"),
        pytest.param("recsvc.evaluation.worlds", "from recsvc.rpc import server", id="evaluation past the app"),
        pytest.param("recsvc.__main__", "from recsvc import app", id="main past cli"),
        pytest.param("recsvc.errors", "from recsvc.config import Settings", id="errors are the ground"),
        pytest.param("recsvc.helpers", "", id="a module without a layer"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    """Each way to reach across the layers is found, once, and named."""
    found = violations(module, source)
    assert len(found) == 1
    assert found[0].startswith(module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("recsvc.cli.get", "from recsvc.client import Client\nfrom recsvc.demo import movies", id="cli"),
        pytest.param(
            "recsvc.evaluation.worlds", "from recsvc.app import running\nimport recsvc.training.als", id="judge"
        ),
        pytest.param("recsvc.app", "import recsvc.rpc.server\nfrom recsvc.online import redis_store", id="app"),
        pytest.param("recsvc.rpc.server", "import grpc.aio\nfrom recsvc.pb import serving_pb2", id="rpc"),
        pytest.param("recsvc.client", "import grpc\nfrom recsvc.pb import serving_pb2_grpc", id="client"),
        pytest.param("recsvc.client.channel", "from recsvc import __version__", id="version"),
        pytest.param("recsvc.telemetry.setup", "import grpc", id="telemetry's setup"),
        pytest.param("recsvc.online.redis_store", "from redis.asyncio import Redis\nfrom . import row", id="redis"),
        pytest.param("recsvc.online.chain", "from ..registry.plan import ReadPlan\nimport numpy", id="downwards"),
        pytest.param("recsvc.demo.movies", "from recsvc import Entity, FeatureView", id="demo as a user"),
        pytest.param("recsvc.config", "from recsvc.errors import ConfigError", id="config raises errors"),
    ],
)
def test_what_the_layers_allow_is_not_reported(module: str, source: str) -> None:
    """The checker leaves legal imports alone."""
    assert violations(module, source) == []


def test_relative_imports_of_a_package_start_at_the_package_itself() -> None:
    """In an `__init__.py` one dot is the package, not the one above."""
    assert violations("recsvc.online", "from .row import decode", is_package=True) == []
    assert len(violations("recsvc.online", "from ..rpc import convert", is_package=True)) == 1
    assert len(violations("recsvc", "from .rpc import convert", is_package=True)) == 1
