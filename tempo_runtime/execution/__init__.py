"""Run a pipeline and its children in this process."""
