"""How containers of a deployment end."""

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

_SETTLE = 1.0  # seconds in which a caller that read an address connects to it
_GONE = 10.0  # seconds in which an engine removes what it was told to
_POLL = 0.05


def terminate(containers: list[Container]) -> None:
    """Has them end; what they work on is answered first."""
    from docker.errors import APIError

    for each in containers:
        with contextlib.suppress(APIError):  # it has ended
            each.raw.kill("SIGTERM")


def ended(containers: list[Container], deadline: float) -> list[Container]:
    """Wait for their end until a time of `time.monotonic`; give those that have ended."""
    from docker.errors import NotFound

    gone: list[Container] = []
    while True:
        for each in [each for each in containers if each not in gone]:
            with contextlib.suppress(NotFound):
                each.raw.reload()
                if each.alive:
                    continue
            gone.append(each)
        if len(gone) == len(containers) or time.monotonic() >= deadline:
            return gone
        time.sleep(_POLL)


def remove(containers: list[Container]) -> None:
    """End them at once, and remove them and what they have written."""
    from docker.errors import APIError, NotFound

    for each in containers:
        # Some engines ask a container to end, and wait, before they remove it.
        with contextlib.suppress(APIError):
            each.raw.kill()
    for each in containers:
        with contextlib.suppress(NotFound):
            each.raw.remove(force=True, v=True)


def remove_all(client: DockerClient, labels: Labels) -> None:
    """Remove the containers and the network of a deployment.

    More than once: what its deployer asked for last may come about while this runs.
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
        except APIError:  # a container has come that uses it
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL)


def stop(containers: list[Container]) -> None:
    """End them, and leave what the engine knows of them; what they work on is answered first."""
    for each in containers:
        # By the engine, which returns once their ports are free: podman takes them away some time after
        # the end, and from another container that has them by then.
        each.raw.stop(timeout=int(GRACE))


def retire(containers: list[Container], running: Mapping[str, Container]) -> None:
    """End those that others have replaced; one that still works goes on until it has answered."""
    stay = {each.raw.id for each in running.values()}
    others = [each for each in containers if each.raw.id not in stay]
    replaced = [each for each in others if not each.leaving]
    for each in replaced:
        each.leave()
    if replaced:
        time.sleep(_SETTLE)
    # One that nobody serves any more is still called by those that leave.
    dropped = [each for each in replaced if each.model not in running and not each.is_main]
    stop_in_order([each for each in replaced if each not in dropped], dropped, GRACE)
    remove(ended(others, time.monotonic()))


def stop_in_order(callers: list[Container], called: list[Container], grace: float) -> None:
    """Has containers end within so many seconds, those that others call after those others."""
    deadline = time.monotonic() + grace
    for each in (callers, called):
        terminate(each)
        ended(each, deadline)
