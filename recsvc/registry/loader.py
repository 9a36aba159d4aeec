"""Finds the Registry that a user's Python file or module defines."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import ModuleType

from recsvc.errors import ConfigError, DefinitionError
from recsvc.registry.registry import Registry

_loads = count(1)
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_STDLIB = sysconfig.get_path("stdlib")
_PACKAGE = Path(__file__).parents[1]


def load(spec: str) -> Registry:
    """Load definitions from ``path/to/file.py``, ``package.module``, or either with ``:name`` of the Registry in it.

    They are read anew each time, a file with the modules beside it, a module with those of its package. Raises
    ConfigError where nothing can be found or the file fails, DefinitionError where its definitions are wrong.
    """
    target, name = _split(spec)
    is_file = target.endswith(".py") or "/" in target
    module = _from_file(Path(target)) if is_file else _from_module(target)
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
    with _failures_named(str(path)), _read_anew(), _beside(path.resolve().parent):
        sys.modules[name] = module  # dataclasses and inspect look the module up
        try:
            found.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module


@contextmanager
def _read_anew() -> Iterator[None]:
    """Leave no compiled files: they are told apart by seconds and size, which an edit need not change."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Let the file import its neighbours, and forget those afterwards so that the next load reads them again."""
    before = {name.partition(".")[0] for name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] not in before and _is_neighbour(module, folder):
                del sys.modules[name]


def _is_neighbour(module: ModuleType, folder: Path) -> bool:
    """Whether a module lies in the folder, and not in an environment with libraries that is in the folder, too."""
    file = getattr(module, "__file__", None)
    if not file or module.__name__.startswith("recsvc_definitions_"):
        return False
    path = Path(file)
    return path.is_relative_to(folder) and _INSTALLED.isdisjoint(path.relative_to(folder).parts)


def _from_module(name: str) -> ModuleType:
    with _failures_named(name), _read_anew():
        forgotten = _forget(name)
        try:
            return importlib.import_module(name)
        except BaseException as error:
            sys.modules.update(forgotten)  # what runs goes on with what it had
            if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
                raise ConfigError(f"definitions: {name} is neither a Python file nor a module") from None
            raise


def _forget(name: str) -> dict[str, ModuleType]:
    """Take a module and its siblings in its package out of sys.modules; recsvc's own are no user's."""
    package = name.rpartition(".")[0]
    siblings = f"{package}." if package and package.partition(".")[0] != "recsvc" else None
    forgotten = {n: m for n, m in sys.modules.items() if n == name or (siblings and n.startswith(siblings))}
    for known in forgotten:
        del sys.modules[known]
    return forgotten


@contextmanager
def _failures_named(where: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one line with the place in their file."""
    try:
        yield
    except (ConfigError, DefinitionError):
        raise
    except (Exception, SystemExit) as error:  # user code: anything can come out of it
        text = " ".join(str(error).split())
        raise ConfigError(f"definitions: {where} failed{_place(error)}: {type(error).__name__}: {text}") from error


def _place(error: BaseException) -> str:
    """Name the user's line that failed: the last one that belongs to no library."""
    if isinstance(error, SyntaxError):
        return f" at {error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen ")]
    frames = [f for f in frames if not _is_library(Path(f.filename))] or frames[-1:]
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _is_library(path: Path) -> bool:
    return not _INSTALLED.isdisjoint(path.parts) or path.is_relative_to(_STDLIB) or path.is_relative_to(_PACKAGE)


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
