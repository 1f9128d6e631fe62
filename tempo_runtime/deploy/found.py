"""Every deployment on this machine, whoever made it."""

from __future__ import annotations

from collections.abc import Iterator

from tempo_runtime.deploy import containers, processes
from tempo_runtime.deploy.deployment import Deployment


def deployments() -> Iterator[Deployment]:
    """Those of processes, then those of containers, the oldest first."""
    yield from processes.found()
    yield from containers.found()


def named(name: str) -> Iterator[Deployment]:
    """Those of a name, or the one of an id."""
    return (each for each in deployments() if name in (each.name, each.id))
