"""The text of a function is equal where it does the same by the same code, and differs where it does something else."""

from __future__ import annotations

import functools
import subprocess
import sys
from datetime import timedelta
from typing import Any

import numpy as np

from recsvc.registry.function_text import function_text as text

FACTOR = 3
TABLE = np.arange(4.0)
NAMES = {"b", "a", "c"}


def helper(x: Any) -> Any:  # noqa: ANN401  # arrays
    """Help."""
    return x * FACTOR


def uses_helper(x: Any) -> Any:  # noqa: ANN401  # arrays
    """Use it."""
    return helper(x) + 1


def uses_table(x: Any) -> Any:  # noqa: ANN401  # arrays
    """Look up."""
    return TABLE[x]


def recursive(x: Any) -> Any:  # noqa: ANN401  # arrays
    """Call itself."""
    return recursive(x - 1) if x else len(NAMES)


NESTED: list[Any] = [lambda a: lambda b: b + a]
PAIR = (lambda a: a + 1, lambda a: a + 2)
SAME = [lambda a: a + 1, lambda a:   a  +  1]  # fmt: skip


def logged(function: Any) -> Any:  # noqa: ANN401  # a function
    """Wrap a function."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:  # noqa: ANN401  # arrays
        return function(*args)

    return wrapper


@logged
def wrapped_one(a: Any) -> Any:  # noqa: ANN401  # arrays
    """Do one thing."""
    return a


@logged
def wrapped_two(a: Any) -> Any:  # noqa: ANN401  # arrays
    """Do another."""
    return -a


class Scale:
    """A function with a state."""

    def __init__(self, by: object) -> None:
        self.by = by

    def __call__(self, a: Any) -> Any:  # noqa: ANN401  # arrays
        """Scale."""
        return a * self.by


def test_lambdas_on_one_line_are_told_apart() -> None:
    """Each is the text of itself alone, whatever stands around it."""
    assert text(PAIR[0]) != text(PAIR[1])
    assert text(PAIR[0]).startswith("lambda a: a + 1\n")
    assert text(SAME[0]) == text(SAME[1]) == text(PAIR[0])


def test_a_lambda_inside_a_lambda_is_itself() -> None:
    """The inner of two functions on one line is not taken for the outer."""
    outer = NESTED[0]
    inner: list[Any] = list(map(outer, [1, 1, 2]))
    assert text(outer).startswith("lambda a: lambda b: b + a\n")
    assert text(inner[0]).startswith("lambda b: b + a\n")
    assert text(inner[0]) == text(inner[1]) != text(inner[2])


def test_lambdas_over_several_lines_are_found() -> None:
    """A lambda that is an argument of a call over lines has its own text."""
    arguments = {
        "one": lambda a: (
            a  # a comment
            + 1
        ),
        "two": lambda a: a
        + 2,
    }  # fmt: skip
    assert text(arguments["one"]) == text(PAIR[0])
    assert text(arguments["two"]) == text(PAIR[1])


def test_comments_docstrings_names_and_annotations_do_not_count() -> None:
    """Only what runs counts."""

    def first(a: int) -> int:
        """Say something."""
        return a + 1  # add

    def second(a):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # that is the difference
        return (a + 1)  # fmt: skip

    def third(a: int) -> int:
        return a + 2

    body = [text(f).partition(")")[2] for f in (first, second, third)]
    assert text(second) != text(third)
    assert body[1].split("\n", 1)[1] == body[0].split("\n", 1)[1] != body[2].split("\n", 1)[1]


def test_constants_and_functions_around_count(monkeypatch: Any) -> None:  # noqa: ANN401  # pytest's
    """A constant of the file, one that a helper uses, an array and a set are part of what a function does."""
    before = [text(f) for f in (uses_helper, uses_table, recursive)]
    assert [text(f) for f in (uses_helper, uses_table, recursive)] == before
    for name, value in (("FACTOR", 4), ("TABLE", np.arange(4.0) + 1e-12), ("NAMES", {"a"})):
        monkeypatch.setitem(globals(), name, value)
    after = [text(f) for f in (uses_helper, uses_table, recursive)]
    assert all(a != b for a, b in zip(after, before, strict=True))


def test_defaults_partials_wrappers_and_objects_count() -> None:
    """However a constant reaches a function, another one is another function."""

    def made(by: object) -> list[Any]:
        def with_default(a: Any, b: object = by) -> Any:  # noqa: ANN401  # arrays
            return a * b

        return [
            with_default,
            functools.partial(helper, by),
            functools.partial(helper, x=by),
            Scale(by),
            lambda a: a * by,
        ]

    for one, same, other in zip(made(1), made(1), made(2), strict=True):
        assert text(one) == text(same) != text(other)
    assert text(wrapped_one) != text(wrapped_two)
    assert text(functools.partial(uses_helper, 1)) != text(functools.partial(uses_table, 1))


def test_constants_of_all_kinds_have_one_text() -> None:
    """Equal values have equal texts, in whatever order they were put together; different ones differ."""

    def of(value: object) -> str:
        return text(lambda a: (a, value))

    pairs: list[tuple[object, object]] = [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({3, 1, 2}, {2, 3, 1}),
        ([1, (2, 3)], [1, (2, 3)]),
        (np.array([[1, 2]]), np.array([[1, 2]])),
        (timedelta(hours=1), timedelta(minutes=60)),
        (float("nan"), float("nan")),
    ]
    assert all(of(a) == of(b) for a, b in pairs)
    different: list[object] = [1, 1.0, "1", b"1", True, None, (1,), {1}, {1: 1}]
    different += [np.int64(1), np.array([1]), np.array([[1]])]
    assert len({of(v) for v in different}) == len(different)


def test_what_has_no_source_is_told_by_its_code() -> None:
    """Functions of exec and of C have a text as well; two that do different things have two."""
    names: dict[str, Any] = {}
    exec("f = lambda a: a + 1\ng = lambda a: a + 2\ndef h(a): return [b for b in a]", names)  # noqa: S102  # that is the case
    assert len({text(names[n]) for n in "fgh"}) == 3
    assert text(len) == "builtins.len"
    assert text(np.subtract) != text(np.add)


def test_the_text_is_the_same_in_another_process() -> None:
    """Neither addresses nor the order of sets are in it."""
    program = (
        "import tests.unit.registry.test_function_text as t;"
        "print([t.text(f) for f in (t.uses_helper, t.uses_table, t.recursive, t.Scale(len), t.wrapped_one)])"
    )
    here = str([text(f) for f in (uses_helper, uses_table, recursive, Scale(len), wrapped_one)])
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        )
        assert run.stdout.strip() == here
