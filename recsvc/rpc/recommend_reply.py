"""A slate to RecommendResponse."""

from __future__ import annotations

import math
from typing import Final

from recsvc.pb import serving_pb2 as pb
from recsvc.recommend.asked import Explain, RankedBy, Recommendation, SlateItem
from recsvc.recommend.slate_rules import Rule
from recsvc.rpc.quick_columns import feature_column
from recsvc.rpc.quick_wire import tag, varint

_RULES: Final = {
    Rule.PINS: pb.SLATE_RULE_PINS,
    Rule.CAPS: pb.SLATE_RULE_CAPS,
    Rule.QUOTAS: pb.SLATE_RULE_QUOTAS,
    Rule.DIVERSITY: pb.SLATE_RULE_DIVERSITY,
}
_COLUMNS: Final = tag(pb.RecommendResponse, "columns")


def reply(found: Recommendation, explain: Explain) -> bytes:
    """Return a serialized RecommendResponse."""
    message = pb.RecommendResponse(
        recommendation_id=str(found.id),
        session_recommendation_id=str(found.session),
        model_version=found.model_version,
        ranked_by=pb.RankedBy.ValueType(int(found.ranked_by)),
        registry_fingerprint=found.registry_fingerprint,
        index_versions=found.index_versions,
        relaxed=sorted(_RULES[rule] for rule in found.relaxed),
        next_page_token=found.next_page_token,
    )
    for item in found.items:
        _item(message.items.add(), item, explain)
        if explain is Explain.DIAGNOSTICS and found.ranked_by is RankedBy.MODEL and not math.isnan(item.score):
            message.items[-1].stage_scores.add(stage="rank", score=item.score)
    for assignment in found.assignments:
        message.assignments.add(
            experiment=assignment.experiment,
            variant=assignment.variant,
            source=pb.AssignmentSource.ValueType(int(assignment.by)),
        )
    for flaw in found.degraded:
        message.degraded.add(
            reason=pb.DegradationReason.ValueType(int(flaw.reason)),
            view=flaw.view,
            source=flaw.source,
            age_micros=flaw.age_micros,
            factor=flaw.factor,
        )
    for view in found.views:
        message.views.add(view=view.name, version=view.version)
    if explain is Explain.DIAGNOSTICS:
        _diagnostics(message.diagnostics, found)
    # A message and more fields of it, one after the other, are one message.
    columns = (feature_column(name, column, len(found.items)) for name, column in found.columns)
    return message.SerializeToString() + b"".join(_COLUMNS + varint(len(data)) + data for data in columns)


def _item(message: pb.RecommendedItem, item: SlateItem, explain: Explain) -> None:
    message.item_id = item.id
    message.rank = item.rank
    message.score = item.score
    message.title = item.title
    for origin in item.origins:
        message.sources.add(source=origin.source, rank=origin.rank)
    for reason in item.reasons:
        message.reasons.add(
            code=pb.ReasonCode.ValueType(int(reason.code)), item_id=reason.item, category=reason.category
        )
    if explain is Explain.DIAGNOSTICS:
        if not math.isnan(item.merged_score):
            message.stage_scores.add(stage="merge", score=item.merged_score)
        for origin in item.origins:
            message.stage_scores.add(stage=origin.source, score=origin.score)
        for feature, value in item.contributions:
            message.contributions.add(feature=feature, value=value)


def _diagnostics(message: pb.Diagnostics, found: Recommendation) -> None:
    for name, dropped in found.diagnostics.drops:
        message.drops.add(filter=name, dropped=dropped)
    message.passed = found.diagnostics.passed
    message.candidates.update(found.diagnostics.candidates)
    message.no_contributions = found.diagnostics.no_contributions
