"""The ``recsvc`` command: finds the sub-command, and turns errors into one clear line and a status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from recsvc import __version__
from recsvc.errors import DefinitionError, RecsvcError

FAILED: Final = 1
INTERRUPTED: Final = 130
COMMANDS: Final = (
    *("demo", "serve", "get", "recommend", "registry", "load", "index", "train", "evaluate", "delete"),
    *("top", "trace", "hash-id"),
)
"""Each is a module of this package."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Only the command that is asked for is imported: the server's modules take a second, and most need none of them.
    """
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="recsvc", description="Serves features to ranking services over gRPC.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"recsvc {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        import_module(f"recsvc.cli.{command.replace('-', '_')}").add_parser(subparsers)
    args = parser.parse_args(words)
    try:
        status: int = args.handler(args)
        sys.stdout.flush()  # here, where a reader that went away is expected
    except DefinitionError as error:
        print("\n".join(f"recsvc: {p}" for p in error.problems), file=sys.stderr)
        return FAILED
    except RecsvcError as error:
        print(f"recsvc: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        return FAILED
    return status
