"""What the project says of itself is true: versions, README's commands, dependencies, and the size of things."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import recsvc

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FILE = 400
LONGEST_FUNCTION = 70


@cache
def project() -> dict[str, Any]:
    """Read the [project] table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def requirements() -> Iterator[Requirement]:
    """Yield what the core and every extra ask for, less the references from one extra to another."""
    extras = project()["optional-dependencies"].values()
    for text in [*project()["dependencies"], *(line for extra in extras for line in extra)]:
        requirement = Requirement(text)
        if requirement.name != project()["name"]:
            yield requirement


def locked() -> dict[str, str]:
    """Read the versions of requirements.lock by canonical name."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = (line.partition(" ;")[0].split("==") for line in lines if re.match(r"[A-Za-z0-9]", line))
    return {canonicalize_name(name): version.strip() for name, version in pins}


def sources() -> list[Path]:
    """List the files of recsvc that people write."""
    files = sorted((ROOT / "recsvc").rglob("*.py"))
    return [path for path in files if "_pb2" not in path.name]


def sh_blocks(text: str) -> list[list[str]]:
    """Find the `sh` blocks of a Markdown text: the lines of each."""
    return [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]


def test_version_is_the_same_in_code_and_metadata() -> None:
    """The version that the package tells is the one it is published under."""
    assert recsvc.__version__ == project()["version"]


@pytest.mark.parametrize("number", [1, 2])
def test_readme_starts_with_two_commands_of_one_line(number: int) -> None:
    """A newcomer copies one line to see the demo and one line to run the tests."""
    blocks = sh_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(blocks) >= number, f"README.md has {len(blocks)} sh blocks"
    assert len(blocks[number - 1]) == 1


def test_lock_satisfies_every_declared_dependency() -> None:
    """A version of each dependency is locked, and it is one that pyproject.toml allows."""
    pins = locked()
    missing = [
        f"{requirement} (locked: {pins.get(canonicalize_name(requirement.name))})"
        for requirement in requirements()
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
    ]
    assert missing == [], "run .ci/lock"


def test_lock_names_no_place_to_download_from() -> None:
    """Where packages come from is the user's setting, not ours."""
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_every_third_party_import_is_declared() -> None:
    """No module leans on a package that is there only because another one brought it."""
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    providers = packages_distributions()
    undeclared = sorted(
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources()
        for name in third_party(path)
        if declared.isdisjoint(canonicalize_name(provider) for provider in providers.get(name, [name]))
    )
    assert undeclared == []


def third_party(path: Path) -> set[str]:
    """Collect the top-level packages that a file imports and that neither Python nor recsvc has."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"recsvc"}


def test_no_file_is_too_long() -> None:
    """A file has one concept: past 400 lines it has two."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_too_long() -> None:
    """A function is read in one look: 70 lines at most."""
    lengths = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}
