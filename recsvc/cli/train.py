"""``recsvc train als | ranker``: what is learnt from what users did, for recommendations."""

from __future__ import annotations

import argparse

from recsvc.cli import train_als, train_ranker


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser("train", help="train embeddings and rankers for recommendations")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    train_als.add_parser(actions)
    train_ranker.add_parser(actions)
