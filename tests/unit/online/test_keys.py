"""Keys are as the format says, differ for different rows, and can be taken apart again."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from recsvc import INT64, Entity, Feature, FeatureView
from recsvc.online.keys import KeyMaker, bucket, by_tag, escape, parse, tag_for, tag_runs
from tests.unit.online.strategies import FEW, MANY, ids

USER = Entity("user", "user_id", INT64)
GUEST = Entity("guest", "guest_id")
ITEM = Entity("item", "item_id", spread=32)
SHOP = Entity("shop", "shop_id", spread=1)


def view(name: str, *entities: Entity, version: int = 1) -> FeatureView:
    """Return a view of these entities."""
    return FeatureView(name, entities, [Feature("x", INT64)], version=version)


VIEWS = [
    view("profile", GUEST),
    view("profile", GUEST, version=2),
    view("profile", GUEST, version=21),
    view("profil", GUEST),
    view("stats", ITEM),
    view("stats", SHOP),
    view("pair", GUEST, ITEM),
    view("pair", ITEM, GUEST),
    view("trio", GUEST, ITEM, SHOP),
]


def key_of(of: FeatureView, *texts: str) -> bytes:
    """Return the key of one row."""
    return KeyMaker(of).keys([[text] for text in texts])[0]


@pytest.mark.parametrize(
    ("of", "texts", "key"),
    [
        (view("profile", USER), ["196"], "fs:{196}:user:profile:v1"),
        (view("profile", USER), ["-1"], "fs:{-1}:user:profile:v1"),
        (view("stats", ITEM, version=12), ["i1"], "fs:{~11}:item:i1:stats:v12"),
        (view("stats", SHOP), ["i1"], "fs:{~0}:shop:i1:stats:v1"),
        (view("pair", USER, ITEM), ["196", "i1"], "fs:{196}:user+item:i1:pair:v1"),
        (view("pair", ITEM, USER), ["i1", "196"], "fs:{~11}:item+user:i1:196:pair:v1"),
        (view("profile", GUEST), ["a:b{c} é"], "fs:{a%3Ab%7Bc%7D%20é}:guest:profile:v1"),
        (view("profile", GUEST), ["~2"], "fs:{%7E2}:guest:profile:v1"),
    ],
)
def test_keys_are_as_the_format_has_them(of: FeatureView, texts: list[str], key: str) -> None:
    """Keys never change: rows are found by them."""
    assert key_of(of, *texts) == key.encode()


@st.composite
def rows(draw: st.DrawFn) -> tuple[FeatureView, tuple[str, ...]]:
    """Draw a view and the ids of one of its rows."""
    of = draw(st.sampled_from(VIEWS))
    return of, tuple(draw(ids) for _ in of.entities)


@given(st.lists(rows(), min_size=2, max_size=20, unique_by=lambda r: (r[0].label, str(r[0].entities), r[1])))
@MANY
def test_different_rows_have_different_keys(drawn: list[tuple[FeatureView, tuple[str, ...]]]) -> None:
    """Whatever the ids are, no two rows of any views share a key."""
    keys = [key_of(of, *texts) for of, texts in drawn]
    assert len(set(keys)) == len(keys)


@given(rows())
@MANY
def test_a_key_can_be_taken_apart(drawn: tuple[FeatureView, tuple[str, ...]]) -> None:
    """parse() gives entities, ids, view and version back."""
    of, texts = drawn
    parsed = parse(key_of(of, *texts))
    assert parsed is not None
    assert parsed.ids == tuple((e.name, t) for e, t in zip(of.entities, texts, strict=True))
    assert (parsed.view, parsed.version) == (of.name, of.version)


@given(rows())
@MANY
def test_the_tag_alone_decides_the_slot(drawn: tuple[FeatureView, tuple[str, ...]]) -> None:
    """Braces of ids are escaped, so that a cluster hashes the tag, which is that of the first entity's id."""
    of, texts = drawn
    key = key_of(of, *texts)
    (tag,) = by_tag([key])
    assert tag.decode() == tag_for(of.entities[0], texts[0])
    assert key_slot(key) == key_slot(tag)
    assert key.count(b"{") == key.count(b"}") == 1
    assert not set(b"*?[]\\^\"' \x00\n\x7f") & set(key)


@given(st.sampled_from(VIEWS), st.data())
@FEW
def test_a_column_of_ids_gives_the_keys_of_each(of: FeatureView, data: st.DataObject) -> None:
    """Keys made together are those made one by one, in order."""
    n = data.draw(st.integers(0, 6))
    columns = [data.draw(st.lists(ids, min_size=n, max_size=n)) for _ in of.entities]
    assert KeyMaker(of).keys(columns) == [key_of(of, *texts) for texts in zip(*columns, strict=True)]


@given(st.sampled_from(VIEWS), st.data())
@FEW
def test_a_single_id_stands_for_all_rows(of: FeatureView, data: st.DataObject) -> None:
    """A column of one id gives the keys that a column which repeats it gives; beside an empty one, none."""
    n = data.draw(st.sampled_from([0, 1, 2, 5]))
    columns = [
        data.draw(st.lists(ids, min_size=k, max_size=k))
        for k in (data.draw(st.sampled_from([1, n])) for _ in of.entities)
    ]
    rows = max(map(len, columns)) if all(columns) else 0
    whole = [column * rows if len(column) == 1 else column for column in columns]
    assert KeyMaker(of).keys(columns) == [key_of(of, *texts) for texts in zip(*whole, strict=True)]


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode(errors="surrogatepass"))))
@MANY
def test_other_keys_are_not_taken_for_ours(key: bytes) -> None:
    """Any bytes parse to nothing, or to ids that make this very key."""
    assert parse(key) is None


