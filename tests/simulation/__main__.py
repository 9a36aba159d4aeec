"""Plays seeds: `python -m tests.simulation --seed N [--trace]`, `--seeds A-B`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from tests.simulation.run import play


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the seeds that were asked for; return 1 where one breaks an invariant."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="play one seed")
    which.add_argument("--seeds", metavar="A-B", help="play the seeds from A to B")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    asked = parser.parse_args(arguments)
    first, last = (asked.seed, asked.seed) if asked.seeds is None else map(int, asked.seeds.split("-"))
    return 1 if _play(range(first, last + 1), _say if asked.trace else None) else 0


def _play(seeds: range, trace: Callable[[str], None] | None) -> int:
    broken = 0
    seen: Counter[str] = Counter()
    for seed in seeds:
        findings = play(seed, trace)
        seen.update(findings.seen)
        broken += bool(findings.violations)
        for violation in findings.violations[:5]:
            _say(f"seed {seed}: {violation}")
    for what, count in sorted(seen.items()):
        _say(f"{count:9,}  {what}")
    _say(f"{len(seeds)} seeds, {broken} broken")
    return broken


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
