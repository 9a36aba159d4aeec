"""``python -m tests.fault [NAME...] [--quick]``: breaks things under load, measures, judges; status 1 where one misses.

It prints a table for each fault, what was to hold, and last one JSON object.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import pytest
import uvloop

from tests.bench.report import Report, machine, publish
from tests.fault import drill_cluster, drill_frozen, drill_killed, drill_metastable, drill_slates, drill_wrong
from tests.fault.judging import Scale, was_disturbed

QUICK: Final = 0.1
TRIES: Final = 3
WHOLE_CORE: Final = frozenset({"wrong", "metastable", "slates"})
"""Not in real time: Linux halts what takes 95 % of a core so, and it would keep all else on the machine waiting."""
DRILLS: Final[Mapping[str, Callable[[Scale], Awaitable[Report]]]] = {
    "killed": drill_killed.run,
    "frozen": drill_frozen.run_stopped,
    "black-holed": drill_frozen.run_black_hole,
    "wrong": drill_wrong.run,
    "metastable": drill_metastable.run,
    "cluster": drill_cluster.run,
    "slates": drill_slates.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drills that the command line names; 1 where something did not hold."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in DRILLS]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(DRILLS)}")
    scale = Scale(QUICK if asked.quick else 1.0)
    names = asked.names or list(DRILLS)
    try:
        return uvloop.run(_run(names, scale, realtime=asked.realtime))
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        sys.stderr.write(f"cannot run: {missing}\n")
        return 1


async def _run(names: Sequence[str], scale: Scale, *, realtime: bool) -> int:
    began = machine()
    reports = []
    for name in names:
        if realtime:  # what is started inherits it
            first = name not in WHOLE_CORE
            os.sched_setscheduler(0, os.SCHED_RR if first else os.SCHED_OTHER, os.sched_param(int(first)))
        reports.append(await _undisturbed(DRILLS[name], scale))
    publish("fault", reports, began, {"drills": list(names), "scale": scale.factor})
    return int(not all(e.met for report in reports for e in report.expectations))


async def _undisturbed(drill: Callable[[Scale], Awaitable[Report]], scale: Scale) -> Report:
    """Run a drill again where it missed and the machine was busy with something else; the report tells of each run.

    A wrong answer is never the machine's fault.
    """
    runs: list[str] = []
    while True:
        report = await drill(scale)
        missed = [e.name for e in report.expectations if not e.met]
        excused = was_disturbed(report) and not any("wrong" in name for name in missed)
        if not missed or not excused or len(runs) == TRIES - 1:
            return replace(report, notes=[*report.notes, *runs])
        runs.append(f"run {len(runs) + 1} did not count: {', '.join(missed)} missed, and {report.notes[0]}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fault",
        description="Break Redis, or the network to it, under load, and judge what callers see. Wants Linux, and two"
        " cores that nobody else uses; a full run takes about ten minutes.",
        epilog="The last line is one JSON object. The status is 1 where something did not hold.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(DRILLS))
    parser.add_argument("--quick", action="store_true", help=f"a {round(1 / QUICK)}th of the reads, shorter faults")
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="go before all other work on this machine, where it cannot be had alone; needs root, Linux",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
