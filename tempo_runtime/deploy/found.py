"""Every deployment on this machine, whoever made it."""

from __future__ import annotations

from collections.abc import Iterator

from tempo_runtime.deploy import containers, processes
from tempo_runtime.deploy.deployment import LocalDeployment
from tempo_runtime.errors import DeploymentFailed


def deployments() -> Iterator[LocalDeployment]:
    """Those of processes, then those of containers, the oldest first."""
    yield from processes.found()
    yield from containers.found()


def named(name: str) -> Iterator[LocalDeployment]:
    """Those of a name, or the one of an id."""
    return (each for each in deployments() if name in (each.name, each.id))


def one(name: str) -> LocalDeployment:
    """The deployment of a name, or of an id.

    Raises:
        DeploymentFailed: If there is none, or several have the name.
    """
    known = list(deployments())
    matching = [each for each in known if name in (each.name, each.id)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        ids = ", ".join(each.id for each in matching)
        raise DeploymentFailed(
            f"several deployments are called {name!r}; name one by its id: {ids}"
        )
    there = ", ".join(each.name for each in known)
    raise DeploymentFailed(
        f"there is no deployment {name!r}; "
        + (f"there are: {there}" if there else "none is here: `tempo-runtime deploy` makes one")
    )
