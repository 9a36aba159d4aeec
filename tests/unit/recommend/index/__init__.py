"""Tests of recsvc.recommend.index."""
