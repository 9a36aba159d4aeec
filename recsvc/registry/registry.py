"""All definitions, checked, with a fingerprint; resolves what a caller names into a read plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from cachetools import LRUCache

from recsvc.errors import DefinitionError, RequestError, UnknownNameError, Violation
from recsvc.registry.fingerprint import FunctionTexts, fingerprint
from recsvc.registry.function_text import function_text
from recsvc.registry.model import (
    Definitions,
    Entity,
    FeatureService,
    FeatureView,
    OnDemandView,
    RequestField,
)
from recsvc.registry.placement import Catalogue, Placement
from recsvc.registry.plan import ReadPlan
from recsvc.registry.planner import Planner
from recsvc.registry.reference import REQUEST, Reference, parse
from recsvc.registry.schema import Schema
from recsvc.registry.validate import problems
from recsvc.registry.validate_placements import normalized_placements

PLANS_KEPT: Final = 256
"""Plans of reference lists that callers sent; they are the callers' to choose, so their number is bounded."""
ViewKey = tuple[str, int]
SHOWN: Final = 80
"""How many characters of a wrong reference an error repeats."""


class Registry:
    """Everything that can be asked for.

    ``active`` names the version that a reference without one means; a view with a single version needs no entry.

    Raises DefinitionError with one line per mistake, all of them at once.
    """

    def __init__(  # noqa: PLR0913  # every kind of definition
        self,
        *,
        views: Sequence[FeatureView] = (),
        on_demand: Sequence[OnDemandView] = (),
        services: Sequence[FeatureService] = (),
        request: Sequence[RequestField] = (),
        active: Mapping[str, int] | None = None,
        catalogues: Sequence[Catalogue] = (),
        placements: Sequence[Placement] = (),
    ) -> None:
        self.definitions = Definitions(
            tuple(views),
            tuple(on_demand),
            tuple(services),
            tuple(request),
            dict(active or {}),
            tuple(catalogues),
            tuple(placements),
        )
        found = problems(self.definitions)
        if found:
            raise DefinitionError(found)
        defined = self.definitions
        self.views: Mapping[ViewKey, FeatureView] = {(v.name, v.version): v for v in defined.views}
        self.on_demand: Mapping[ViewKey, OnDemandView] = {(v.name, v.version): v for v in defined.on_demand}
        self.services: Mapping[str, FeatureService] = {s.name: s for s in defined.services}
        self.request: Mapping[str, RequestField] = {f.name: f for f in defined.request}
        self.catalogues: Mapping[str, Catalogue] = {c.name: c for c in defined.catalogues}
        self.placements: Mapping[str, Placement] = normalized_placements(defined)
        self.active: Mapping[str, int] = dict([*self.views, *self.on_demand]) | dict(defined.active)
        self.entities: Mapping[str, Entity] = {e.name: e for v in defined.views for e in v.entities}
        self.join_keys: Mapping[str, Entity] = {e.join_key: e for e in self.entities.values()}
        self.schemas: Mapping[ViewKey, Schema] = {k: Schema.of(v.features) for k, v in self.views.items()}
        self.function_texts: FunctionTexts = {  # now, while the files are what was loaded
            (v.name, v.version, f.name): function_text(f.function) for v in defined.on_demand for f in v.features
        }
        as_served = replace(defined, placements=tuple(self.placements.values()))
        self.fingerprint: str = fingerprint(as_served, self.active, self.function_texts)
        # Of all but where slates are shown: what a model was trained on does not change with that.
        features_alone = replace(as_served, catalogues=(), placements=())
        self.features_fingerprint: str = fingerprint(features_alone, self.active, self.function_texts)
        self._plans: LRUCache[tuple[str, ...], ReadPlan] = LRUCache(PLANS_KEPT)
        self._service_plans: dict[str, ReadPlan] = {}

    def __repr__(self) -> str:
        return f"Registry({self.fingerprint}, {len(self.views)} views, {len(self.services)} services)"

    def view(self, text: str) -> FeatureView:
        """Return the stored view that ``view`` or ``view@v2`` names.

        Raises UnknownNameError.
        """
        reference = parse(text)
        if reference is not None and reference.feature is None:
            key = (reference.view, reference.version or self.active.get(reference.view, 0))
            if key in self.views:
                return self.views[key]
        listed = ", ".join(sorted(v.label for v in self.views.values())) or "none"
        raise UnknownNameError([Violation("view", f"{text!r} is not a stored view; there is {listed}", unknown=True)])

    def schema(self, view: FeatureView) -> Schema:
        """Return the schema of a view of this registry."""
        return self.schemas[view.name, view.version]

    def service_plan(self, name: str) -> ReadPlan:
        """Return the plan of a feature service; raises UnknownNameError."""
        plan = self._service_plans.get(name)
        if plan is None:
            service = self.services.get(name)
            if service is None:
                unknown = Violation("feature_service", f"{name!r} is not a feature service", unknown=True)
                raise UnknownNameError([unknown])
            plan = self._service_plans[name] = self._plan(tuple(service.features))
        return plan

    def plan(self, references: tuple[str, ...]) -> ReadPlan:
        """Return the plan of a list of references; raises RequestError or UnknownNameError with every wrong one."""
        plan: ReadPlan | None = self._plans.get(references)
        if plan is None:
            plan = self._plans[references] = self._plan(references)
        return plan

    def _plan(self, references: tuple[str, ...]) -> ReadPlan:
        planner = Planner(self)
        violations: list[Violation] = []
        for index, text in enumerate(references):
            problem = self._problem(text, index)
            if problem is None:
                planner.add(text)
            else:
                violations.append(problem)
        if violations:
            raise (UnknownNameError if all(v.unknown for v in violations) else RequestError)(violations)
        return planner.plan()

    def _problem(self, text: str, index: int) -> Violation | None:
        field = f"features[{index}]"
        reference = parse(text)
        if reference is None:
            right = "view:feature, view@v2:feature or view"
            return Violation(field, f"{_shown(text)} is not a feature reference ({right})")
        features = self.features_of(reference)
        if features is None:
            return Violation(field, f"{_shown(text)}: there is no view {_shown(reference.prefix)}", unknown=True)
        if reference.feature is not None and reference.feature not in features:
            lacks = f"{reference.prefix!r} has no feature {_shown(reference.feature)}"
            return Violation(field, f"{_shown(text)}: {lacks}", unknown=True)
        return None

    def features_of(self, reference: Reference) -> tuple[str, ...] | None:
        """Return the features of the view (or the fields of the request context) that a reference names.

        None: there is no such view.
        """
        if reference.view == REQUEST:
            return None if reference.version else tuple(self.request)
        key = (reference.view, reference.version or self.active.get(reference.view, 0))
        view = self.views.get(key) or self.on_demand.get(key)
        return None if view is None else tuple(f.name for f in view.features)


def _shown(text: str) -> str:
    """Quote a caller's text, cut to a length that an error can bear."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
