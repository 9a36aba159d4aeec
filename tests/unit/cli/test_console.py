"""How commands print: whole lines where no terminal reads them, and numbers with their nouns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from recsvc.cli.console import counted, output, print_table


def wide_table() -> Table:
    """Return a table whose lines are wider than any terminal, with a last column of different widths."""
    table = Table("long", "last", box=None, pad_edge=False)
    table.add_row("one " * 100, "long words")
    table.add_row("two", "short")
    return table


def test_what_goes_to_no_terminal_is_not_wrapped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row is one line, whatever the environment says of a terminal, and ends with its last word."""
    monkeypatch.setenv("COLUMNS", "40")
    print_table(output(), wide_table())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["last", "words", "short"]
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_terminal_keeps_its_width() -> None:
    """On a terminal a table is as wide as that."""
    file = io.StringIO()
    print_table(Console(file=file, width=40, force_terminal=True, color_system=None), wide_table())
    lines = file.getvalue().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize(("number", "text"), [(0, "0 views"), (1, "1 view"), (2, "2 views"), (2_000, "2,000 views")])
def test_a_number_has_its_noun(number: int, text: str) -> None:
    """One has the singular, and all others the plural."""
    assert counted(number, "view") == text
