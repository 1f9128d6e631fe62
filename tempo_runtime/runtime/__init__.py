"""Serve a pipeline in MLServer: its runtime class, its errors, its workers and its end."""
