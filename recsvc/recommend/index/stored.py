"""What an index must offer beyond searching, so that it can be written to a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from recsvc.recommend.index.manifest import IvfManifest
from recsvc.recommend.index.protocol import VectorIndex
from recsvc.recommend.index.table import VectorTable


class Stored(VectorIndex, Protocol):
    """An index over a table in memory."""

    @property
    def table(self) -> VectorTable:
        """Its vectors and ids."""
        ...

    def save_lists(self, directory: Path) -> IvfManifest | None:
        """Write what it needs beside the table to the directory; None: it needs nothing."""
        ...
