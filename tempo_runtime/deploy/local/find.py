"""Find deployments on this machine, including those of other processes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from tempo_runtime.deploy.deployment import DeploymentGone, LocalDeployment
from tempo_runtime.deploy.local import containers, engine, processes
from tempo_runtime.errors import DeploymentFailed

_PATIENCE = 3  # seconds for an engine that may not be there
_logger = logging.getLogger(__name__)


def deployments() -> Iterator[LocalDeployment]:
    """Yield the deployments of processes, then those of containers, the oldest first.

    If no engine answers, those of containers are left out, with a warning if an engine is expected.
    """
    yield from processes.list_deployments()
    try:
        known = containers.list_deployments(_PATIENCE)
    except DeploymentFailed as error:
        if engine.expected():
            _logger.warning("Deployments of containers are left out: %s", error)
        return
    yield from known


def find(name: str, among: Iterable[LocalDeployment] | None = None) -> list[LocalDeployment]:
    """Return the deployments with a name, or the one with an id; by default among all."""
    known = deployments() if among is None else among
    return [deployment for deployment in known if name in (deployment.name, deployment.id)]


def get(name: str) -> LocalDeployment:
    """Return the deployment with a name or an id.

    Raises:
        DeploymentFailed: If no deployment or several deployments have this name.
    """
    known = list(deployments())
    matching = find(name, known)
    if len(matching) == 1:
        return matching[0]
    if matching:
        ids = ", ".join(deployment.id for deployment in matching)
        raise DeploymentFailed(
            f"several deployments are called {name!r}; name one by its id: {ids}"
        )
    names = ", ".join(deployment.name for deployment in known)
    raise DeploymentGone(
        f"there is no deployment {name!r}; "
        + (f"there are: {names}" if names else "nothing is deployed on this machine")
        + "; for deployments on a cluster use `tempo-runtime kubernetes`"
    )
