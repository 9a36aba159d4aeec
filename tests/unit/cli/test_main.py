"""The command line as a whole: help of every command, wrong usage, and errors as one clear line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsvc import __version__
from recsvc.cli import main as main_module
from recsvc.cli.main import COMMANDS, main

NAMES = list(COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        [],
        *([name] for name in NAMES),
        *(["registry", action] for action in ("show", "check", "diff")),
        *(["train", action] for action in ("als", "ranker")),
    ],
)
def test_every_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of every command prints usage and ends with status 0."""
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: recsvc", *words]))


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Help of the whole names them all, in their order."""
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out
    assert re.findall(r"^    ([a-z-]+)", listed, re.MULTILINE) == NAMES


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` is that of the package."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"recsvc {__version__}\n")


@pytest.mark.parametrize("words", [[], ["nope"], ["serve"], ["serve", "defs.py", "--nope"], ["get", "--timeout", "x"]])
def test_wrong_usage_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be understood is told with the usage, and is status 2."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: recsvc")


def test_flags_cannot_be_abbreviated() -> None:
    """A flag added later must not change what an old command line means."""
    with pytest.raises(SystemExit):
        main(["serve", "defs.py", "--list", "127.0.0.1:0"])


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of ours is one line on stderr and status 1, also where the user's own exception has several lines."""
    file = tmp_path / "defs.py"
    file.write_text("raise ValueError('one\\ntwo')")
    assert main(["registry", "check", str(file)]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith(f"recsvc: definitions: {file} failed at {file}:1: ValueError: one two")


def test_wrong_definitions_are_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every mistake in definitions is a line of its own."""
    file = tmp_path / "defs.py"
    file.write_text(
        "from recsvc import *\n"
        "user = Entity('User', 'user_id')\n"
        "registry = Registry(views=[FeatureView('Bad', [user], [])])\n"
    )
    assert main(["registry", "check", str(file)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("recsvc: ") for line in lines)


def test_ctrl_c_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupted command says nothing more, and has the status that shells expect."""

    def interrupted(spec: str) -> Iterator[None]:
        raise KeyboardInterrupt

    monkeypatch.setattr("recsvc.cli.registry.load", interrupted)
    assert main(["registry", "check", "defs.py"]) == main_module.INTERRUPTED == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["check"], ["show"], ["show", "--json"]])
def test_a_reader_that_goes_away_is_no_crash(words: list[str]) -> None:
    """With its output closed, as by `| head -0`, a command ends without a traceback."""
    with subprocess.Popen(
        [sys.executable, "-m", "recsvc", "registry", *words, "recsvc.demo.definitions"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1
