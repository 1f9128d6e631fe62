"""How a pipeline reaches its models: one file a transport, `connect` to choose it."""
