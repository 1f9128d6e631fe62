"""The container engine: Docker, or another with its API, at `DOCKER_HOST`."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tempo_runtime import __version__
from tempo_runtime.errors import DeploymentFailed

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as ContainerOfEngine
    from docker.models.images import Image

IMAGE = f"tempo-runtime-server:{__version__}"
_SOCKET = "/var/run/docker.sock"
_TIMEOUT = 60  # seconds for one answer of the engine
_TRIES, _POLL = 50, 0.05
_versions: dict[str, str] = {}
_SAME = {"x86_64": "amd64", "aarch64": "arm64"}


@contextlib.contextmanager
def connected(patience: int | None = None) -> Iterator[DockerClient]:
    """Connect to the engine for the length of a block, and raise its errors as ours.

    Args:
        patience: Seconds in which it has to show that it is there; by default as for any answer.

    Raises:
        DeploymentFailed: If none answers, if it refuses what it is asked, or if the package docker is
            not installed.
    """
    try:
        import docker
    except ImportError as error:
        raise DeploymentFailed(
            "containers need the package docker: pip install 'tempo_runtime[docker]'"
        ) from error
    from requests import RequestException

    try:
        _probe()
        if patience is not None:
            _ping(patience)
        # Asking an engine for the version of its API can take it longer than all the rest.
        client = docker.from_env(version=_versions.get(place()), timeout=_TIMEOUT)
        _versions[place()] = client.api.api_version
    except (docker.errors.DockerException, RequestException, OSError, ValueError) as error:
        raise DeploymentFailed(
            f"no container engine answers at {place()}: start Docker, or podman's service, or set "
            "DOCKER_HOST to where one listens, such as unix:///run/podman/podman.sock"
        ) from error
    try:
        with failures():
            yield client
    finally:
        client.close()


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Raise errors of the engine as ours.

    Raises:
        DeploymentFailed: If the engine does not answer, or refuses what it is asked.
    """
    from docker.errors import APIError, DockerException
    from requests import RequestException

    try:
        yield
    except APIError as error:
        raise DeploymentFailed(
            f"the engine at {place()} refuses: {error.explanation or error}"
        ) from error
    except (DockerException, RequestException) as error:
        raise DeploymentFailed(f"the engine at {place()} does not answer: {error}") from error


def listed(client: DockerClient, filters: dict[str, Any]) -> list[ContainerOfEngine]:
    """Containers, also while some are being removed: podman then answers with status 500."""
    from docker.errors import APIError

    for _ in range(_TRIES):
        try:
            return list(client.containers.list(all=True, filters=filters, ignore_removed=True))
        except APIError as error:
            if "no such container" not in str(error).lower():
                raise
            time.sleep(_POLL)
    return list(client.containers.list(all=True, filters=filters, ignore_removed=True))


def _probe() -> None:
    """Refuse a socket at which nobody listens, which docker's client would leave open."""
    scheme, _, path = place().partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)


def _ping(patience: int) -> None:
    """Refuse an engine that does not answer within so many seconds."""
    import docker
    from docker.constants import DEFAULT_DOCKER_API_VERSION
    from docker.errors import APIError

    # Of any version: that it refuses this one is an answer too, and its own takes it longer to say.
    client = docker.from_env(version=DEFAULT_DOCKER_API_VERSION, timeout=patience)
    with contextlib.closing(client), contextlib.suppress(APIError):
        client.ping()


def place() -> str:
    """Return where the engine is looked for."""
    return os.environ.get("DOCKER_HOST") or f"unix://{_SOCKET}"


def expected() -> bool:
    """Return whether there should be one here."""
    return bool(os.environ.get("DOCKER_HOST")) or os.path.exists(_SOCKET)


def image(client: DockerClient, name: str) -> Image:
    """Return an image that the engine can run; one of a registry is pulled if the engine has it not.

    Raises:
        DeploymentFailed: If it is not there, or for other processors.
    """
    from docker.errors import APIError, ImageNotFound

    try:
        found = client.images.get(name)
    except ImageNotFound as error:
        if not _of_registry(name):
            raise DeploymentFailed(
                f"the engine at {place()} has no image {name}: `make image` in tempo_runtime's source "
                "builds it, or name another by the option `image`"
            ) from error
        try:
            found = client.images.pull(name)
        except APIError as refused:
            raise DeploymentFailed(
                f"the image {name} cannot be pulled: {refused.explanation}; correct its name, or log "
                "the engine in to its registry"
            ) from refused
    theirs = _platform(found.attrs["Os"], found.attrs["Architecture"])
    info = client.info()
    own = _platform(info["OSType"], info["Architecture"])
    if theirs != own:
        raise DeploymentFailed(
            f"the image {name} is for {theirs}, and the engine at {place()} is {own}; build or name one "
            "for it"
        )
    return found


def _platform(system: str, processor: str) -> str:
    return f"{system}/{_SAME.get(processor, processor)}"


def _of_registry(name: str) -> bool:
    host, slash, _ = name.partition("/")
    return bool(slash) and host != "localhost" and ("." in host or ":" in host)
