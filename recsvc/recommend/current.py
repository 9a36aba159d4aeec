"""The file CURRENT beside the versions of something: it names the one to serve, and is swapped in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

CURRENT: Final = "CURRENT"


def point(root: Path, version: str) -> None:
    """Make CURRENT name a version. Whoever reads it sees the old name or the new one. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f".{CURRENT}-", dir=root)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{version}\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o644)  # mkstemp's is for its maker alone
        unfinished.replace(root / CURRENT)
    finally:
        unfinished.unlink(missing_ok=True)


def pointed(root: Path) -> str | None:
    """Return what CURRENT names; None where there is no CURRENT. Raises OSError, or ValueError where it is no text."""
    try:
        return (root / CURRENT).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
