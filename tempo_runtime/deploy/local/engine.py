"""Connect to the container engine at `DOCKER_HOST`: Docker, or another with its API."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tempo_runtime import __version__
from tempo_runtime._util import extras
from tempo_runtime.errors import DeploymentFailed

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as ContainerOfEngine
    from docker.models.images import Image

IMAGE = f"tempo-runtime-server:{__version__}"
_SOCKET = "/var/run/docker.sock"
_TIMEOUT = 60  # seconds for an answer of the engine
_TRIES, _POLL = 50, 0.05
_versions: dict[str, str] = {}
_SAME = {"x86_64": "amd64", "aarch64": "arm64"}


@contextlib.contextmanager
def connected(patience: int | None = None) -> Iterator[DockerClient]:
    """Connect to the engine until the block ends, and convert its errors to ours.

    Args:
        patience: Seconds within which it must respond at all; by default the same as for any answer.

    Raises:
        DeploymentFailed: If no engine answers, it refuses a request, or the package docker is not
            installed.
    """
    try:
        import docker
    except ImportError as error:
        raise DeploymentFailed(
            f"containers need the package docker: {extras.command('docker')}"
        ) from error
    from requests import RequestException

    try:
        _probe()
        if patience is not None:
            _ping(patience)
        # An engine may take longer to tell the version of its API than for everything else.
        client = docker.from_env(version=_versions.get(place()), timeout=_TIMEOUT)
        _versions[place()] = client.api.api_version
    except (docker.errors.DockerException, RequestException, OSError, ValueError) as error:
        raise DeploymentFailed(
            f"no container engine answers at {place()}: start Docker or podman's service, or set "
            "DOCKER_HOST to the address of one, such as unix:///run/podman/podman.sock"
        ) from error
    try:
        with failures():
            yield client
    finally:
        client.close()


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Convert the engine's errors to ours.

    Raises:
        DeploymentFailed: If the engine does not answer, or refuses a request.
    """
    from docker.errors import APIError, DockerException
    from requests import RequestException

    try:
        yield
    except APIError as error:
        raise DeploymentFailed(
            f"the engine at {place()} refuses the request: {error.explanation or error}"
        ) from error
    except (DockerException, RequestException) as error:
        raise DeploymentFailed(f"the engine at {place()} does not answer: {error}") from error


def listed(client: DockerClient, filters: dict[str, Any]) -> list[ContainerOfEngine]:
    """List containers, even while some are being removed, when podman answers with status 500."""
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
    """Refuse a socket on which nobody listens, because docker's client would leave it open."""
    scheme, _, path = place().partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)


def _ping(patience: int) -> None:
    """Refuse an engine that does not answer within `patience` seconds."""
    import docker
    from docker.constants import DEFAULT_DOCKER_API_VERSION
    from docker.errors import APIError

    # With any version: a refusal is also an answer, and finding its own version takes longer.
    client = docker.from_env(version=DEFAULT_DOCKER_API_VERSION, timeout=patience)
    with contextlib.closing(client), contextlib.suppress(APIError):
        client.ping()


def place() -> str:
    """Return the address of the engine."""
    return os.environ.get("DOCKER_HOST") or f"unix://{_SOCKET}"


def expected() -> bool:
    """Return whether an engine is expected on this machine."""
    return bool(os.environ.get("DOCKER_HOST")) or os.path.exists(_SOCKET)


def image(client: DockerClient, name: str) -> Image:
    """Return an image that the engine can run; one from a registry is pulled if it is missing.

    Raises:
        DeploymentFailed: If it does not exist, or is for another platform.
    """
    from docker.errors import APIError, ImageNotFound

    try:
        image_of_name = client.images.get(name)
    except ImageNotFound as error:
        if not _of_registry(name):
            raise DeploymentFailed(
                f"the engine at {place()} has no image {name}: build it with `make image` in "
                "tempo_runtime's source, or name another one with the option `image`"
            ) from error
        try:
            image_of_name = client.images.pull(name)
        except APIError as refused:
            raise DeploymentFailed(
                f"the image {name} cannot be pulled: {refused.explanation}; correct its name, or log the "
                "engine in to its registry"
            ) from refused
    image_platform = _platform(image_of_name.attrs["Os"], image_of_name.attrs["Architecture"])
    info = client.info()
    engine_platform = _platform(info["OSType"], info["Architecture"])
    if image_platform != engine_platform:
        raise DeploymentFailed(
            f"the image {name} is for {image_platform}, but the engine at {place()} is "
            f"{engine_platform}; build or name an image for that"
        )
    return image_of_name


def _platform(system: str, processor: str) -> str:
    return f"{system}/{_SAME.get(processor, processor)}"


def _of_registry(name: str) -> bool:
    host, slash, _ = name.partition("/")
    return bool(slash) and host != "localhost" and ("." in host or ":" in host)
