"""Which variant of each experiment a request gets, and which placement answers it.

The bucket of a unit is the first 8 bytes of a SHA-256, big-endian, modulo 10,000. What is hashed is the salt of the
experiment and then the unit, both in UTF-8, each after its length in bytes (4 bytes, big-endian), so that no two pairs
give the same bytes. The contract has some of them, for programs in other languages (ExperimentAssignment).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from recsvc.errors import RequestError, Violation
from recsvc.registry.experiments import CONTROL
from recsvc.registry.placement import BUCKETS, Experiment, Variant


class AssignedBy(IntEnum):
    """How a variant was found: by the unit's bucket, by the request, or for want of a unit."""

    HASHED = 1
    OVERRIDE = 2
    DEFAULT = 3


@dataclass(frozen=True, slots=True)
class Assignment:
    """``variant`` of ``experiment`` answered, ``by`` tells why; variant CONTROL is the placement as it is."""

    experiment: str
    variant: str
    by: AssignedBy


@dataclass(frozen=True, slots=True)
class Assigned:
    """The variants that made an answer, in the order of the experiments; ``placement`` replaces the asked one."""

    assignments: tuple[Assignment, ...] = ()
    placement: str | None = None


def bucket(salt: str, unit: str) -> int:
    """Return the bucket of a unit, from 0 to BUCKETS - 1; see the module for the formula."""
    hashed = hashlib.sha256()
    for text in (salt.encode(), unit.encode()):
        hashed.update(len(text).to_bytes(4, "big") + text)
    return int.from_bytes(hashed.digest()[:8], "big") % BUCKETS


def assign(
    experiments: Sequence[Experiment],
    unit: str | None,
    *,
    overrides: Mapping[str, str] | None = None,
    kept: Iterable[Assignment] = (),
) -> Assigned:
    """Return the variants of a request; ``unit`` None or empty: the control of each experiment.

    ``overrides`` names variants by experiment. ``kept`` are those of the pages before this one: they stay while they
    are still defined, whatever the shares are by now. Overrides are settled first, then kept ones, then the rest, each
    in the order of the experiments. The first variant that names another placement replaces the asked one; experiments
    that would come after it had no part in the answer, and are left out.

    Raises RequestError where an override names what does not exist, or two name different placements.
    """
    wanted = overrides or {}
    _check(experiments, wanted)
    before = {a.experiment: a for a in kept}
    made: dict[str, Assignment] = {}
    placement: str | None = None
    for experiment in sorted(experiments, key=lambda e: _turn(e, wanted, before)):
        if placement is not None and experiment.name not in wanted:
            break
        assignment = _assignment(experiment, unit, wanted.get(experiment.name), before.get(experiment.name))
        made[experiment.name] = assignment
        variant = _named(experiment, assignment.variant)
        placement = placement or (variant.placement if variant else None)
    return Assigned(tuple(made[e.name] for e in experiments if e.name in made), placement)


def _turn(experiment: Experiment, wanted: Mapping[str, str], before: Mapping[str, Assignment]) -> int:
    """Return when an experiment is settled: overrides first, then what other pages had, then the rest."""
    if experiment.name in wanted:
        return 0
    return 1 if experiment.name in before else 2


def _assignment(experiment: Experiment, unit: str | None, wanted: str | None, before: Assignment | None) -> Assignment:
    if wanted is not None:
        return Assignment(experiment.name, wanted, AssignedBy.OVERRIDE)
    if before is not None and _is_variant(experiment, before.variant):
        return before
    if not unit:
        return Assignment(experiment.name, CONTROL, AssignedBy.DEFAULT)
    return Assignment(experiment.name, _hashed(experiment, bucket(experiment.salt, unit)), AssignedBy.HASHED)


def _hashed(experiment: Experiment, place: int) -> str:
    for variant in experiment.variants:
        if any(begin <= place < end for begin, end in variant.buckets):
            return variant.name
    return CONTROL


def _named(experiment: Experiment, name: str) -> Variant | None:
    return next((v for v in experiment.variants if v.name == name), None)


def _is_variant(experiment: Experiment, name: str) -> bool:
    return name == CONTROL or _named(experiment, name) is not None


def _check(experiments: Sequence[Experiment], wanted: Mapping[str, str]) -> None:
    """Raise RequestError with all that is wrong with the overrides."""
    known = {e.name: e for e in experiments}
    violations = [v for name, variant in wanted.items() if (v := _violation(known, name, variant))]
    if violations:
        raise RequestError(violations)
    variants = (_named(e, wanted[e.name]) for e in experiments if e.name in wanted)
    placements = sorted({v.placement for v in variants if v is not None and v.placement is not None})
    if len(placements) > 1:
        clash = f"their variants stand for different placements ({', '.join(placements)}); one can answer"
        raise RequestError([Violation("experiment_overrides", clash)])


def _violation(known: Mapping[str, Experiment], name: str, variant: str) -> Violation | None:
    field = f"experiment_overrides[{name!r}]"
    if name not in known:
        there = ", ".join(known) or "none"
        return Violation(field, f"no experiment of this placement; it has: {there}", unknown=True)
    if not _is_variant(known[name], variant):
        there = ", ".join([CONTROL, *(v.name for v in known[name].variants)])
        return Violation(field, f"{variant!r} is no variant of it; it has: {there}", unknown=True)
    return None
