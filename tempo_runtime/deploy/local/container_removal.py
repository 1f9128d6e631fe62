"""Stop and remove containers of a deployment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tempo_runtime.deploy.deployment import GRACE
from tempo_runtime.deploy.local.container import Container, listed
from tempo_runtime.deploy.local.labels import Labels

if TYPE_CHECKING:
    from docker import DockerClient

_SETTLE = 1.0  # seconds within which a caller connects to an address that it has looked up
_GONE = 10.0  # seconds within which an engine carries out a removal
_POLL = 0.05


def terminate(containers: list[Container]) -> None:
    """Ask containers to end once the requests in progress are answered."""
    from docker.errors import APIError

    for container in containers:
        with contextlib.suppress(APIError):  # it has already ended
            container.raw.kill("SIGTERM")


def ended(containers: list[Container], deadline: float) -> list[Container]:
    """Wait until containers end, at most until a time of `time.monotonic`; return the ended ones."""
    from docker.errors import NotFound

    gone: list[Container] = []
    while True:
        for container in [container for container in containers if container not in gone]:
            with contextlib.suppress(NotFound):
                container.raw.reload()
                if container.alive:
                    continue
            gone.append(container)
        if len(gone) == len(containers) or time.monotonic() >= deadline:
            return gone
        time.sleep(_POLL)


def remove(containers: list[Container]) -> None:
    """Kill containers, and remove them and what they have written."""
    from docker.errors import APIError, NotFound

    for container in containers:
        # Some engines ask a container to end and wait before they remove it.
        with contextlib.suppress(APIError):
            container.raw.kill()
    for container in containers:
        with contextlib.suppress(NotFound):
            container.raw.remove(force=True, v=True)


def remove_all(client: DockerClient, labels: Labels) -> None:
    """Remove the containers and the network of a deployment.

    This repeats, because the engine may still carry out the deployer's last request meanwhile.
    """
    from docker.errors import APIError, NotFound

    deadline = time.monotonic() + _GONE
    while True:
        remove(listed(client, labels.id))
        try:
            client.networks.get(labels.network).remove()
        except NotFound:
            if not listed(client, labels.id):
                return
        except APIError:  # a new container uses it
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL)


def stop(containers: list[Container]) -> None:
    """Stop containers without removing them; requests in progress are answered first."""
    for container in containers:
        # By the engine, which returns once the ports are free: podman releases them some time after a
        # container ends, and would take them from another container that has them by then.
        container.raw.stop(timeout=int(GRACE))


def retire(containers: list[Container], running: Mapping[str, Container]) -> None:
    """Stop replaced containers; one that still works continues until it has answered."""
    stay = {container.raw.id for container in running.values()}
    others = [container for container in containers if container.raw.id not in stay]
    replaced = [container for container in others if not container.leaving]
    for container in replaced:
        container.mark_leaving()
    if replaced:
        time.sleep(_SETTLE)
    # A model that is no longer served is still called by the leaving containers.
    dropped = [
        container
        for container in replaced
        if container.model not in running and not container.is_main
    ]
    stop_in_order([container for container in replaced if container not in dropped], dropped, GRACE)
    remove(ended(others, time.monotonic()))


def stop_in_order(callers: list[Container], called: list[Container], grace: float) -> None:
    """Stop containers within `grace` seconds, callers before the containers they call."""
    deadline = time.monotonic() + grace
    for group in (callers, called):
        terminate(group)
        ended(group, deadline)
