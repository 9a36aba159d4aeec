"""Redis URLs: what a user writes to say which Redis, parsed into a `RedisTarget` that never shows its passwords.

    redis://[user:password@]host[:port][/db]                    one server over TCP
    unix://[user:password@]/path/to/redis.sock[?db=0]           one server on a unix socket
    redis+cluster://[user:password@]h1:p1[,h2:p2…]              Redis Cluster; any of its nodes
    redis+sentinel://[user:password@]h1:p1[,h2:p2…]/SERVICE[/db] the master that the Sentinels name
    rediss://, rediss+cluster://, rediss+sentinel://            the same over TLS

TLS options: `ca=PATH` (default: the system's), `cert=PATH` and `key=PATH` (ours), `check_hostname=no`. Sentinel
options: `sentinel_user=`, `sentinel_password=`, because the Sentinels' accounts are not those of the servers they
watch. User, password, socket path and options are percent-decoded.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, unquote

from recsvc.errors import ConfigError

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
_MAX_PORT = 65535
_HOST_NAME = re.compile(r"[\w.-]+")
_TLS_OPTIONS = frozenset({"ca", "cert", "key", "check_hostname"})
_SENTINEL_OPTIONS = frozenset({"sentinel_user", "sentinel_password"})
_SWITCH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_ENCODE = "the characters / ? # @ % in a user, password or option are written %2F %3F %23 %40 %25"


class Topology(Enum):
    """How the servers behind a URL are found."""

    STANDALONE = "standalone"
    CLUSTER = "cluster"
    SENTINEL = "sentinel"


_SCHEMES = {
    "redis": (Topology.STANDALONE, False),
    "rediss": (Topology.STANDALONE, True),
    "unix": (Topology.STANDALONE, False),
    "redis+cluster": (Topology.CLUSTER, False),
    "rediss+cluster": (Topology.CLUSTER, True),
    "redis+sentinel": (Topology.SENTINEL, False),
    "rediss+sentinel": (Topology.SENTINEL, True),
}


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """Files (PEM) of a TLS connection; without `ca` the system's authorities are trusted."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    check_hostname: bool = True


@dataclass(frozen=True, slots=True)
class Credentials:
    """An ACL user and its password; the password is in no `repr`."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class RedisTarget:
    """Where a Redis is and how to log in.

    `nodes` are (host, port); for a unix socket they are empty and `path` is set instead.
    """

    scheme: str
    topology: Topology
    nodes: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    db: int = 0
    service: str | None = None
    credentials: Credentials | None = None
    sentinel_credentials: Credentials | None = None
    tls: TlsOptions | None = None

    @property
    def safe(self) -> str:
        """The URL for logs and error messages: the user's name, never the password, no options."""
        login = f"{quote(self.credentials.user, safe='')}:***@" if self.credentials else ""
        return f"{self.scheme}://{login}{self.place}{f'/{self.db}' if self.db and self.path is None else ''}"

    @property
    def place(self) -> str:
        """Where it is: HOST:PORT of one or more nodes, with the service of Sentinels; or a socket's path."""
        if self.path is not None:
            return quote(self.path)
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        return hosts + (f"/{quote(self.service, safe='')}" if self.service is not None else "")

    def __repr__(self) -> str:
        return f"RedisTarget({self.safe})"


@dataclass(frozen=True, slots=True)
class _Parts:
    """A URL cut at its delimiters, nothing decoded."""

    scheme: str
    login: str | None
    hosts: str
    path: str
    options: str


def parse(url: str) -> RedisTarget:
    """Parse a Redis URL.

    Raises ConfigError, which says what is wrong and what would be right. It quotes nothing of the URL but its scheme
    and the names of known options: in a URL with a delimiter too few, any other part may be a piece of the password.
    """
    parts = _split(url)
    topology, tls = _SCHEMES[parts.scheme]
    options = _options(parts, _allowed_options(parts.scheme, topology, tls=tls))
    credentials = _credentials(parts)
    if parts.scheme == "unix":
        return _unix_target(parts, options, credentials)
    service, db = _service_and_db(parts, topology)
    return RedisTarget(
        scheme=parts.scheme,
        topology=topology,
        nodes=_nodes(parts, topology),
        db=db,
        service=service,
        credentials=credentials,
        sentinel_credentials=_sentinel_credentials(parts, options),
        tls=_tls_options(parts, options) if tls else None,
    )


def _wrong(scheme: str, problem: str) -> NoReturn:
    raise ConfigError(f"the {scheme}:// URL of Redis {problem}") from None


def _split(url: str) -> _Parts:
    scheme, found, rest = url.strip().partition("://")
    scheme = scheme.lower()
    if not found:
        raise ConfigError("the URL of Redis has no scheme: write, for example, redis://localhost:6379")
    if scheme not in _SCHEMES:
        raise ConfigError(f"the URL of Redis starts with none of {', '.join(f'{name}://' for name in _SCHEMES)}")
    rest, fragment, _ = rest.partition("#")
    rest, _, options = rest.partition("?")
    authority, slash, path = rest.partition("/")
    # `unix:///a@b.sock` is plain; after a login, an @ in the path may as well be one in the password.
    if fragment or "@" in options or ("@" in path and (scheme != "unix" or "@" in authority)):
        _wrong(scheme, f"has a delimiter where none belongs: {_ENCODE}")
    login, at, hosts = authority.rpartition("@")
    return _Parts(scheme, login if at else None, hosts, slash + path, options)


