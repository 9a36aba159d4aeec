"""``recsvc hash-id KEY=ID``: what stands in spans for an id, for whoever looks for the traces of one user."""

from __future__ import annotations

import argparse

from recsvc import config
from recsvc.errors import ConfigError
from recsvc.telemetry import names
from recsvc.telemetry.id_hash import IdHash


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "hash-id",
        help="compute what stands in spans for an id",
        description="Prints the attribute that spans of an entity have, as a server with the same --id-hash-key makes"
        " it: what to search for in Jaeger.",
        allow_abbrev=False,
    )
    parser.add_argument("ids", nargs="+", metavar="KEY=ID", help="join key and id, such as user_id=196")
    setting = next(s for s in config.SETTINGS if s.name == "id_hash_key")
    parser.add_argument(
        config.flag(setting), metavar="X", help=f"the server's key; better by {config.variable(setting)}"
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Print the attributes; 0."""
    key = config.load({"id_hash_key": args.id_hash_key}).id_hash_key
    if not key:
        raise ConfigError("--id-hash-key, or RECSVC_ID_HASH_KEY: must be that of the server")
    try:
        hash_of = IdHash(key)
    except ValueError as error:
        raise ConfigError(f"--id-hash-key: {error}") from error
    for text in args.ids:
        name, equals, id_ = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"{text!r} is not KEY=ID, such as user_id=196")
        print(f"{names.ENTITY.replace('*', name)}={hash_of(id_)}")
    return 0
