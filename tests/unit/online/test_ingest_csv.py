"""CSV files: the line that each row begins on, malformed rows, blank lines, quotes, and files that cannot be read."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.errors import ConfigError
from recsvc.online.ingest import open_reader
from recsvc.online.ingest_csv import CsvReader

CELL = st.text(st.sampled_from('ab,"\n\t é'), max_size=5)
ROW = st.lists(CELL, min_size=3, max_size=3)
MALFORMED = st.lists(CELL, min_size=4, max_size=5) | st.lists(CELL, min_size=2, max_size=2)


@dataclass
class Read:
    """All that a reader gives of a file: (line, cells) of rows, (line, reason) of malformed ones."""

    rows: list[tuple[int, list[bytes | None]]]
    malformed: list[tuple[int, str]]


def read(path: Path, delimiter: str = ",", **options: int) -> Read:
    """Read all of a file."""
    found = Read([], [])
    for piece in CsvReader(path, delimiter, **options).pieces([]):
        cells = [list(row.values()) for row in piece.batch.to_pylist()]
        found.rows += list(zip(piece.numbers.tolist(), cells, strict=True))
        found.malformed += piece.malformed
    return found


def written(tmp: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    """Write a file."""
    path = tmp / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@given(
    rows=st.lists(st.tuples(st.sampled_from("gmb"), ROW, MALFORMED), max_size=12),
    delimiter=st.sampled_from(",\t;"),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.sampled_from([128, 256, 1 << 20]),
)
def test_every_row_is_given_with_its_line(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, list[str], list[str]]],
    delimiter: str,
    end: str,
    block: int,
) -> None:
    """Whatever stands in cells and between rows, each row and each malformed row has the line that it begins on."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
    writer.writerow(["one", "two\nlines", "three"])
    good, malformed = [], []
    for kind, cells, wrong in rows:
        line = file.getvalue().count("\n") + 1
        if kind == "b":
            file.write(end)
        elif kind == "m":
            writer.writerow(wrong)
            malformed.append((line, len(wrong)))
        else:
            writer.writerow(cells)
            good += [(line, [c.encode() or None for c in cells])] if any(cells) else []
    path = written(tmp_path_factory.mktemp("csv"), file.getvalue())
    found = read(path, delimiter, block_bytes=block)
    assert found.rows == good
    assert [(line, int(reason.split()[1])) for line, reason in found.malformed] == malformed


def test_malformed_rows_say_how_many_cells_they_have(tmp_path: Path) -> None:
    """A row with too few or too many cells is told by its line and its number of cells."""
    found = read(written(tmp_path, 'a,b\n1,2\n3\n"4\n4",5,6\n7,8\n'))
    assert [line for line, _ in found.rows] == [2, 6]
    assert found.malformed == [
        (3, "has 1 cells, the header has 2"),
        (4, "has 3 cells, the header has 2 (or a quote that is not closed)"),
    ]


def test_rows_without_any_value_are_skipped(tmp_path: Path) -> None:
    """Blank lines, also at the end, and rows of empty cells only are no rows, and lines are counted over them."""
    found = read(written(tmp_path, 'a,b\n\n,\n"",\n1,\n\n\n'))
    assert found == Read([(5, [b"1", None])], [])


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    """Files that spreadsheets wrote name their first column right."""
    assert CsvReader(written(tmp_path, b"\xef\xbb\xbfa,b\n1,2\n"), ",").columns.names == ["a", "b"]


def test_a_cell_that_is_not_utf8_is_given_as_it_is(tmp_path: Path) -> None:
    """One wrong cell does not end the reading; the column's conversion judges it."""
    assert read(written(tmp_path, b"a,b\n\xff,1\n2,3\n")).rows == [(2, [b"\xff", b"1"]), (3, [b"2", b"3"])]


def test_a_quote_that_is_never_closed_takes_the_last_row_with_it(tmp_path: Path) -> None:
    """The row that swallowed the rest of the file is refused, though it has the right number of cells."""
    found = read(written(tmp_path, 'a,b\n1,2\n3,"4\n5,6\n7,8\n'))
    assert [line for line, _ in found.rows] == [2]
    assert found.malformed == [(3, "a quoted cell is never closed, all that follows is in it")]


def test_a_row_that_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    """A quoted cell that does not end within a block gives one line that says where and why."""
    path = written(tmp_path, 'a,b\n1,2\n3,"' + "x\n" * 3_000_000 + '"\n')
    with pytest.raises(ConfigError, match=r"rows.csv: a row on line 3 or after is longer than 1 MiB; is a quote"):
        read(path)


def test_gzipped_files_are_unpacked(tmp_path: Path) -> None:
    """A file that ends in .gz gives the rows of the file inside; cut short, it says so."""
    packed = gzip.compress(b"a,b\n1,2\n")
    assert read(written(tmp_path, packed, "rows.csv.gz")).rows == [(2, [b"1", b"2"])]
    with pytest.raises(ConfigError, match=r"rows.csv.gz cannot be read: Compressed file ended"):
        read(written(tmp_path, packed[:-6], "rows.csv.gz"))


def test_progress_is_in_bytes_of_the_file(tmp_path: Path) -> None:
    """The last piece is at the file's size, and none is behind the one before."""
    path = written(tmp_path, "a,b\n" + "1,2\n" * 10_000)
    reader = CsvReader(path, ",", block_bytes=4_096)
    done = [piece.done for piece in reader.pieces([])]
    assert done == sorted(done)
    assert done[-1] == reader.size == path.stat().st_size


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("rows.csv", "", "rows.csv is empty; its first line must name the columns"),
        ("rows.parquet", "a,b\n", "rows.parquet cannot be read: "),
        ("rows.json", "{}", "its name must end in .parquet, .csv, .tsv or .txt, or say --delimiter"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, text: str, problem: str) -> None:
    """Opening names the file and what is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        open_reader(written(tmp_path, text, name))
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    """A missing file is one line with its name."""
    with pytest.raises(ConfigError, match=rf"{name} cannot be read: No such file or directory"):
        open_reader(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "delimiter", "text"),
    [
        ("rows.csv", None, "a,b\n"),
        ("ROWS.TSV", None, "a\tb\n"),
        ("rows.txt", None, "a\tb\n"),
        ("rows.csv", ";", "a;b\n"),
        ("rows.data", "|", "a|b\n"),
    ],
)
def test_the_delimiter_follows_from_the_name_unless_told(
    tmp_path: Path, name: str, delimiter: str | None, text: str
) -> None:
    """Endings decide the delimiter, and a given one decides over them."""
    assert open_reader(written(tmp_path, text, name), delimiter).columns.names == ["a", "b"]
