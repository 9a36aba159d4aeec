"""References: what has their form, and what is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.registry.reference import Reference, is_name, parse

RIGHT = {
    "p": Reference("p", None, None),
    "p:f": Reference("p", None, "f"),
    "p@v2": Reference("p", 2, None),
    "p@v12:f_1": Reference("p", 12, "f_1"),
    "request:now": Reference("request", None, "now"),
}


@pytest.mark.parametrize("text", RIGHT)
def test_a_reference_is_taken_apart(text: str) -> None:
    """View, version and feature are found, and the view's part is as it was written."""
    parsed = parse(text)
    assert parsed == RIGHT[text]
    assert parsed is not None
    assert text.startswith(parsed.prefix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "p:",
        ":f",
        "p@2",
        "p@v0",
        "p@v01",
        "p@v",
        "p@v1234567890",
        "P:f",
        "p:F",
        "p f",
        "p:f:g",
        "p:f\n",
        "é",
        "1p",
        "p-q",
    ],
)
def test_other_forms_are_none(text: str) -> None:
    """What has not the form is no reference, whatever is close to it."""
    assert parse(text) is None


@given(st.text(max_size=20))
def test_any_text_is_a_reference_or_none(text: str) -> None:
    """A text that parses is what its parts make."""
    parsed = parse(text)
    if parsed is not None:
        assert parsed.prefix + (f":{parsed.feature}" if parsed.feature else "") == text


@pytest.mark.parametrize(
    ("name", "right"), [("a", True), ("a_1", True), ("a" * 64, True), ("a" * 65, False), ("", False)]
)
def test_names(name: str, right: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """A name is lower-case letters, digits and underscores, at most 64."""
    assert is_name(name) is right


@pytest.mark.parametrize("name", ["A", "1a", "_a", "a-b", "a.b", "é", "a\n", " a", None, 5])
def test_what_is_no_name(name: object) -> None:
    """Anything else is none."""
    assert not is_name(name)
