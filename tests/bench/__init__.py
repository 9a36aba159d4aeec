"""Benchmarks, each a command such as `python -m tests.bench.store`: it prints tables and, last, one line of JSON.

What is compared is measured in one run, in turns, so that whatever else the machine does meets both sides. Ratios
count: figures of different machines, or of different runs on a busy one, say little.
"""
