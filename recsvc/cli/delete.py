"""``recsvc delete DEFS user_id=196``: erases an entity from the online store."""

from __future__ import annotations

import argparse
import os
import sys

from rich.console import Console
from rich.progress import Progress

from recsvc.app import now_micros
from recsvc.cli import store
from recsvc.cli.console import counted
from recsvc.cli.serve import run_loop
from recsvc.errors import ConfigError
from recsvc.online.redis_eraser import DEFAULT_TTL, Erased, RedisEraser
from recsvc.registry import ids
from recsvc.registry.loader import load as load_definitions
from recsvc.registry.model import Entity
from recsvc.registry.registry import Registry

_NOTES = f"""\
All rows of the entity go, and those of pairs with it, in all views and versions, also in those that DEFS no longer
has: all keys of the store are looked at. Each row becomes a tombstone with the present as its event time, which lasts
for the view's TTL ({DEFAULT_TTL.days} days where it has none). In that time loading older data does not
bring the row back, and newer data does.

Exit status: 0 erased, 1 failed or not confirmed, 2 wrong usage.

example: recsvc delete definitions.py user_id=196 --redis redis://localhost:6379"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "delete",
        help="erase an entity from the online store",
        description="Erases an entity, such as a user, from the online store.",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("definitions", metavar="DEFS", help="definitions: a Python file or module")
    parser.add_argument("entity", metavar="KEY=ID", help="join key and id of the entity, such as user_id=196")
    store.add_redis(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Ask, erase, and print what was erased; the exit status is in --help."""
    registry = load_definitions(args.definitions)
    try:
        url = store.existing(store.store_url(args.redis, os.environ))
        entity, text = _entity(registry, args.entity)
        confirmed = args.yes or _confirmed(entity, text)
    except ConfigError as error:
        print(f"recsvc: {error}", file=sys.stderr)
        return store.WRONG_USAGE
    if not confirmed:
        print("nothing was erased")
        return store.FAILED
    return run_loop(_erase(registry, entity, text, url))


def _entity(registry: Registry, words: str) -> tuple[Entity, str]:
    key, equals, text = words.partition("=")
    entity = registry.join_keys.get(key)
    if not equals or entity is None:
        known = ", ".join(f"{name}=ID" for name in sorted(registry.join_keys))
        raise ConfigError(f"{words!r} does not name an entity: write {known}")
    problem = ids.problem(entity, text)
    if problem is not None:
        raise ConfigError(f"{key}: {problem}")
    return entity, text


def _confirmed(entity: Entity, text: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask on whether to erase: say --yes")
    print(f"Erase {entity.name} {text!r} and all pairs with it, in all views and versions? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


async def _erase(registry: Registry, entity: Entity, text: str, url: str) -> int:
    console = Console(stderr=True)
    async with store.open_store(url) as opened:
        eraser = RedisEraser(opened.client, opened.writer(), registry, now_micros=now_micros)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("keys", total=None)
            erased = await eraser.erase(
                entity, text, lambda done, total: progress.update(task, completed=done, total=total)
            )
    return _tell(erased, f"{entity.name} {text!r}")


def _tell(erased: Erased, who: str) -> int:
    for label, rows in sorted(erased.rows.items()):
        print(f"{label}: {counted(rows, 'row')} erased")
    if erased.left:
        wrote = "it" if len(erased.left) == 1 else "them"
        print(
            f"recsvc: {counted(len(erased.left), 'row')} stayed, a newer recsvc wrote {wrote}: delete with that one",
            file=sys.stderr,
        )
        return store.FAILED
    print(f"{who}: {counted(erased.rows.total(), 'row')} erased in {counted(len(erased.rows), 'view')}")
    return 0
