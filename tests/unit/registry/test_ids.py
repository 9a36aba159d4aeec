"""What is an id and what is not, and that errors say why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import INT64, STRING, Entity
from recsvc.registry.ids import are_ids, problem, problems
from recsvc.registry.types import INT64_MAX, INT64_MIN
from tests.unit.online.strategies import int64s

USER = Entity("user", "user_id", INT64)
ITEM = Entity("item", "item_id", STRING)


@given(int64s)
def test_every_integer_of_64_bits_is_an_id(number: int) -> None:
    """Canonical decimal of 64 bits is an id of an INT64 entity."""
    assert problem(USER, str(number)) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "0196", "+1", "196.0", "1e3", "-0", "00", "--1", "-", "1 ", " 1", "1\n", "1_000", "0x1", "a", "-01"),
        *("\u0661", "\uff11", "\u00b2", str(INT64_MAX + 1), str(INT64_MIN - 1), "9" * 20, "9" * 10_000, "\ud800"),
    ],
)
def test_anything_else_is_none(text: str) -> None:
    """Only canonical decimal is taken: one number has one id, and so one row."""
    wrong = problem(USER, text)
    assert wrong is not None
    assert "canonical decimal" in wrong
    assert len(wrong) < 200


@given(st.text())
def test_a_number_has_one_id(text: str) -> None:
    """A text that is an id of an INT64 entity is what Python writes for that number."""
    if problem(USER, text) is None:
        assert str(int(text)) == text


@pytest.mark.parametrize("text", ["a", " ", "\0", "196", "a/b c", "é", "e\u0301", "\U0001f600", "x" * 512, "é" * 256])
def test_any_text_up_to_512_bytes_is_an_id(text: str) -> None:
    """Ids of STRING entities are bytes: any characters, none of them changed."""
    assert problem(ITEM, text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must not be empty"),
        ("x" * 513, "has 513 bytes, an id has at most 512"),
        ("é" * 257, "has 514 bytes, an id has at most 512"),
        ("\U0001f600" * 129, "has 516 bytes, an id has at most 512"),
        ("\ud800", "cannot be written as UTF-8"),
        ("\ud800" * 200, "cannot be written as UTF-8"),
    ],
)
def test_a_text_that_is_no_id_says_why(text: str, words: str) -> None:
    """The line says what is wrong and what would be right, and does not repeat a long text."""
    wrong = problem(ITEM, text)
    assert wrong is not None
    assert words in wrong
    assert len(wrong) < 600


@given(st.text())
def test_an_id_is_1_to_512_bytes(text: str) -> None:
    """Exactly what UTF-8 can write in 1 to 512 bytes is an id of a STRING entity."""
    try:
        right = 1 <= len(text.encode()) <= 512
    except UnicodeEncodeError:
        right = False
    assert (problem(ITEM, text) is None) == right


@given(
    st.lists(st.one_of(int64s.map(str), st.integers(0, 99).map(str), st.text("01-9\n a\u0661", max_size=3)), max_size=4)
)
def test_a_column_is_right_where_each_of_it_is(texts: list[str]) -> None:
    """One look at all of a column never takes what a look at each would not, in either kind of ids."""
    for entity in (USER, ITEM):
        wrong = [(i, problem(entity, text)) for i, text in enumerate(texts) if problem(entity, text) is not None]
        assert list(problems(entity, texts)) == wrong
        if are_ids(entity, texts):
            assert not wrong


def test_all_wrong_ids_of_a_column_are_found() -> None:
    """Each wrong id is told with its place, not the first only."""
    found = list(problems(USER, ["1", "01", "2", "x"]))
    assert [index for index, _ in found] == [1, 3]
    assert "'01'" in found[0][1]
