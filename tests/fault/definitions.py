"""Definitions for the fault tests: one view, whose values are all derived from the id (values.py)."""

from __future__ import annotations

from recsvc import FLOAT64, INT64, STRING, Entity, Feature, FeatureService, FeatureView, Registry

profile = FeatureView(
    "profile",
    [Entity("user", "user_id", INT64)],
    [Feature("number", INT64, default=-1), Feature("ratio", FLOAT64, default=-1.0), Feature("text", STRING[32])],
)
registry = Registry(views=[profile], services=[FeatureService("everything", ["profile"])])
