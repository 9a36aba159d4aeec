"""Faults: what recsvc answers while Redis, or the network to it, is slow, silent, wrong or gone.

The tests assert what was answered, and in which order the breaker's states came; never how long anything took. What
takes how long is measured, and judged, by ``python -m tests.fault``.
"""
