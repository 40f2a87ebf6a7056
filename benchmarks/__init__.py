"""Measured against the best, in one run: every side in a process of its own, in turn, on the same input.

python -m benchmarks.records --rows 10000000
"""
