"""A data set that fits on a page, for the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

from recsvc.evaluation.data_set import DataSet, read_data_set

FILES = {
    "inter": [
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        *("1\t10\t5\t100", "1\t20\t3\t200", "1\t30\t4\t900"),
        *("2\t10\t4\t150", "2\t40\t5\t910", "2\t50\t2\t920"),
        *("3\t20\t5\t930", "3\t10\t4\t940"),
    ],
    "item": [
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        *(f"{item}\tFilm {item}\t1990\tComedy" for item in (10, 20, 30, 40, 50)),
    ],
    "user": [
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
        *(f"{user}\t30\tF\tother\t1000" for user in (1, 2, 3)),
    ],
}


def write(directory: Path, **files: list[str]) -> Path:
    """Write the files, some of them other than usual."""
    for kind, lines in (FILES | files).items():
        (directory / f"small.{kind}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory


def small(directory: Path) -> DataSet:
    """Return the data set."""
    return read_data_set(write(directory))
