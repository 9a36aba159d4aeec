"""Impressions in files of JSON lines: complete, bounded, oldest dropped first."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import replace
from io import FileIO
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from recsvc.errors import ConfigError
from recsvc.online.answer import Column, Source, Status
from recsvc.recommend.impression_files import ImpressionFiles
from recsvc.recommend.impression_lines import line_parts
from recsvc.recommend.impression_queue import ImpressionQueue
from recsvc.recommend.impressions import Impression
from recsvc.registry.types import FLOAT32, FLOAT64, INT64, INT64_LIST, STRING, TIMESTAMP, VECTOR, FeatureType
from tests.unit.recommend.shown import SESSION, impression

ONE_LINE = len(b"".join(line_parts(impression())))


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        """Return the time in milliseconds since 1970."""
        return self.ms


def files(directory: Path, clock: Clock | None = None, **settings: int) -> ImpressionFiles:
    """Make a sink."""
    return ImpressionFiles(directory, owner="w0", clock_ms=clock or Clock(), **settings)


def ids(paths: list[Path]) -> list[str]:
    """Read which impressions files have."""
    return [json.loads(line)["recommendation_id"] for path in paths for line in path.read_text().splitlines()]


def expected(numbers: range) -> list[str]:
    """Return the ids of impressions by number."""
    return [str(impression(n).recommendation_id) for n in numbers]


def column_of(kind: FeatureType, values: Any, statuses: list[int]) -> Column:  # noqa: ANN401  # any numpy takes
    """Make a column from values, an array or not."""
    return Column(kind, np.asarray(values), np.array(statuses, np.uint8), np.array([Source.STORE], np.uint8))


def parsed(shown: Impression) -> Any:  # noqa: ANN401  # JSON
    """Return what a strict reader finds in the line of an impression."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    line = b"".join(line_parts(shown))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line, parse_constant=refuse)


def test_a_line_has_all_of_an_impression() -> None:
    """Whoever reads the line knows what was shown to whom, why, and from which values."""
    assert parsed(impression()) == {
        "recommendation_id": str(SESSION),
        "session_recommendation_id": str(SESSION),
        "time_us": 1_800_000_000_000_000,
        "placement": "home",
        "user": {"user_id": "196"},
        "unit": "",
        "experiments": [{"experiment": "ranker", "variant": "trees", "by": "HASHED"}],
        "model_version": "",
        "ranked_by": "",
        "registry_fingerprint": "",
        "items": [
            {"id": "0", "rank": 1, "score": 1.0, "sources": ["popular", "nearest"]},
            {"id": "1", "rank": 2, "score": 0.5, "sources": ["popular", "nearest"]},
        ],
        "features": {
            "film:age": {"type": "FLOAT64", "values": [0.0, 1.0], "status": "PRESENT", "source": "CACHE"},
        },
    }


def test_a_line_of_an_anonymous_caller_has_the_unit() -> None:
    """Where no user decided the variants, the line has what did."""
    line = parsed(replace(impression(), user={}, unit="a-7f3a"))
    assert (line["user"], line["unit"]) == ({}, "a-7f3a")


@pytest.mark.parametrize("items", [0, 1, 100, 101, 250])
def test_long_slates_are_one_list(items: int) -> None:
    """However many parts a line is made in, the items are all there and in order."""
    assert [i["rank"] for i in parsed(impression(items=items))["items"]] == list(range(1, items + 1))


def test_every_type_of_column_can_be_written() -> None:
    """Numbers, texts, lists and vectors; what is no finite number, or is not there, is null."""
    lists = np.empty(2, object)
    lists[:] = [np.array([1, 2]), ()]
    columns = {
        "v:int": column_of(INT64, [2**62, 0], [Status.PRESENT, Status.NULL_VALUE]),
        "v:float": column_of(FLOAT64, [math.nan, math.inf], [Status.PRESENT]),
        "v:small": column_of(FLOAT32, np.array([0.5, math.nan], np.float32), [Status.PRESENT, Status.NULL_VALUE]),
        "v:time": column_of(TIMESTAMP, [1_800_000_000_000_000], [Status.PRESENT]),
        "v:text": column_of(STRING, np.array(['a\n"b', "ü"], object), [Status.PRESENT]),
        "v:list": column_of(INT64_LIST[4], lists, [Status.PRESENT]),
        "v:vector": column_of(VECTOR[2], np.array([[1, 2], [3, math.nan]], np.float32), [1, 2]),
        "v:none": column_of(FLOAT64, np.empty(0), []),
    }
    found = parsed(replace(impression(), features=columns))["features"]
    assert {name: column["values"] for name, column in found.items()} == {
        "v:int": [2**62, None],
        "v:float": [None, None],
        "v:small": [0.5, None],
        "v:time": [1_800_000_000_000_000],
        "v:text": ['a\n"b', "ü"],
        "v:list": [[1, 2], []],
        "v:vector": [[1.0, 2.0], None],
        "v:none": [],
    }
    assert found["v:int"]["status"] == ["PRESENT", "NULL_VALUE"]


def test_a_score_that_is_no_number_is_null() -> None:
    """JSON has no NaN."""
    shown = impression(items=1)
    assert parsed(replace(shown, items=[replace(shown.items[0], score=math.nan)]))["items"][0]["score"] is None


