"""Feast, the peer in benchmarks, in a virtual environment of its own: it pins other versions of what recsvc uses.

It lies with the other parts (RECSVC_PARTS_CACHE, else ~/.cache/recsvc-parts), and is installed once; takes a minute.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.parts import missing
from tests.parts.redis_binaries import parts_cache

VERSION: Final = "0.67.0"
_REQUIREMENT: Final = f"feast[redis,grpcio]=={VERSION}"


def feast_python() -> Path:
    """Return the Python that has Feast, installing it if need be; where that fails it is a missing part."""
    return installed() or _install()


def installed() -> Path | None:
    """Return the Python that has Feast, None where there is none yet."""
    python = _folder() / "bin" / "python"
    return python if python.exists() else None


def _folder() -> Path:
    return parts_cache() / f"feast-{VERSION.replace('.', '-')}"


def _install() -> Path:
    target = _folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"installing {_REQUIREMENT} into {target}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        fresh = Path(scratch) / "feast"
        _run(sys.executable, "-m", "venv", fresh)
        _run(fresh / "bin" / "python", "-m", "pip", "install", "--quiet", _REQUIREMENT)
        fresh.replace(target)  # Whole or not at all. Its scripts name the old place, its Python does not care.
    return target / "bin" / "python"


def _run(*command: str | Path) -> None:
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        missing(f"{_REQUIREMENT} cannot be installed: {reason}")
