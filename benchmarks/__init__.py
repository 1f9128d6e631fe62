"""Measure tempo_runtime beside what it is compared with: `python -m benchmarks`."""
