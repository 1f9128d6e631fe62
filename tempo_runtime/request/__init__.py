"""The context of one request: deadline, seed, budget, headers, metrics, and the way to the event loop."""
