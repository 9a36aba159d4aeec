"""The container's health check, against a server that serves, and one that does not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.deploy.files import DEPLOY
from tests.e2e.serving import definitions, started
from tests.parts.topologies import Endpoint
from tests.parts.waiting import wait_until


def status(address: str) -> int:
    """Return the exit status of the health check for a server."""
    done = subprocess.run([sys.executable, DEPLOY / "docker" / "healthcheck.py", address], check=False)
    return done.returncode


def test_health_follows_the_server(redis_8: Endpoint, tmp_path: Path) -> None:
    """It is 0 while the server serves, and 1 from when it is told to stop until after its end."""
    words = ("--listen", "127.0.0.1:0", "--redis", redis_8.url, "--lame-duck-s", 4, "--refuse-s", 0)
    with started(tmp_path, definitions(tmp_path), *words) as process:
        server = process.announced()
        assert status(server.address) == 0
        server.signal(signal.SIGTERM)
        wait_until(lambda: status(server.address) == 1, 3.0)
        assert server.process.poll() is None, "it still serves who does not look"
    assert status(server.address) == 1
