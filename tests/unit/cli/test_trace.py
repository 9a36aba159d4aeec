"""`recsvc trace`: what a person reads, and the ways in which there is nothing to read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from recsvc.cli.main import main
from recsvc.cli.trace_view import print_trace
from recsvc.inspect.trace_jaeger import trace_of
from recsvc.inspect.trace_spans import Event, Link, Span, Trace
from recsvc.inspect.trace_tree import tree_of
from tests.unit.inspect.answering import Answering, answering, json_answer
from tests.unit.inspect.test_trace_layout import fans
from tests.unit.inspect.test_trace_tree import traces
from tests.unit.inspect.trace_samples import BEGAN, TRACE_ID, failed_batch, span, trace

SHOWN: Final = """\
trace 4bf92f3577b34da6a3ce929d0e0e4736
12.0 ms · 5 spans · 2 services (web, recsvc) · 2025-11-21 18:33:20.000000 UTC
1 error: MGET: TimeoutError
degraded: STORE_UNAVAILABLE film@v1

where the time went (what ran side by side shares it)
  33%  4.00 ms  MGET  recsvc: a command to redis
  24%  2.90 ms  recsvc.encode  recsvc: answer to bytes
  22%  2.60 ms  recsvc.v1.ServingService/GetFeaturesBatch  recsvc: itself,
                outside of what is below it
  17%  2.00 ms  GET /home  web: itself, outside of what is below it
   4%   500 µs  recsvc.fetch.wait  recsvc: itself, outside of what is below it:
                from when this call began to wait for the store to when it had
                its rows

span                                          took  0          5 ms        10 ms
GET /home                                  12.0 ms  ████████████████████████████
  web
  …svc.v1.ServingService/GetFeaturesBatch  10.0 ms    ████████████████████████
    recsvc · OK · 500 rows · 6 hits · 1,497 misses · short parts: parse 12 µs ·
    degraded: STORE_UNAVAILABLE film@v1
    • +9.00 ms recsvc.defaults view=film@v1 count=450
    recsvc.fetch.wait                      4.50 ms         ███████████
      1,497 rows waited for
      → span 1212121212121212 of trace cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
      MGET                                 4.00 ms         ██████████
        ERROR TimeoutError · redis at 10.0.0.7:6379
    recsvc.encode                          2.90 ms                     ██████
"""


def printed(found: Trace, width: int = 80, *, colours: bool = False) -> str:
    """Print a trace as a terminal of this width has it, or without colours as a pipe has it."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=colours, color_system="standard" if colours else "auto")
    print_trace(console, tree_of(found))
    return file.getvalue()


@pytest.fixture
def jaeger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    """A server that has one trace."""
    monkeypatch.setenv("COLUMNS", "80")
    with answering({f"/api/traces/{TRACE_ID}": json_answer(failed_batch())}) as server:
        yield server


