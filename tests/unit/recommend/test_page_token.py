"""Page tokens: they carry what the next page needs, and go with nothing but the request that they came from."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.errors import ConfigError, Kind
from recsvc.recommend.experiments import AssignedBy, Assignment
from recsvc.recommend.item_hashes import Hashes, hashes
from recsvc.recommend.page_token import (
    MAX_AGE_S,
    MAX_ITEMS,
    MAX_TOKEN,
    Page,
    PagedRequest,
    PageTokenError,
    PageTokens,
    TokenProblem,
    returned_hashes,
)
from recsvc.registry.conditions import AnyOf, Condition
from recsvc.registry.experiments import MAX_EXPERIMENTS

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
NOW_S = 1_800_000_000.5
TOKENS = PageTokens([KEY])
COMEDIES = [Condition("item:genre", AnyOf(["Comedy"]))]
REQUEST = PagedRequest("home", {"user_id": "196"}, COMEDIES, {"exclude": ["1", "2"], "seeds": []})
PAGE = Page(
    UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"),
    2**64 - 1,
    (Assignment("ranker", "trees", AssignedBy.HASHED), Assignment("layout", "control", AssignedBy.DEFAULT)),
    np.sort(hashes(["50", "181", "258"])),
)

names = st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=64)
plain = st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
requests = st.builds(
    PagedRequest,
    names,
    st.dictionaries(names, plain, max_size=2),
    st.lists(plain, max_size=3),
    st.dictionaries(names, plain, max_size=2),
)
arrays = st.lists(st.integers(0, 2**64 - 1), max_size=50).map(lambda v: np.sort(np.array(v, np.uint64)))
pages = st.builds(
    Page,
    st.uuids(),
    st.integers(0, 2**64 - 1),
    st.lists(st.builds(Assignment, names, names, st.sampled_from(AssignedBy)), max_size=MAX_EXPERIMENTS).map(tuple),
    arrays,
)


def token(request: PagedRequest = REQUEST, page: Page = PAGE, tokens: PageTokens = TOKENS) -> str:
    """Make a token that there can be."""
    made = tokens.encode(request, page, now_s=NOW_S)
    assert made is not None
    return made


def problem(text: str, request: PagedRequest = REQUEST, now_s: float = NOW_S) -> TokenProblem:
    """Return why a token is refused."""
    with pytest.raises(PageTokenError) as caught:
        TOKENS.decode(text, request, now_s=now_s)
    return caught.value.problem


def facts(page: Page) -> tuple[object, ...]:
    """Return a page as values that can be compared."""
    return page.session, page.seed, page.assignments, page.returned.tolist()


def random_hashes(count: int) -> Hashes:
    """Make hashes as unlike as those of ids."""
    return np.random.default_rng(7).integers(0, 2**64, count, np.uint64)


@given(requests, pages, st.floats(0, MAX_AGE_S - 1))
def test_what_goes_in_comes_out(request_: PagedRequest, page: Page, age_s: float) -> None:
    """For a day the next page gets all that this one handed on."""
    text = token(request_, page)
    assert facts(TOKENS.decode(text, request_, now_s=NOW_S + age_s)) == facts(page)


@given(requests, requests)
def test_a_token_goes_with_one_request_only(one: PagedRequest, other: PagedRequest) -> None:
    """Whatever differs, the token is refused."""
    text = token(one)
    if one == other:
        TOKENS.decode(text, other, now_s=NOW_S)
    else:
        assert problem(text, other).startswith("OTHER_")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (replace(REQUEST, placement="search"), TokenProblem.OTHER_PLACEMENT),
        (replace(REQUEST, user={"user_id": "197"}), TokenProblem.OTHER_USER),
        (replace(REQUEST, user={}), TokenProblem.OTHER_USER),
        (replace(REQUEST, filters=[]), TokenProblem.OTHER_FILTERS),
        (replace(REQUEST, filters=COMEDIES * 2), TokenProblem.OTHER_FILTERS),
        (replace(REQUEST, others={"exclude": ["1"], "seeds": []}), TokenProblem.OTHER_REQUEST),
        (replace(REQUEST, others={"exclude": ["1", "2"]}), TokenProblem.OTHER_REQUEST),
    ],
)
def test_the_error_says_what_differs(other: PagedRequest, says: TokenProblem) -> None:
    """A caller learns which field it changed."""
    assert problem(token(), other) is says


@given(st.data())
def test_a_changed_character_is_noticed(data: st.DataObject) -> None:
    """No character can be replaced, left out or added, not even where it would stand for the same bytes."""
    text = token()
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_=+/ \n\u00e9"))
    for changed in (text[:at] + letter + text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + letter + text[at:]):
        if changed != text:
            assert problem(changed) in (TokenProblem.TAMPERED, TokenProblem.UNKNOWN_FORMAT)


@pytest.mark.parametrize("placement", ["a", "ab", "abc"])
def test_a_token_has_one_spelling(placement: str) -> None:
    """Of the letters that would stand for the same last bytes only one is accepted."""
    request = replace(REQUEST, placement=placement)
    text = token(request)
    for letter in string.ascii_letters + string.digits + "-_":
        if letter != text[-1]:
            assert problem(text[:-1] + letter, request) is TokenProblem.TAMPERED


@given(st.text(max_size=200) | st.text(string.ascii_letters + string.digits + "-_", max_size=200))
def test_any_other_text_is_refused(text: str) -> None:
    """What a caller makes up is an error of one kind."""
    assert problem(text) in (TokenProblem.TAMPERED, TokenProblem.UNKNOWN_FORMAT)


def test_a_token_of_a_key_that_is_not_ours_is_refused() -> None:
    """Who has no key makes no token."""
    assert problem(token(tokens=PageTokens([OTHER_KEY]))) is TokenProblem.TAMPERED


def test_another_format_is_told_apart() -> None:
    """A token of a later version is not called tampered."""
    assert problem("Ag" + token()[2:]) is TokenProblem.UNKNOWN_FORMAT


def test_a_day_is_the_limit() -> None:
    """Up to a day a token is read, after that it is not."""
    text = token()
    TOKENS.decode(text, REQUEST, now_s=int(NOW_S) + MAX_AGE_S)
    assert problem(text, now_s=int(NOW_S) + MAX_AGE_S + 1) is TokenProblem.TOO_OLD


def test_a_clock_that_is_behind_does_no_harm() -> None:
    """A replica whose clock is late reads the token of one that is early."""
    TOKENS.decode(token(), REQUEST, now_s=NOW_S - 30)


@pytest.mark.parametrize("change", [lambda t: t + "A", lambda t: t[:-1], lambda t: t + "A" * MAX_TOKEN])
def test_the_error_is_the_callers_and_names_the_field(change: Callable[[str], str]) -> None:
    """It maps to INVALID_ARGUMENT, names page_token, and has the problem for programs; never the token itself."""
    with pytest.raises(PageTokenError) as caught:
        TOKENS.decode(change(token()), REQUEST, now_s=NOW_S)
    error = caught.value
    assert error.kind is Kind.INVALID_ARGUMENT
    assert [v.field for v in error.violations] == ["page_token"]
    assert error.metadata == {"problem": error.problem.value}
    assert token()[:20] not in str(error)


def test_keys_can_be_changed_without_a_gap() -> None:
    """All keys are accepted, the first one makes tokens."""
    both = PageTokens([OTHER_KEY, KEY])
    assert facts(both.decode(token(), REQUEST, now_s=NOW_S)) == facts(PAGE)
    assert problem(token(tokens=both)) is TokenProblem.TAMPERED
    PageTokens([OTHER_KEY]).decode(token(tokens=both), REQUEST, now_s=NOW_S)


@pytest.mark.parametrize("keys", [[], [b"short"], [KEY, b""]])
def test_weak_keys_are_refused(keys: list[bytes]) -> None:
    """A key that can be guessed is a mistake in the configuration."""
    with pytest.raises(ConfigError, match="--page-token-key: needs at least one key, each of at least 16 random bytes"):
        PageTokens(keys)


def test_the_longest_token_fits() -> None:
    """With as many items and experiments as there can be, and the longest names, it has at most 20 KB."""
    assignments = tuple(Assignment("e" * 63 + str(i), "v" * 64, AssignedBy.HASHED) for i in range(MAX_EXPERIMENTS))
    page = replace(PAGE, assignments=assignments, returned=random_hashes(MAX_ITEMS))
    request = replace(REQUEST, placement="p" * 64)
    text = token(request, page)
    assert 18_000 < len(text) <= MAX_TOKEN
    assert TOKENS.decode(text, request, now_s=NOW_S).returned.tolist() == np.sort(page.returned).tolist()


def test_past_the_bound_there_is_no_token() -> None:
    """Reading on ends after so many items."""
    assert TOKENS.encode(REQUEST, replace(PAGE, returned=random_hashes(MAX_ITEMS + 1)), now_s=NOW_S) is None


def test_pages_add_up() -> None:
    """Each page's token has the items of all pages so far."""
    first = returned_hashes(None, hashes(["50", "181"]))
    read = TOKENS.decode(token(page=replace(PAGE, returned=first)), REQUEST, now_s=NOW_S)
    every = returned_hashes(read, hashes(["258"]))
    assert sorted(every.tolist()) == sorted(hashes(["50", "181", "258"]).tolist())


def test_nothing_of_user_or_key_shows() -> None:
    """Digests have the key in them, so nobody without it can try out users."""
    assert repr(PageTokens([KEY])) == "PageTokens(1 keys)"
    digests = {token(tokens=PageTokens([key]))[50:110] for key in (KEY, OTHER_KEY)}
    assert len(digests) == 2
