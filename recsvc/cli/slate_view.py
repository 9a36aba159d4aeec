"""How a slate is printed: its items as a table, and below it what ordered them, what passed and what did not work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsvc.cli.console import counted, print_table
from recsvc.cli.get import text_of
from recsvc.client import Reason, Slate

WORDS: Final = {
    "SIMILAR_TO_TASTE": "taste",
    "SIMILAR_TO_SEED": "like seed",
    "SIMILAR_TO_RECENT": "like",
    "POPULAR": "popular",
    "NEW": "new",
    "PINNED": "pinned",
    "FILLED": "fills the slate",
    "BOOSTED": "boosted here",
}
_DIGITS: Final = 4
_READABLE: Final = range(-6, 10)
"""Powers of ten of scores that can be read without an exponent."""


def print_slate(console: Console, slate: Slate, names: Mapping[str, str] = MappingProxyType({})) -> None:
    """Print a slate as a table, and below it how it was made and what did not work.

    ``names``: what to call what left items out, by its name in the reply.
    """
    if slate:
        print_table(console, _table(slate))
    console.print(f"[dim]registry {slate.registry_fingerprint}{escape(_made(slate))}[/dim]", soft_wrap=True)
    for chosen in slate.assignments:
        console.print(f"[dim]experiment {chosen.experiment}: {chosen.variant} ({chosen.source.name})[/dim]")
    if slate.message.HasField("diagnostics"):
        console.print(f"[dim]{escape(_diagnosed(slate.message.diagnostics, names))}[/dim]", soft_wrap=True)
    elif not slate:
        console.print("no item passes; --explain says what left them out")
    for rule in slate.relaxed:
        console.print(f"[yellow]relaxed: {rule.name}[/yellow]")
    for flaw in slate.degraded:
        console.print(f"[yellow]degraded: {flaw.reason.name} {flaw.view or flaw.source}[/yellow]")


def _table(slate: Slate) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("item", justify="right")
    table.add_column("score", justify="right")
    titled = any(item.title for item in slate)
    if titled:
        table.add_column("title", overflow="fold")
    for name in slate.columns:
        table.add_column(name, overflow="fold")
    table.add_column("because of" if any(item.reasons for item in slate) else "from", overflow="fold")
    values = [column.expanded(len(slate)).to_list() for column in slate.columns.values()]
    scores = score_texts([item.score for item in slate])
    for index, (item, score) in enumerate(zip(slate, scores, strict=True)):
        why = escape(", ".join(dict.fromkeys(map(reason_text, item.reasons))) or ", ".join(item.sources))
        features = (text_of(column[index]) for column in values)
        title = [escape(item.title)] if titled else []
        table.add_row(str(item.rank), escape(item.id), score, *title, *features, why)
    return table


def _made(slate: Slate) -> str:
    """Return what ordered the items, if there are any, and which indexes were searched."""
    made = [f"index {name} {version}" for name, version in sorted(slate.index_versions.items())]
    if slate:
        known = [item.score for item in slate if not math.isnan(item.score)]
        by = slate.model_version if slate.ranked_by.name == "MODEL" else slate.ranked_by.name
        moved = " (score), then by diversity and rules" if known != sorted(known, reverse=True) else ""
        made = [f"ordered by {by}{moved}", *made]
    return f" · {', '.join(made)}" if made else ""


def reason_text(reason: Reason) -> str:
    """Return a reason for the eye."""
    words = WORDS.get(reason.code.name, reason.code.name.lower())
    return " ".join(word for word in (words, reason.item_id, reason.category) if word)


def _diagnosed(sent: Any, names: Mapping[str, str]) -> str:  # noqa: ANN401  # a message of the twin
    """Return how many items passed, what left how many of the rest out, and how many candidates each source found."""
    rest = sent.passed + sum(drop.dropped for drop in sent.drops)
    drops = [] if rest else ["the catalogue has none"]
    for drop in sent.drops:
        if drop.dropped:
            drops.append(f"{names.get(drop.filter, drop.filter)} left out {drop.dropped:,} of {rest:,}")
        rest -= drop.dropped
    passed = f"{counted(sent.passed, 'item')} passed" if sent.passed else "no item passes"
    found = ", ".join(f"{name} {n}" for name, n in sorted(sent.candidates.items())) if sent.passed else ""
    return f"{passed}: {', '.join(drops) or 'nothing was left out'}" + (f"; found: {found}" if found else "")


def score_texts(scores: Sequence[float]) -> Sequence[str]:
    """Return scores with the same decimals, so many that the largest has four digits; NaN, which is none, as -."""
    largest = max((abs(score) for score in scores if math.isfinite(score)), default=0.0)
    power = math.floor(math.log10(largest)) if largest else 0
    form = f".{max(0, _DIGITS - 1 - power)}f" if power in _READABLE else f".{_DIGITS - 1}e"
    return ["-" if math.isnan(score) else format(score, form) for score in scores]
