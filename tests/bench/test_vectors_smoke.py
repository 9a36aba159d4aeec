"""The benchmark of vectors in Redis, with next to nothing to do: it runs, checks answers, and says it as promised."""

from __future__ import annotations

import json

import pytest

from tests.bench import vectors


def test_all_ways_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Each way has its cost and recall at each pass rate, and the last line is JSON."""
    assert vectors.main(["--vectors", "1500", "--components", "8", "--searches", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    found = json.loads(printed[-1])["vectors"]
    for way in ("FT.SEARCH, FLAT", "FT.SEARCH, HNSW", "VSIM, Q8", "VSIM, NOQUANT"):
        one = found[f"unit, 1.0%, {way}"]
        assert one.keys() == {"wall_ms", "server_ms", "client_ms", "recall", "least"}
        assert one["recall"] == 1.0  # so few pass that all of them are compared
    assert found["conditions, 20%, TAG"]["recall"] > 0.9
