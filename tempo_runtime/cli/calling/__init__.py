"""Targets, arguments and results of the commands that call models."""
