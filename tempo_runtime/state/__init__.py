"""The state of a pipeline: values that its requests read and change, in memory or in Redis."""
