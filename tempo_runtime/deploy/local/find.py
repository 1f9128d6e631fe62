"""Every deployment on this machine, whoever made it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from tempo_runtime.deploy.deployment import LocalDeployment
from tempo_runtime.deploy.local import containers, engine, processes
from tempo_runtime.errors import DeploymentFailed

_PATIENCE = 3  # seconds for an engine that may not be there
_logger = logging.getLogger(__name__)


def deployments() -> Iterator[LocalDeployment]:
    """Those of processes, then those of containers, the oldest first.

    Where no engine answers there are none of containers; that is said where one is expected.
    """
    yield from processes.found()
    try:
        known = containers.found(_PATIENCE)
    except DeploymentFailed as error:
        if engine.expected():
            _logger.warning("Deployments of containers are not known: %s", error)
        return
    yield from known


def find(name: str, among: Iterable[LocalDeployment] | None = None) -> list[LocalDeployment]:
    """Those of a name, or the one of an id; among all there are, unless some are given."""
    known = deployments() if among is None else among
    return [each for each in known if name in (each.name, each.id)]


def get(name: str) -> LocalDeployment:
    """Return the deployment of a name, or of an id.

    Raises:
        DeploymentFailed: If there is none, or several have the name.
    """
    known = list(deployments())
    matching = find(name, known)
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
        + "; for those on a cluster use `tempo-runtime kubernetes`"
    )
