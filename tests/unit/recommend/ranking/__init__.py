"""Tests of recsvc.recommend.ranking."""