async def test_files_rotate_before_they_are_too_large(tmp_path: Path) -> None:
    """Each file keeps to its bound, and together they have every impression in order."""
    sink = files(tmp_path, max_file_bytes=3 * ONE_LINE + 10)
    for begin in range(0, 10, 2):
        await sink.write([impression(n) for n in range(begin, begin + 2)])
    await sink.close()
    assert [len(p.read_text().splitlines()) for p in sink.paths()] == [3, 3, 3, 1]
    assert all(p.stat().st_size <= 3 * ONE_LINE + 10 for p in sink.paths())
    assert ids(sink.paths()) == expected(range(10))


async def test_a_line_longer_than_a_file_has_its_own(tmp_path: Path) -> None:
    """Nothing is cut or lost for its length."""
    sink = files(tmp_path, max_file_bytes=10)
    await sink.write([impression(n) for n in range(3)])
    await sink.close()
    assert ids(sink.paths()) == expected(range(3))
    assert len(sink.paths()) == 3


async def test_only_the_newest_files_are_kept(tmp_path: Path) -> None:
    """The disk a worker takes is bounded, over restarts and whatever its clock does; others' files are left alone."""
    clock = Clock()
    others = [tmp_path / "impressions-w00-1800000000000-0000.jsonl", tmp_path / "impressions-w0-notes.txt"]
    for other in others:
        other.write_text("not ours\n")
    for run, step_ms in enumerate([0, 5_000, -60_000, 0]):  # a clock that goes back, and one that stands
        clock.ms += step_ms
        sink = files(tmp_path, clock, max_file_bytes=10, max_files=3)
        await sink.write([impression(n) for n in range(2 * run, 2 * run + 2)])
        await sink.close()
    assert ids(sink.paths()) == expected(range(5, 8))
    assert all(other.read_text() == "not ours\n" for other in others)


async def test_a_restart_begins_a_new_file(tmp_path: Path) -> None:
    """Files of a run before are as they were."""
    for run in range(2):
        sink = files(tmp_path)
        await sink.write([impression(run)])
        await sink.close()
    assert ids(sink.paths()) == expected(range(2))
    assert len(sink.paths()) == 2


async def test_without_impressions_there_is_no_file(tmp_path: Path) -> None:
    """A server that answers nothing leaves nothing behind."""
    sink = files(tmp_path / "not" / "there")
    await sink.close()
    assert sink.paths() == []
    assert repr(sink).endswith("closed)")


async def test_a_write_that_fails_leaves_whole_lines(tmp_path: Path) -> None:
    """After a full disk the file ends with its last whole line, and the next impression begins another."""
    sink = files(tmp_path)
    await sink.write([impression(0)])

    class Full(FileIO):
        def write(self, data: Any, /) -> int:  # noqa: ANN401  # any buffer
            if self.tell() > ONE_LINE:
                raise OSError(28, "No space left on device")
            return super().write(bytes(data[:10]))

    assert sink._file is not None
    sink._file.close()
    sink._file = Full(sink.paths()[0], "ab")
    with pytest.raises(OSError, match="No space"):
        await sink.write([impression(1)])
    assert ids(sink.paths()) == expected(range(1))
    await sink.write([impression(2)])
    await sink.close()
    assert ids(sink.paths()) == [*expected(range(1)), *expected(range(2, 3))]


async def test_nothing_is_written_after_the_close(tmp_path: Path) -> None:
    """A write that was given up and comes late finds the files closed."""
    sink = files(tmp_path)
    await sink.close()
    with pytest.raises(OSError, match="closed"):
        await sink.write([impression()])
    assert sink.paths() == []


async def test_a_queue_in_front_brings_all_to_the_disk(tmp_path: Path) -> None:
    """What was taken before the stop is in the files after it."""
    sink = files(tmp_path, max_file_bytes=20 * ONE_LINE)
    queue = ImpressionQueue(sink, monotonic=time.monotonic)
    queue.start()
    taken = [queue.offer(impression(n)) for n in range(300)]
    await queue.close(grace_s=30.0)
    assert all(taken)
    assert ids(sink.paths()) == expected(range(300))
    assert queue.written == 300


async def test_the_loop_goes_on_while_files_are_written(tmp_path: Path) -> None:
    """Writing happens in a thread: it can wait for something that the loop does meanwhile."""
    loop_went_on = Event()

    def clock() -> int:
        assert loop_went_on.wait(timeout=30)
        return Clock()()

    sink = ImpressionFiles(tmp_path, owner="w0", clock_ms=clock)
    asyncio.get_running_loop().call_soon(loop_went_on.set)
    await sink.write([impression()])
    await sink.close()
    assert ids(sink.paths()) == expected(range(1))


def test_a_place_that_cannot_be_written_is_found_at_the_start(tmp_path: Path) -> None:
    """The operator reads one line with the directory, and what works is not complained of."""
    files(tmp_path / "new").prepare()
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write in .*file"):
        files(tmp_path / "file").prepare()


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"owner": "../x"}, "owner"), ({"max_files": 0}, "max_files"), ({"max_file_bytes": 0}, "max_file_bytes")],
)
def test_wrong_settings_are_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    """A mistake in the configuration is named."""
    with pytest.raises(ConfigError, match=says):
        ImpressionFiles(tmp_path, **{"owner": "w0", "clock_ms": Clock(), **settings})
