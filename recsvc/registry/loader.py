"""Finds the Registry that a user's Python file or module defines."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import ModuleType

from recsvc.errors import ConfigError, DefinitionError
from recsvc.registry.registry import Registry

_loads = count(1)


def load(spec: str) -> Registry:
    """Load definitions from ``path/to/file.py``, ``package.module``, or either with ``:name`` of the Registry in it.

    Files are read anew each time, with the modules beside them. Raises ConfigError where nothing can be found or the
    file fails, DefinitionError where its definitions are wrong.
    """
    target, name = _split(spec)
    if target.endswith(".py") or "/" in target:
        module = _from_file(Path(target))
    else:
        module = _from_module(target)
    return _registry(module, target, name)


def _split(spec: str) -> tuple[str, str | None]:
    target, colon, name = spec.rpartition(":")
    if colon and name.isidentifier():
        return target, name
    return spec, None


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"definitions: {path} is not a file")
    name = f"recsvc_definitions_{next(_loads)}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ConfigError(f"definitions: {path} is not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(found)
    with _beside(path.resolve().parent), _failures_named(str(path)):
        sys.modules[name] = module  # dataclasses and inspect look the module up
        found.loader.exec_module(module)
    return module


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Let the file import its neighbours, and forget those afterwards so that the next load reads them again."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(folder):
                del sys.modules[name]


def _from_module(name: str) -> ModuleType:
    with _failures_named(name):
        if name in sys.modules:
            return importlib.reload(sys.modules[name])
        return importlib.import_module(name)


@contextmanager
def _failures_named(where: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one line with the place in their file."""
    try:
        yield
    except DefinitionError:
        raise
    except (Exception, SystemExit) as error:  # user code: anything can come out of it
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else where
        raise ConfigError(f"definitions: {where} failed at {place}: {type(error).__name__}: {error}") from error


def _registry(module: ModuleType, where: str, name: str | None) -> Registry:
    if name is not None:
        found = getattr(module, name, None)
        if isinstance(found, Registry):
            return found
        raise ConfigError(f"definitions: {where} has no Registry named {name!r}")
    registries = {n: v for n, v in vars(module).items() if isinstance(v, Registry)}
    if len({id(r) for r in registries.values()}) == 1:
        return next(iter(registries.values()))
    if not registries:
        raise ConfigError(f"definitions: {where} has no Registry; write `registry = Registry(views=[...])` in it")
    listed = ", ".join(sorted(registries))
    raise ConfigError(f"definitions: {where} has several registries ({listed}); name one: {where}:{min(registries)}")
