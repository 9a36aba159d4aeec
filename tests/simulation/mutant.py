"""Mistakes of one line, put into the real code while a test runs."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.simulation.findings import Invariant


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake: in ``where``, a method or function of recsvc.online, ``wrong`` stands for ``right``.

    ``breaks`` is the invariant that must see it, whatever other ones do.
    """

    name: str
    where: str
    right: str
    wrong: str
    breaks: Invariant

    def __str__(self) -> str:
        return self.name


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """Let the code have the mistake of ``mutant`` inside the block."""
    module, _, path = mutant.where.partition(":")
    owner = importlib.import_module(f"recsvc.online.{module}")
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original = vars(owner)[name]
    setattr(owner, name, _mistaken(original, mutant))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _mistaken(original: object, mutant: Mutant) -> object:
    function = original.fget if isinstance(original, property) else original
    assert inspect.isfunction(function), f"{mutant.where} is no function"
    source = textwrap.dedent(inspect.getsource(function))
    places = source.count(mutant.right)
    assert places == 1, f"{mutant.where} has {mutant.right!r} {places} times, not once: fit the mutant to the code"
    code = compile(
        "from __future__ import annotations\n" + source.replace(mutant.right, mutant.wrong), mutant.where, "exec"
    )
    made: dict[str, object] = {}
    exec(code, function.__globals__, made)  # noqa: S102  # the project's own source, with one line changed
    return made[function.__name__]
