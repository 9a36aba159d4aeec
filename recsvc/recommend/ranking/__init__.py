"""Rankers: models that score candidates, the bundles they are loaded from, and what happens where one fails."""