def _decode(parts: _Parts, text: str, what: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        _wrong(parts.scheme, f"has {what} that is not percent-encoded UTF-8")


def _credentials(parts: _Parts) -> Credentials | None:
    if parts.login is None:
        return None
    user, colon, password = parts.login.partition(":")
    if not colon:
        _wrong(parts.scheme, "has a user without a password: write user:password@, or :password@ for the default user")
    return Credentials(_decode(parts, user, "a user") or "default", _decode(parts, password, "a password"))


def _nodes(parts: _Parts, topology: Topology) -> tuple[tuple[str, int], ...]:
    default = DEFAULT_SENTINEL_PORT if topology is Topology.SENTINEL else DEFAULT_PORT
    nodes = tuple(_node(parts, text, default) for text in parts.hosts.split(","))
    if len(nodes) > 1 and topology is Topology.STANDALONE:
        _wrong(
            parts.scheme,
            f"names several hosts: only {parts.scheme}+cluster:// and {parts.scheme}+sentinel:// take a list",
        )
    return nodes


def _node(parts: _Parts, text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        valid = bool(bracket) and rest[:1] in {"", ":"} and _is_ipv6(host)
        port = rest[1:] if rest else str(default_port)
    else:
        host, colon, port = text.partition(":")
        valid = _HOST_NAME.fullmatch(host) is not None
        port = port if colon else str(default_port)
    if not valid:
        _wrong(parts.scheme, f"has no valid host: write host:port or [IPv6]:port after the last @; {_ENCODE}")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= _MAX_PORT):
        _wrong(
            parts.scheme,
            f"has a port that is no number from 1 to {_MAX_PORT}: write host:port, and a password before an @",
        )
    return host, int(port)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _service_and_db(parts: _Parts, topology: Topology) -> tuple[str | None, int]:
    segments = [part for part in parts.path.split("/") if part]
    service = None
    if topology is Topology.SENTINEL:
        if not segments:
            _wrong(
                parts.scheme,
                "does not name the service: write /SERVICE (the master's name in Sentinel) after the hosts",
            )
        service = _decode(parts, segments.pop(0), "a service name")
    if len(segments) > 1:
        _wrong(parts.scheme, "has too many parts after the hosts: at most a database number")
    db = _db(parts, segments[0]) if segments else 0
    if topology is Topology.CLUSTER and db:
        _wrong(parts.scheme, "names a database: Redis Cluster has only database 0")
    return service, db


def _db(parts: _Parts, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len("65535")):
        _wrong(parts.scheme, "has a database that is no number: write, for example, /0")
    return int(text)


def _unix_target(parts: _Parts, options: dict[str, str], credentials: Credentials | None) -> RedisTarget:
    if parts.hosts or len(parts.path) <= 1:
        _wrong(parts.scheme, "has no absolute path: write unix:///path/to/redis.sock or unix://user:password@/path/…")
    return RedisTarget(
        scheme=parts.scheme,
        topology=Topology.STANDALONE,
        path=_decode(parts, parts.path, "a path"),
        db=_db(parts, options.get("db", "0")),
        credentials=credentials,
    )


def _allowed_options(scheme: str, topology: Topology, *, tls: bool) -> frozenset[str]:
    allowed = frozenset({"db"}) if scheme == "unix" else frozenset()
    allowed |= _TLS_OPTIONS if tls else frozenset()
    return allowed | (_SENTINEL_OPTIONS if topology is Topology.SENTINEL else frozenset())


def _options(parts: _Parts, allowed: frozenset[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for option in filter(None, parts.options.split("&")):
        name, _, value = option.partition("=")
        if name not in allowed:
            known = f"it takes {', '.join(sorted(allowed))}" if allowed else "it takes none"
            hint = "; TLS options need a rediss… URL" if name in _TLS_OPTIONS else ""
            _wrong(parts.scheme, f"has an unknown option: {known}{hint}")
        if name in options:
            _wrong(parts.scheme, f"has the option {name} twice")
        options[name] = _decode(parts, value, f"a value of {name}")
    return options


def _tls_options(parts: _Parts, options: dict[str, str]) -> TlsOptions:
    files = {name: Path(options[name]) for name in ("ca", "cert", "key") if options.get(name)}
    if "key" in files and "cert" not in files:
        _wrong(parts.scheme, "has a key without a cert: add cert=PATH")
    switch = options.get("check_hostname", "yes").lower()
    if switch not in _SWITCH:
        _wrong(parts.scheme, "has a check_hostname that is neither yes nor no")
    return TlsOptions(files.get("ca"), files.get("cert"), files.get("key"), check_hostname=_SWITCH[switch])


def _sentinel_credentials(parts: _Parts, options: dict[str, str]) -> Credentials | None:
    if "sentinel_password" in options:
        return Credentials(options.get("sentinel_user") or "default", options["sentinel_password"])
    if "sentinel_user" in options:
        _wrong(parts.scheme, "has a sentinel_user without a sentinel_password")
    return None
