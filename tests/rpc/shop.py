"""The goods and users of the shop, who of them may come by plain Python, and someone who asks for slates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf.empty_pb2 import Empty

from recsvc.app import App
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend.index.directory import write
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.published import publish
from recsvc.recommend.index.table import vector_table
from recsvc.recommend.ranking.bundle import write_bundle
from recsvc.recommend.ranking.linear import LinearModel
from tests.rpc.calling import PATIENCE, Caller, Refusal
from tests.rpc.rows import Rows, now_micros
from tests.rpc.shop_definitions import DIMENSION, goods, met, registry, taste, trend

SPEC: Final = str(Path(__file__).with_name("shop_definitions.py"))
METHOD: Final = "/recsvc.v1.ServingService/Recommend"
COUNT: Final = 60
IDS: Final = [f"i{k:02}" for k in range(COUNT)]
CATEGORIES: Final = ("book", "film", "game", None)
TAGS: Final = ("red", "blue", "new", "old")
DAY: Final = 86_400_000_000
START: Final = now_micros()
WITH_VECTOR: Final = IDS[:-5]
WEIGHTS: Final = (0.1, -2.0, 0.5, 1.0, 0.0)
MEANS: Final = (50.0, 40.0, 5.0, 2.0, 30.0)
SCALES: Final = (20.0, 25.0, 2.0, 1.5, 10.0)
Good = dict[str, Any]


def good(k: int) -> Good:
    """Return the features of item k; every tenth is not available, and of item 58 nobody knows."""
    return {
        "available": None if k == 58 else k % 10 != 9,
        "category": CATEGORIES[k % 4],
        "created_at": START - k * DAY,
        "price": None if k % 7 == 3 else 1.5 * k,
        "stock": k % 5,
        "tags": None if k % 11 == 5 else [tag for bit, tag in enumerate(TAGS) if k >> bit & 1],
        "fragile": None if k % 13 == 6 else k % 3 == 0,
        "margin": (k * 7 % 10) / 1.0,
        "title": None if k % 5 == 2 else f"Good {k}",
    }


GOODS: Final[Mapping[str, Good]] = {name: good(k) for k, name in enumerate(IDS)}
POPULARITY: Final = {name: float(100 - k) for k, name in enumerate(IDS)}
AVAILABLE: Final = {name for name, of in GOODS.items() if of["available"]}
VECTORS: Final = np.random.default_rng(20).normal(size=(len(WITH_VECTOR), DIMENSION)).astype(np.float32)


@dataclass(frozen=True)
class User:
    """What is known of a user; ``pairs``: whether each item was seen, as the pairs of user and item have it."""

    embedding: Sequence[float] | None = None
    recent: Sequence[str] | None = None
    owned: Sequence[str] | None = None
    age: int | None = None
    pairs: Mapping[str, bool | None] = field(default_factory=dict)

    @property
    def seen(self) -> set[str]:
        """Items that must not come again."""
        return {*(self.owned or ()), *(name for name, seen in self.pairs.items() if seen)}


USERS: Final = {
    "1": User(
        VECTORS[12].tolist(),
        ["i03", "i07"],
        ["i03", "i07", "i11"],
        44,
        {"i00": True, "i01": True, "i30": True, "i04": False, "i05": None},
    ),
    "2": User(embedding=VECTORS[30].tolist()),
    "3": User(owned=IDS[:50], pairs=dict.fromkeys(IDS[50:56], True)),
    "4": User(recent=["i02", "i06"], pairs=dict.fromkeys(IDS[:45], True)),
}


def fill(rows: Rows) -> None:
    """Write all goods and users, and an item that has nothing but popularity."""
    for name, of in GOODS.items():
        rows.put(goods, [name], of)
        rows.put(trend, [name], {"popularity": POPULARITY[name]})
    rows.put(trend, ["ghost"], {"popularity": 1e6})
    for name, user in USERS.items():
        values = {"embedding": user.embedding, "recent": user.recent, "owned": user.owned, "age": user.age}
        rows.put(taste, [name], values)
        for item, seen in user.pairs.items():
            rows.put(met, [name, item], {"seen": seen, "count": 1})


def publish_index(root: Path, version: str = "v1") -> None:
    """Publish the index of looks in a directory of indexes."""
    index = ExactIndex(vector_table(WITH_VECTOR, VECTORS, Metric.INNER_PRODUCT), version=version)
    write(root / "looks", index, VECTORS[:8])
    publish(root / "looks", version)


def write_model(root: Path, version: str | None = None) -> None:
    """Write the linear model into a directory of models; with a version as one of several, else as the only one."""
    model = LinearModel(0.25, WEIGHTS, MEANS, SCALES)
    rows = np.random.default_rng(3).normal(size=(4, len(WEIGHTS)))
    directory = root / "linear" if version is None else root / "linear" / version
    named = {"name": "linear", "version": version or "7", "service": "ranking"}
    write_bundle(directory, model, **named, registry=registry, warm_up=rows)


def model_scores(user: str) -> dict[str, dict[str, float]]:
    """Return what each feature adds to the score of each item, by the formula of the linear model."""
    names = ["trend:popularity", "goods:price", "goods:margin", "goods:stock", "taste:age"]
    age = USERS[user].age
    added = {}
    for item, of in GOODS.items():
        values = [POPULARITY[item], of["price"], of["margin"], of["stock"], 30 if age is None else age]
        terms = zip(names, values, WEIGHTS, MEANS, SCALES, strict=True)
        added[item] = {n: 0.0 if v is None else w * (v - mean) / scale for n, v, w, mean, scale in terms}
    return added


def values(*given: float | str | bool) -> pb.ValueList:
    """Return values of the kinds that Python has them in."""
    return pb.ValueList(values=map(value, given))


def value(of: float | str | bool) -> pb.Value:  # noqa: FBT001  # a value of that kind
    """Return a value of the kind that Python has it in."""
    match of:
        case bool():
            return pb.Value(bool_value=of)
        case int():
            return pb.Value(int64_value=of)
        case float():
            return pb.Value(float64_value=of)
        case _:
            return pb.Value(string_value=of)


def end(of: float, *, exclusive: bool = False, time: bool = False) -> pb.RangeEnd:
    """Return the end of a range; ``time``: of microseconds since 1970."""
    number = pb.Value(timestamp_micros_value=int(of)) if time else value(of)
    return pb.RangeEnd(value=number, exclusive=exclusive)


def any_of(feature: str, *given: float | str | bool) -> pb.Filter:
    """Return the filter."""
    return pb.Filter(feature=feature, any_of=values(*given))


def all_of(feature: str, *given: float | str | bool) -> pb.Filter:
    """Return the filter."""
    return pb.Filter(feature=feature, all_of=values(*given))


def none_of(feature: str, *given: float | str | bool) -> pb.Filter:
    """Return the filter."""
    return pb.Filter(feature=feature, none_of=values(*given))


def between(feature: str, low: pb.RangeEnd | None = None, high: pb.RangeEnd | None = None) -> pb.Filter:
    """Return the filter."""
    return pb.Filter(feature=feature, range=pb.ValueRange(min=low, max=high))


def is_true(feature: str) -> pb.Filter:
    """Return the filter."""
    return pb.Filter(feature=feature, is_true=Empty())


def is_present(feature: str) -> pb.Filter:
    """Return the filter."""
    return pb.Filter(feature=feature, is_present=Empty())


def passes(name: str, wanted: pb.Filter) -> bool:
    """Say whether an item passes a filter, by what the contract says of it."""
    found = GOODS[name][wanted.feature.partition(":")[2]]
    kind = wanted.WhichOneof("predicate")
    if found is None:
        return kind == "none_of"
    held = set(found) if isinstance(found, list) else {found}
    match kind:
        case "any_of" | "all_of" | "none_of":
            asked = {_plain(v) for v in getattr(wanted, kind).values}
            return {"any_of": bool(held & asked), "all_of": asked <= held, "none_of": not held & asked}[kind]
        case "range":
            return _lies_in(found, wanted.range)
        case "is_true":
            return found is True
    return True


def _plain(of: pb.Value) -> Any:  # noqa: ANN401  # of whatever kind
    kind = of.WhichOneof("kind")
    assert kind is not None
    return getattr(of, kind)


def _lies_in(number: float, ends: pb.ValueRange) -> bool:
    low, high = _plain(ends.min.value) if ends.HasField("min") else None, None
    if ends.HasField("max"):
        high = _plain(ends.max.value)
    above = low is None or number > low or (number == low and not ends.min.exclusive)
    below = high is None or number < high or (number == high and not ends.max.exclusive)
    return above and below


def who_may_come(
    user: str = "", filters: Iterable[pb.Filter] = (), exclude: Iterable[str] = (), seeds: Iterable[str] = ()
) -> set[str]:
    """Return the items that may come to a user in a placement that minds what the user has seen."""
    left = AVAILABLE - {*exclude, *seeds}
    left -= USERS[user].seen if user in USERS else set()
    conditions = list(filters)
    return {name for name in left if all(passes(name, wanted) for wanted in conditions)}


def names(reply: pb.RecommendResponse) -> list[str]:
    """Return the ids of a slate, in order."""
    return [item.item_id for item in reply.items]


def flaws(reply: pb.RecommendResponse) -> set[tuple[str, str]]:
    """Return what a slate says did not work: (reason, view or part)."""
    name = pb.DegradationReason.Name
    return {(name(d.reason).removeprefix("DEGRADATION_REASON_"), d.view or d.source) for d in reply.degraded}


@dataclass(frozen=True)
class Shop:
    """A running server, and someone who asks it for slates."""

    app: App
    caller: Caller
    rows: Rows

    async def slate(self, placement: str = "home", **fields: Any) -> pb.RecommendResponse:  # noqa: ANN401  # of the request
        """Return a slate."""
        request = pb.RecommendRequest(placement=placement, **fields)
        answer = await self.caller.raw(METHOD, request.SerializeToString(), PATIENCE)
        return pb.RecommendResponse.FromString(answer)

    async def refused(self, placement: str = "home", **fields: Any) -> Refusal:  # noqa: ANN401  # of the request
        """Return how a request is refused; that it is answered is a failure."""
        request = pb.RecommendRequest(placement=placement, **fields)
        return await self.caller.refused_raw(METHOD, request.SerializeToString())

    async def pages(self, placement: str = "home", **fields: Any) -> list[pb.RecommendResponse]:  # noqa: ANN401
        """Return all pages of a slate."""
        found = [await self.slate(placement, **fields)]
        while found[-1].next_page_token:
            assert len(found) < 2 * COUNT, "pages without an end"
            found.append(await self.slate(placement, **fields, page_token=found[-1].next_page_token))
        return found
