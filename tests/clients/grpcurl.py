"""grpcurl as a client: it knows nothing of the contract but what server reflection tells it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.clients.cache import built, run_build
from tests.parts import missing

VERSION: Final = "v1.9.3"
MODULE: Final = "github.com/fullstorydev/grpcurl/cmd/grpcurl"
MAX_REPLY_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Grpcurl:
    """Calls a server in the clear."""

    program: Path

    @classmethod
    def prepared(cls) -> Self:
        """Return the pinned version, built with Go at the first time (half a minute)."""
        return cls(built(f"grpcurl-{VERSION}", _build) / "grpcurl")

    def call(
        self, address: str, method: str, request: dict[str, Any], service: str = "recsvc.v1.ServingService"
    ) -> Any:  # noqa: ANN401  # JSON
        """Return the reply as JSON; ``request`` is JSON by the names of the contract. A failed call fails the test."""
        options = ["-plaintext", "-max-time", "20", "-max-msg-sz", str(MAX_REPLY_BYTES), "-d", "@"]
        return json.loads(self._run([*options, address, f"{service}/{method}"], json.dumps(request)))

    def services(self, address: str) -> list[str]:
        """Return what reflection lists."""
        return self._run(["-plaintext", "-max-time", "20", address, "list"]).split()

    def _run(self, arguments: list[str], given: str = "") -> str:
        done = subprocess.run([self.program, *arguments], input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _build(folder: Path) -> None:
    go = shutil.which("go")
    if go is None:
        missing(f"no Go on PATH, which builds grpcurl {VERSION}")
    run_build([go, "install", f"{MODULE}@{VERSION}"], folder, {"GOBIN": str(folder)})
