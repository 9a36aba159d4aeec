"""Builds a read plan from references that are known to be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsvc.registry.model import FeatureView, OnDemandView
from recsvc.registry.plan import ComputedColumn, ReadPlan, RequestColumn, Slot, StoredColumn, ViewRead
from recsvc.registry.reference import REQUEST, parse

if TYPE_CHECKING:
    from recsvc.registry.registry import Registry

_Key = tuple[str, int, str]


class Planner:
    """Collects outputs one reference at a time; ``plan()`` gives the result."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._outputs: list[tuple[str, _Key]] = []

    def __repr__(self) -> str:
        return f"Planner({len(self._outputs)} outputs)"

    def add(self, text: str) -> None:
        """Add the feature, or all features of the view, that a right reference names."""
        reference = parse(text)
        if reference is None:
            raise AssertionError(f"{text!r} was checked before")
        names = (reference.feature,) if reference.feature else self._registry.features_of(reference) or ()
        self._outputs += [(f"{reference.prefix}:{name}", self._key(f"{reference.prefix}:{name}")) for name in names]

    def _key(self, text: str) -> _Key:
        reference = parse(text)
        if reference is None or reference.feature is None:
            raise AssertionError(f"{text!r} was checked before")
        return reference.view, reference.version or self._registry.active.get(reference.view, 0), reference.feature

    def plan(self) -> ReadPlan:
        """Return the plan of all that was added."""
        order: dict[_Key, None] = {}
        for _, key in self._outputs:
            self._visit(key, order)
        reads = self._reads(order)
        slots: list[Slot] = []
        index: dict[_Key, int] = {}
        for key in order:
            index[key] = len(slots)
            slots.append(self._slot(key, reads, slots, index))
        return ReadPlan(tuple(reads.values()), tuple(slots), tuple((name, index[key]) for name, key in self._outputs))

    def _visit(self, key: _Key, order: dict[_Key, None]) -> None:
        """Put ``key`` after its inputs; definitions without circles make this end."""
        if key in order:
            return
        view = self._registry.on_demand.get(key[:2])
        if view is not None:
            feature = next(f for f in view.features if f.name == key[2])
            for text in feature.inputs.values():
                self._visit(self._key(text), order)
        order[key] = None

    def _reads(self, order: dict[_Key, None]) -> dict[tuple[str, int], ViewRead]:
        needed: dict[tuple[str, int], set[str]] = {}
        for name, version, feature in order:
            if (name, version) in self._registry.views:
                needed.setdefault((name, version), set()).add(feature)
        return {key: self._read(self._registry.views[key], features) for key, features in needed.items()}

    def _read(self, view: FeatureView, features: set[str]) -> ViewRead:
        schema = self._registry.schema(view)
        return ViewRead(view, schema, tuple(sorted(schema.names.index(f) for f in features)))

    def _slot(
        self, key: _Key, reads: dict[tuple[str, int], ViewRead], slots: list[Slot], index: dict[_Key, int]
    ) -> Slot:
        name, version, feature = key
        if name == REQUEST:
            field = self._registry.request[feature]
            return RequestColumn(f"{REQUEST}:{feature}", field.type, frozenset(), field)
        on_demand = self._registry.on_demand.get((name, version))
        if on_demand is not None:
            return self._computed(on_demand, feature, slots, index)
        read = reads[name, version]
        column = read.schema.names.index(feature)
        keys = frozenset(e.join_key for e in read.view.entities)
        return StoredColumn(
            f"{read.view.label}:{feature}", read.schema.types[column], keys, list(reads).index((name, version)), column
        )

    def _computed(self, view: OnDemandView, name: str, slots: list[Slot], index: dict[_Key, int]) -> ComputedColumn:
        feature = next(f for f in view.features if f.name == name)
        inputs = tuple((parameter, index[self._key(text)]) for parameter, text in feature.inputs.items())
        columns = [slots[slot] for _, slot in inputs]
        join_keys = frozenset[str]().union(*(c.join_keys for c in columns))
        fields = frozenset[str]().union(*(_fields(c) for c in columns))
        return ComputedColumn(f"{view.label}:{name}", feature.type, join_keys, fields, view, feature, inputs)


def _fields(column: Slot) -> frozenset[str]:
    if isinstance(column, RequestColumn):
        return frozenset({column.field.name})
    return column.request_fields if isinstance(column, ComputedColumn) else frozenset()
