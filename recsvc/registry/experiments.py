"""Finds what is wrong with the experiments of a placement, and says whom a change of shares moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from recsvc.registry.placement import BUCKETS, Experiment, Variant
from recsvc.registry.reference import is_name

CONTROL: Final = "control"
"""The variant of all buckets that no variant has, and of requests without a unit."""
MAX_EXPERIMENTS: Final = 8
"""Experiments of one placement: a page token carries the variants of all, with names of up to 64 letters each."""


def problems(experiment: Experiment) -> list[str]:
    """Return one line per mistake in an experiment, none where it is right."""
    where = f"experiment {experiment.name!r}"
    found = [] if is_name(experiment.name) else [f"{where}: {_NAME}"]
    if not experiment.salt:
        found.append(f"{where}: salt {experiment.salt!r} must be a text that no other experiment has, and not empty")
    elif not _is_utf8(experiment.salt):
        found.append(f"{where}: salt {experiment.salt!r} cannot be written as UTF-8")
    if not experiment.variants:
        found.append(f"{where}: has no variant; give it one beside the control, or leave the experiment out")
    for variant in experiment.variants:
        found += _variant(where, variant)
    found += _repeated(f"{where}: variant", [v.name for v in experiment.variants])
    found += _overlaps(where, experiment.variants)
    return found


def placement_problems(experiments: Sequence[Experiment]) -> list[str]:
    """Return one line per mistake in the experiments of one placement, each and all together."""
    found = [line for experiment in experiments for line in problems(experiment)]
    if len(experiments) > MAX_EXPERIMENTS:
        found.append(f"experiments: {len(experiments)}, more than the {MAX_EXPERIMENTS} that a placement can have")
    found += _repeated("experiment", [e.name for e in experiments])
    for salt, count in Counter(e.salt for e in experiments).items():
        if count > 1 and len({e.name for e in experiments if e.salt == salt}) > 1:
            yes = "that puts the same units in the same buckets, and their effects cannot be told apart"
            found.append(f"salt {salt!r}: {count} experiments of one placement have it; {yes}")
    return found


def share(experiment: Experiment, variant: str) -> float:
    """Return which part of all units has a variant, from 0 to 1; of CONTROL, what the others leave."""
    named = {v.name: sum(end - begin for begin, end in v.buckets) for v in experiment.variants}
    return named.get(variant, BUCKETS - sum(named.values()) if variant == CONTROL else 0) / BUCKETS


def moved(before: Experiment, after: Experiment) -> int:
    """Return how many buckets change their variant, other than from the control: their units see a switch midway.

    All of BUCKETS where the salt changed, for then every unit is drawn anew.
    """
    if before.salt != after.salt:
        return BUCKETS
    old, new = _by_bucket(before), _by_bucket(after)
    return sum(was not in (CONTROL, now) for was, now in zip(old, new, strict=True))


_NAME: Final = "a name starts with a-z, goes on with a-z, 0-9 and _, and has at most 64 characters"


def _variant(experiment: str, variant: Variant) -> Iterator[str]:
    where = f"{experiment}, variant {variant.name!r}"
    if not is_name(variant.name):
        yield f"{where}: {_NAME}"
    if variant.name == CONTROL:
        yield f"{where}: the control needs no variant, it has all buckets of no variant; choose another name"
    if not variant.buckets:
        yield f"{where}: has no buckets; give it ranges such as (0, 500) for 5 %"
    for buckets in variant.buckets:
        if not _is_range(buckets):
            yield f"{where}: buckets {buckets!r} must be (begin, end) with 0 <= begin < end <= {BUCKETS}"


def _is_range(buckets: object) -> bool:
    match buckets:
        case (int() as begin, int() as end):
            return 0 <= begin < end <= BUCKETS and not isinstance(begin, bool) and not isinstance(end, bool)
        case _:
            return False


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _overlaps(where: str, variants: Sequence[Variant]) -> Iterator[str]:
    ranges = sorted((b[0], b[1], v.name) for v in variants for b in v.buckets if _is_range(b))
    reach = ranges[:1]  # the range that goes furthest of those so far
    for current in ranges[1:]:
        (begin, end, name), (_, furthest, other) = current, reach[0]
        if begin < furthest:
            both = f"{begin} to {min(end, furthest)}"
            yield f"{where}: buckets {both} belong to {other!r} and {name!r}; each has one variant at most"
        if end > furthest:
            reach = [current]


def _repeated(what: str, names: Sequence[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} {name!r}: defined {count} times; keep one"


def _by_bucket(experiment: Experiment) -> list[str]:
    names = [CONTROL] * BUCKETS
    for variant in experiment.variants:
        for begin, end in variant.buckets:
            names[begin:end] = [variant.name] * (end - begin)
    return names
