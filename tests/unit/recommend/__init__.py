"""Tests of recsvc.recommend, a module each."""