@given(rows(), st.data())
@MANY
def test_only_canonical_keys_are_taken_apart(drawn: tuple[FeatureView, tuple[str, ...]], data: st.DataObject) -> None:
    """A key with a character changed is no key, or the key of another row that has just this one."""
    key = key_of(drawn[0], *drawn[1])
    place = data.draw(st.integers(0, len(key) - 1))
    changed = (
        key[:place] + data.draw(st.sampled_from([b"", b"%", b":", b"{", b"~", b"+", b"0", b"\xff"])) + key[place + 1 :]
    )
    parsed = parse(changed)
    if parsed is not None:
        ends = f":{parsed.view}:v{parsed.version}"
        names = "+".join(name for name, _ in parsed.ids)
        escaped = [escape(text) for _, text in parsed.ids]
        spread = changed.startswith(b"fs:{~")
        texts = escaped if spread else escaped[1:]
        tag = next(iter(by_tag([changed]))).decode() if spread else escaped[0]
        assert ":".join([f"fs:{{{tag}}}", names, *texts]) + ends == changed.decode()


@pytest.mark.parametrize(
    "key",
    [
        "fs:{1}:user:profile:v0",
        "fs:{1}:user:profile:v01",
        f"fs:{{1}}:user:profile:v{'9' * 5_000}",
        "fs:{1}:user:profile",
        "fs:{}:user:profile:v1",
        "fs:{1}:user:2:profile:v1",
        "fs:{1}:user+item:profile:v1",
        "fs:{1}:user+:profile:v1",
        "fs:{~01}:item:1:stats:v1",
        "fs:{~-1}:item:1:stats:v1",
        "fs:{~1}:item:stats:v1",
        "fs:{%41}:user:profile:v1",
        "fs:{%c3%a9}:user:profile:v1",
        "fs:{1 }:user:profile:v1",
        "fs:schema:profile:v1",
        "fs:changes:profile",
        "other:{1}:user:profile:v1",
    ],
)
def test_keys_of_other_forms_are_not_ours(key: str) -> None:
    """A key that we would never write is not taken apart, however close it comes."""
    assert parse(key.encode()) is None


@pytest.mark.parametrize(
    ("text", "hashed"),
    # CRC-32/ISO-HDLC: the check value of the algorithm's definition, and others by an independent implementation.
    [("123456789", 0xCBF43926), ("a", 0xE8B7BE43), ("i1", 0xA438C22B), ("é", 0x0E048D3E)],
)
@pytest.mark.parametrize("spread", [1, 2, 32, 1_024])
def test_buckets_are_stable(text: str, hashed: int, spread: int) -> None:
    """The bucket of an id is for ever: CRC-32 of its UTF-8, modulo the spread."""
    assert bucket(text, spread) == hashed % spread
    assert tag_for(Entity("e", "e_id", spread=spread), text) == f"~{hashed % spread}"


def test_buckets_share_the_load() -> None:
    """Of many ids, each bucket gets about its share."""
    counts: dict[int, int] = {}
    for i in range(32_000):
        number = bucket(f"item-{i}", 32)
        counts[number] = counts.get(number, 0) + 1
    assert len(counts) == 32
    assert all(850 < n < 1_150 for n in counts.values())


def test_pairs_lie_with_their_first_entity() -> None:
    """All rows of one user, pairs with any item among them, share a slot."""
    pairs = [key_of(view("pair", USER, ITEM), "7", f"i{i}") for i in range(50)]
    assert set(by_tag(pairs)) == set(by_tag([key_of(view("profile", USER), "7")]))


@given(st.lists(ids, max_size=40))
def test_keys_are_grouped_by_tag(texts: list[str]) -> None:
    """Groups have the indices of their keys in order; runs are as long, in an order that puts each side by side."""
    keys = [key_of(view("profile", USER), text) for text in texts]
    tags = [tag_for(USER, text).encode() for text in texts]
    assert by_tag(keys) == {tag: [i for i, other in enumerate(tags) if other == tag] for tag in tags}
    order, runs = tag_runs(keys)
    ordered = tags if order is None else [tags[i] for i in order]
    assert sorted(range(len(keys)) if order is None else order) == list(range(len(keys)))
    assert runs == [len(list(run)) for _, run in groupby(ordered)]
    assert len(runs) == len(set(tags))


def test_a_key_maker_says_what_it_makes() -> None:
    """repr() shows the form of the keys."""
    assert repr(KeyMaker(view("pair", USER, ITEM))) == "KeyMaker(fs:{…}:user+item…:pair:v1)"


def test_keys_of_one_tag_are_put_side_by_side() -> None:
    """An order of all indices, in which those of a tag follow each other; none where they do already."""
    mixed = [key_of(view("pair", USER, ITEM), user, item) for item in "ab" for user in ("7", "8", "9")]
    order, runs = tag_runs(mixed)
    assert order is not None
    assert sorted(order) == list(range(6))
    assert runs == [2, 2, 2]
    assert tag_runs([mixed[i] for i in order]) == (None, [2, 2, 2])
    assert tag_runs([]) == (None, [])
