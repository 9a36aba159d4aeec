"""Redis URLs: what each form means, that mistakes are explained, and that no password is ever shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recsvc.errors import ConfigError
from recsvc.online.redis_connect import ConnectionSettings, connect, parse
from recsvc.online.redis_url import Credentials, RedisTarget, TlsOptions, Topology

SETTINGS = ConnectionSettings(connect_timeout_s=0.3, max_connections=7)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ports = st.integers(1, 65535)
hosts = st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True) | st.ip_addresses(v=4).map(str)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", RedisTarget("redis", Topology.STANDALONE, (("localhost", 6379),))),
        ("REDIS://h:1/", RedisTarget("redis", Topology.STANDALONE, (("h", 1),))),
        (" redis://h:1/15\n", RedisTarget("redis", Topology.STANDALONE, (("h", 1),), db=15)),
        ("redis://[::1]", RedisTarget("redis", Topology.STANDALONE, (("::1", 6379),))),
        ("redis://[::1]:7/2", RedisTarget("redis", Topology.STANDALONE, (("::1", 7),), db=2)),
        (
            "redis://:a%40b@h",
            RedisTarget("redis", Topology.STANDALONE, (("h", 6379),), credentials=Credentials("default", "a@b")),
        ),
        (
            "redis://u%3A:p@w@h",
            RedisTarget("redis", Topology.STANDALONE, (("h", 6379),), credentials=Credentials("u:", "p@w")),
        ),
        ("unix:///a/b@c.sock", RedisTarget("unix", Topology.STANDALONE, path="/a/b@c.sock")),
        (
            "unix://u:p@/a%20b%40c.sock?db=3",
            RedisTarget("unix", Topology.STANDALONE, path="/a b@c.sock", db=3, credentials=Credentials("u", "p")),
        ),
        (
            "rediss://h?ca=/ca%40.pem&cert=c.pem&key=k+.pem&check_hostname=No",
            RedisTarget(
                "rediss",
                Topology.STANDALONE,
                (("h", 6379),),
                tls=TlsOptions(Path("/ca@.pem"), Path("c.pem"), Path("k+.pem"), check_hostname=False),
            ),
        ),
        ("redis+cluster://a:1,b", RedisTarget("redis+cluster", Topology.CLUSTER, (("a", 1), ("b", 6379)))),
        (
            "rediss+cluster://a:1/0",
            RedisTarget("rediss+cluster", Topology.CLUSTER, (("a", 1),), tls=TlsOptions()),
        ),
        (
            "redis+sentinel://u:p@a,b:2/m%2Fx/4?sentinel_password=s%26",
            RedisTarget(
                "redis+sentinel",
                Topology.SENTINEL,
                (("a", 26379), ("b", 2)),
                db=4,
                service="m/x",
                credentials=Credentials("u", "p"),
                sentinel_credentials=Credentials("default", "s&"),
            ),
        ),
    ],
)
def test_every_form_is_understood(url: str, expected: RedisTarget) -> None:
    """Each form of URL gives the target that it describes."""
    assert parse(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:6379", "has no scheme"),
        ("http://h", "starts with none of redis://"),
        ("redis://", "no valid host"),
        ("redis://h h", "no valid host"),
        ("redis://[::1", "no valid host"),
        ("redis://[zz]:1", "no valid host"),
        ("redis://h:", "port that is no number"),
        ("redis://h:0", "from 1 to 65535"),
        ("redis://h:65536", "from 1 to 65535"),
        ("redis://h:99999999999999999999", "from 1 to 65535"),
        ("redis://h:²", "from 1 to 65535"),
        ("redis://user:secret", "a password before an @"),
        ("redis://user@h", "user:password@"),
        ("redis://:%ff@h", "not percent-encoded UTF-8"),
        ("redis://h/one", "database that is no number"),
        ("redis://h/1/2", "too many parts"),
        ("redis://a,b", "several hosts: only redis+cluster://"),
        ("redis://h?ca=/x", "TLS options need a rediss"),
        ("redis://h#x", "%23"),
        ("redis://:a/b@h", "%2F"),
        ("redis://:a?b@h", "%3F"),
        ("unix://u:a@/b@/s.sock", "%40"),
        ("unix://", "no absolute path"),
        ("unix://tmp/redis.sock", "no absolute path"),
        ("unix:///s?db=x", "database that is no number"),
        ("rediss://h?ca=a&ca=b", "option ca twice"),
        ("rediss://h?key=k", "add cert=PATH"),
        ("rediss://h?check_hostname=perhaps", "neither yes nor no"),
        ("redis+cluster://a/1", "only database 0"),
        ("redis+sentinel://a", "does not name the service"),
        ("redis+sentinel://a/m?sentinel_user=u", "without a sentinel_password"),
    ],
)
def test_a_mistake_is_explained(url: str, words: str) -> None:
    """A wrong URL is a ConfigError of one line that says what would be right."""
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(user=text, password=text, host=hosts, port=ports, db=st.integers(0, 9999))
def test_any_login_survives_percent_encoding(user: str, password: str, host: str, port: int, db: int) -> None:
    """Whatever user and password are, percent-encoded they arrive as they were."""
    target = parse(f"redis://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}/{db}")
    assert target.credentials == Credentials(user or "default", password)
    assert (target.nodes, target.db) == (((host, port),), db)


@given(nodes=st.lists(st.tuples(hosts, ports), min_size=1, max_size=5), service=text.filter(bool))
def test_lists_of_hosts_keep_their_order(nodes: list[tuple[str, int]], service: str) -> None:
    """All hosts of a Cluster or Sentinel URL are there, in order, and any service name is possible."""
    listed = ",".join(f"{host}:{port}" for host, port in nodes)
    assert parse(f"redis+cluster://{listed}").nodes == tuple(nodes)
    target = parse(f"redis+sentinel://{listed}/{quote(service, safe='')}")
    assert (target.nodes, target.service) == (tuple(nodes), service)


@settings(max_examples=1000)
@given(
    scheme=st.sampled_from(["redis", "rediss", "unix", "redis+cluster", "redis+sentinel", "redi"]),
    delimiters=st.text("/?#@:%,[]&= \n\\é", max_size=5),
    tail=st.sampled_from(["@h:1/0", "@h:1/m/0", "@/s.sock", "@h:1?db=0", "@h:1?ca=x", "", "@", "@h:port", "@h,h"]),
)
def test_a_password_is_never_shown(scheme: str, delimiters: str, tail: str) -> None:
    """Neither an error nor a repr shows a piece of the password, even if it was not percent-encoded."""
    assume(
        "@" not in delimiters or tail.startswith("@")
    )  # Else what follows the @ is a host, as far as anyone can tell.
    url = f"{scheme}://user:FirstHalf{delimiters}SecondHalf{tail}"
    try:
        target = parse(url)
    except ConfigError as error:
        shown = f"{error} {error!r} {error.__cause__} {error.__suppress_context__}"
    else:
        shown = f"{target} {target!r} {target.safe} {target.credentials!r}"
    assert "FirstHalf" not in shown
    assert "SecondHalf" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:hidden@h",
        "rediss://u:hidden@h",
        "unix://u:hidden@/s",
        "redis+cluster://u:hidden@h",
        "redis+sentinel://u:hidden@h/m?sentinel_password=hidden",
    ],
)
async def test_a_client_shows_no_password(url: str) -> None:
    """The repr of a client, with all that redis-py keeps in it, has no password."""
    client = connect(parse(url), settings=SETTINGS)
    assert "hidden" not in repr(client)
    assert "hidden" not in repr(vars(client))
    await client.aclose()


def test_safe_is_still_a_useful_url() -> None:
    """`safe` names scheme, user, hosts, service and database."""
    url = "redis+sentinel://app:pw@a:1,[::1]:2/m%2Fx/4?sentinel_password=pw"
    assert parse(url).safe == "redis+sentinel://app:***@a:1,[::1]:2/m%2Fx/4"
    assert parse("unix://app:pw@/a%20b.sock").safe == "unix://app:***@/a%20b.sock"


@pytest.mark.parametrize("name", ["ca", "cert"])
def test_tls_files_that_cannot_be_read_are_named(name: str, tmp_path: Path) -> None:
    """A TLS file that is missing or is no PEM is a ConfigError when the client is made, not at the first read."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for path in (tmp_path / "none.pem", wrong):
        with pytest.raises(ConfigError, match=f"{name}={path}"):
            connect(parse(f"rediss://h?{name}={path}"), settings=SETTINGS)
