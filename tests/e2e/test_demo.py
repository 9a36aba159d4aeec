"""The demo as a user runs it, and every value that it serves against plain loops over the raw files."""

from __future__ import annotations

import socket
import subprocess
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsvc.cli.main import main
from recsvc.client import Client
from recsvc.demo.definitions import registry
from tests.e2e.demo_server import REQUEST_TIME, WAIT, DemoServer
from tests.e2e.oracle import Sample, check
from tests.e2e.serving import command, environment


def test_demo_once_shows_both_calls_and_ends(tmp_path: Path) -> None:
    """`recsvc demo --once` makes up data, shows an answer of each method with nothing degraded, and ends with 0."""
    words = command("demo", "--once", "--redis-timeout-ms", 5_000)
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "GetFeatures: user 196" in done.stdout
    assert "GetFeaturesBatch: user 196 x 500 films" in done.stdout
    lines = done.stdout.splitlines()
    degraded = [line for line in lines if "degraded" in line]
    # A source has 50 ms, as in earnest, and a busy machine may not give it those.
    assert [line for line in degraded if "SOURCE_TIMED_OUT" not in line] == []
    assert [line for line in lines if line != line.rstrip()] == []
    assert any(line.split()[:4] == ["live:mean_difference", "-0.244211", "PRESENT", "COMPUTED"] for line in lines)


def test_demo_does_not_touch_the_store_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A RECSVC_REDIS that happens to be set is not where the demo writes: here it could not even be reached."""
    monkeypatch.setenv("RECSVC_REDIS", "redis://127.0.0.1:1")
    done = subprocess.run(command("demo", "--once"), capture_output=True, cwd=tmp_path, timeout=90, check=False)
    assert done.returncode == 0


def test_demo_warns_of_slips_and_takes_the_level_of_its_log(tmp_path: Path) -> None:
    """A variable that looks like a setting is a warning, as of `serve`, and RECSVC_LOG_LEVEL may silence it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = command("demo", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")

        def told(**variables: str) -> str:
            env = environment(tmp_path, {"RECSVC_LISTE": "127.0.0.1:1", **variables})
            done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=90, check=False)
            assert (done.returncode, done.stdout) == (1, "")
            return done.stderr

        assert "RECSVC_LISTE is no setting and changes nothing; is RECSVC_LISTEN meant?" in told()
        assert told(RECSVC_LOG_LEVEL="error").startswith("recsvc: cannot listen on ")


def test_demo_offers_what_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """It makes its own indexes, and reads its store from the flag alone."""
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--index-dir" not in shown
    assert "[embedded, whatever RECSVC_REDIS says]" in shown
    assert "[warning; RECSVC_LOG_LEVEL]" in shown


def test_every_served_feature_of_random_users_and_films(demo_server: DemoServer) -> None:
    """Every feature and event time of 200 users, films and pairs, read over gRPC, is what plain loops give."""
    sample = demo_server.plain.sample(seed=21, count=200)
    check(demo_server.plain.read(*sample), demo_server.read(*sample))


def test_one_user_and_500_films_in_one_call(demo_server: DemoServer) -> None:
    """A ranking call is what plain loops give: features of the user once, of the films and pairs for each."""
    user, films = demo_server.user_ids[0], list(demo_server.item_ids)[:500]
    sample = Sample([user], films, [(user, film) for film in films])
    expected = demo_server.plain.read(*sample)
    check(expected, demo_server.read(*sample))
    with Client(demo_server.address, timeout=WAIT) as client:
        entities = {"user_id": [user], "item_id": films}
        batch = client.get_features_batch(entities, service="ranking", context=demo_server.context(len(films)))
    assert not batch.degraded
    for name in batch.names:
        assert len(batch[name]) == (1 if len(expected[name]) == 1 or _is_of_user(name) else len(films)), name


def _is_of_user(name: str) -> bool:
    return name == "live:hours_since_last_rating"


@pytest.mark.parametrize("name", [f"live:{f.name}" for v in registry.on_demand.values() for f in v.features])
def test_served_on_demand_features_have_the_bits_of_a_training_table(
    demo_server: DemoServer, tmp_path: Path, name: str
) -> None:
    """A served on-demand value has the very bits that its function gives over a Parquet file of served inputs."""
    feature = next(f for v in registry.on_demand.values() for f in v.features if f"live:{f.name}" == name)
    pairs = demo_server.plain.sample(seed=22, count=500).pairs[:1000]
    entities = {"user_id": [user for user, _ in pairs], "item_id": [item for _, item in pairs]}
    references = [name, *feature.inputs.values()]
    with Client(demo_server.address, timeout=WAIT) as client:
        batch = client.get_features_batch(entities, features=references, context=demo_server.context(len(pairs)))
    table = pa.table({p: pa.array(batch[r].expanded(batch.rows).values) for p, r in feature.inputs.items()})
    pq.write_table(table, tmp_path / "inputs.parquet")

    read = pq.read_table(tmp_path / "inputs.parquet")
    arrays = {p: read[p].cast(pa.int64()) if pa.types.is_timestamp(read[p].type) else read[p] for p in feature.inputs}
    offline = feature.function(**{p: a.to_numpy() for p, a in arrays.items()})

    served = batch[name].expanded(batch.rows)
    known = np.broadcast_to(served.has_value, batch.rows)
    assert known.any()
    assert served.values[known].view(np.int64).tolist() == offline[known].view(np.int64).tolist()


def test_request_time_is_what_the_caller_says(demo_server: DemoServer) -> None:
    """On-demand features use the time in the request, not the server's clock."""
    user = demo_server.user_ids[0]
    with Client(demo_server.address, timeout=WAIT) as client:
        row = client.get_features(
            {"user_id": user},
            features=["activity:last_rating_at", "request:request_time", "live:hours_since_last_rating"],
            context={"request_time": REQUEST_TIME},
        )
    last, hours = row["activity:last_rating_at"].value, row["live:hours_since_last_rating"].value
    assert row["request:request_time"].value == REQUEST_TIME
    assert isinstance(last, datetime)
    assert (REQUEST_TIME - last).total_seconds() / 3600 == pytest.approx(hours)
