"""``recsvc trace ID``: a trace as a timeline, read from Jaeger, in the terminal or as a picture."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from rich.console import Console

from recsvc.cli.trace_facts import title_of
from recsvc.cli.trace_view import print_trace
from recsvc.errors import ConfigError
from recsvc.inspect.trace_fetch import base_url, fetch
from recsvc.inspect.trace_jaeger import trace_id_of
from recsvc.inspect.trace_svg import svg_of
from recsvc.inspect.trace_tree import Tree, tree_of

DEFAULT_JAEGER: Final = "http://127.0.0.1:16686"
JAEGER_VARIABLE: Final = "RECSVC_JAEGER"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "trace",
        help="show where the time of a call went, from its trace in Jaeger",
        description="Reads a trace from Jaeger's query API and prints it as a timeline: where the time went, and each"
        " span with what it did and when it ran.",
        epilog="example: recsvc trace 4bf92f3577b34da6a3ce929d0e0e4736 --svg trace.svg",
        allow_abbrev=False,
    )
    parser.add_argument("id", metavar="ID", help="trace id: hex digits, the second part of a traceparent")
    parser.add_argument(
        "--jaeger",
        default=os.environ.get(JAEGER_VARIABLE) or DEFAULT_JAEGER,
        metavar="URL",
        help=f"where Jaeger's query API is [{DEFAULT_JAEGER}; {JAEGER_VARIABLE}]",
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw it into a file instead")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Read and show; 0 where there is such a trace."""
    tree = tree_of(fetch(base_url(args.jaeger), trace_id_of(args.id)))
    if args.svg is None:
        print_trace(Console(), tree)
    else:
        _write(args.svg, tree)
    return 0


def _write(file: Path, tree: Tree) -> None:
    try:
        file.write_text(svg_of(tree, title_of=title_of), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--svg {file}: cannot be written: {error.strerror}") from None
    print(f"{file}: {len(tree.spans):,} spans of trace {tree.trace_id}")
