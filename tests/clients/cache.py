"""Clients of other languages are built once, outside the repository, and found again by name and version."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.parts import missing


def built(name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder ``name`` of the parts cache (RECSVC_PARTS_CACHE); ``build`` fills it if it is not there."""
    cache = Path(os.environ.get("RECSVC_PARTS_CACHE") or Path.home() / ".cache" / "recsvc-parts")
    target = cache / name
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        build(fresh)
        _move(fresh, target)
    return target


def _move(fresh: Path, target: Path) -> None:
    """Give a folder its final name, whole or not at all; where two build at once, the first one stays."""
    try:
        fresh.rename(target)
    except OSError:
        if not target.exists():
            raise


def run_build(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a build in ``folder``; one that fails (without a network, say) is a missing part."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"`{' '.join(map(str, command))}` failed: {done.stderr.strip()[-500:]}")
