"""The differences between a manifest and a cluster that a GitOps tool sees."""

from __future__ import annotations

from typing import Any


def different(wanted: Any, stored: Any, path: str = "") -> list[str]:
    """Return the paths of a manifest whose values differ; keys that the cluster adds do not count.

    Args:
        wanted: An object of a manifest.
        stored: The object of the cluster.
        path: Where in the object they are.
    """
    if isinstance(wanted, dict) and isinstance(stored, dict):
        found = (different(each, stored.get(key), f"{path}.{key}") for key, each in wanted.items())
        return [each for paths in found for each in paths]
    return [] if wanted == stored else [path]
