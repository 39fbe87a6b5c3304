"""Measuring the method: the demo, and what the benchmarks share."""