def test_a_trace_is_read_and_shown(jaeger: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the whole of it, plain where it is no terminal; upper case in the id does not matter."""
    assert main(["trace", TRACE_ID.upper(), "--jaeger", f"{jaeger.url}/"]) == 0
    assert capsys.readouterr().out == printed(trace_of(failed_batch(), TRACE_ID))


def test_the_variable_says_where_jaeger_is(
    jaeger: Answering, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --jaeger the variable counts; an empty one is none."""
    monkeypatch.setenv("RECSVC_JAEGER", jaeger.url)
    assert main(["trace", TRACE_ID]) == 0
    monkeypatch.setenv("RECSVC_JAEGER", "")
    with pytest.raises(SystemExit):
        main(["trace", "--help"])
    assert "[http://127.0.0.1:16686; RECSVC_JAEGER]" in " ".join(capsys.readouterr().out.split())


def test_the_picture_is_written(jaeger: Answering, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--svg` draws into a file instead, and says so in a line."""
    file = tmp_path / "trace.svg"
    assert main(["trace", TRACE_ID, "--jaeger", jaeger.url, "--svg", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: 5 spans of trace {TRACE_ID}\n"
    assert ET.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314  # our own


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["1"], "trace 00000000000000000000000000000001 is not at"),
        (["nope"], "'nope' is no trace id: give up to 32 hex digits"),
        ([TRACE_ID, "--svg", "/nowhere/x.svg"], "--svg /nowhere/x.svg: cannot be written: No such file or directory"),
        ([TRACE_ID, "--jaeger", "localhost:1"], "--jaeger: give the URL of Jaeger's query API, http://HOST:PORT"),
        ([TRACE_ID, "--jaeger", "http://127.0.0.1:1"], "no Jaeger answers at http://127.0.0.1:1: Connection refused"),
    ],
)
def test_what_cannot_be_shown_is_a_line(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake or a trace that is not there is one line on stderr, and status 1."""
    missing = json_answer({"data": None, "errors": [{"code": 404, "msg": "trace not found"}]}, 404)
    answers = {f"/api/traces/{'1'.zfill(32)}": missing, f"/api/traces/{TRACE_ID}": json_answer(failed_batch())}
    with answering(answers) as server:
        assert main(["trace", "--jaeger", server.url, *words]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"recsvc: {problem}")
    assert output.err.count("\n") == 1


def test_the_page_is_as_it_should_be() -> None:
    """What matters stands at the top: how long, what failed, where the time went; then the spans in their order."""
    assert printed(trace_of(failed_batch(), TRACE_ID)) == SHOWN


def test_errors_are_red_in_a_terminal_only() -> None:
    """Colours are for terminals; what they say is said in words too."""
    coloured, plain = (printed(trace_of(failed_batch(), TRACE_ID), colours=colours) for colours in (True, False))
    assert "\x1b[1;31mERROR TimeoutError" in coloured
    assert "\x1b" not in plain


@pytest.mark.parametrize("width", [20, 60, 80, 100, 200])
def test_lines_fit_the_terminal(width: int) -> None:
    """No line is longer than the terminal is wide, or than 60 characters where it is narrower."""
    for found in (trace_of(failed_batch(), TRACE_ID), fans(40)):
        assert max(cell_len(line) for line in printed(found, width).splitlines()) <= max(width, 60)


@given(traces(), st.integers(40, 120))
def test_any_trace_can_be_printed(found: Trace, width: int) -> None:
    """However its spans lie, each has a line with its name, and no line is too long."""
    lines = printed(found, width).splitlines()
    spans = [line for line in lines[lines.index("") :] if line.lstrip().split(" ")[0] in {s.name for s in found.spans}]
    assert len(spans) >= len(found.spans)
    assert max(map(cell_len, lines)) <= max(width, 60)


def test_repeated_siblings_are_one_line() -> None:
    """A long trace says how many there were, how many failed, and how long the longest took."""
    lines = printed(fans(40)).splitlines()
    row = next(index for index, line in enumerate(lines) if line.startswith("    MGET ×40"))
    assert " 160 µs" in lines[row]
    assert lines[row + 1].strip() == "ERROR TimeoutError (4 of 40) · the longest 4 µs"


def test_time_in_no_span_and_moved_clocks_are_told() -> None:
    """What the picture alone would hide is said in words."""
    call = span("call", 100, 100, "elsewhere", kind="client", service="web")
    shown = printed(trace(call, span("serve", 50, 60, "call", kind="server"), span("later", 300, 100)))
    assert "the clock of recsvc is slow: its spans are moved by 70 µs" in shown
    assert "  33%   100 µs  in no span at all" in shown
    assert "  web · part of a span that is not here\n" in shown


def test_events_and_links_have_a_bound() -> None:
    """Five are shown, links first; how many more there are is said."""
    events = tuple(Event("retry", BEGAN + n, {"n": n}) for n in range(9, -1, -1))
    lines = printed(trace(Span("a", "a", "recsvc", BEGAN, 9, events=events, links=(Link("b" * 32, "c"),)))).splitlines()
    shown = [line.strip() for line in lines if line.strip()[:1] in {"•", "→", "…"}]
    assert shown[0] == f"→ span c of trace {'b' * 32}"
    assert shown[1:3] == ["• +0 µs retry n=0", "• +1 µs retry n=1"]
    assert shown[-1] == "… and 6 more events and links"


def test_more_spans_than_there_is_room_for_are_counted() -> None:
    """A page has a bound, and says what it leaves out."""
    spans = [span(f"s{n}", n, 1, "a") for n in range(300)]
    assert printed(trace(span("a", 0, 500), *spans)).endswith("\n… and 101 more spans\n")


def test_names_are_no_markup() -> None:
    """Brackets in a name are shown as they are."""
    assert "[red]x[/red]" in printed(trace(span("[red]x[/red]", 0, 1)))


def test_links_to_those_near_are_not_repeated() -> None:
    """Links to a child or a parent say nothing new; those to another span of the trace name it."""
    spans = [
        Span("a", "call", "recsvc", BEGAN, 9, links=(Link(TRACE_ID, "b"),)),
        Span("b", "wait", "recsvc", BEGAN, 9, "a", links=(Link(TRACE_ID, "a"), Link(TRACE_ID, "c"))),
        Span("c", "MGET", "recsvc", BEGAN, 9, "a"),
    ]
    links = [line.strip() for line in printed(trace(*spans)).splitlines() if "→" in line]
    assert links == ["→ MGET (span c)"]
