"""Parts that benchmarks share: load, turns, servers, and the printing of figures."""
