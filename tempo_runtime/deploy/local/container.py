"""One container of a deployment."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tempo_runtime._util.ports import called
from tempo_runtime.deploy.deployment import Address, ModelStatus
from tempo_runtime.deploy.local import engine
from tempo_runtime.deploy.local.labels import DEPLOYMENT, PREFIX
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.servers.log import reason
from tempo_runtime.servers.process import is_ready

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as Raw
    from docker.models.networks import Network

HTTP, GRPC = 9000, 9500
_LEAVING = "-leaving"
_LACKING = "No module named"
# Seconds to wait for an answer before the state of the container is checked again: when a container
# ends, its network disappears, and callers do not notice.
_ANSWERS = 5.0


class Container:
    """A container in the state that the engine reported last.

    Args:
        raw: The container object of docker's client.
    """

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    @property
    def model(self) -> str:
        """Name of the model that it serves."""
        return self._label("model")

    @property
    def is_main(self) -> bool:
        """Whether it serves the main model, which users call."""
        return self._label("main") == "true"

    @property
    def fingerprint(self) -> str:
        """Fingerprint of everything it is built from. If it changes, the container is replaced."""
        return self._label("fingerprint")

    @property
    def started(self) -> int:
        """When it was created: the latest container of a model replaces the earlier ones."""
        return int(self._label("started") or 0)

    @property
    def alive(self) -> bool:
        """Whether it runs or is about to run."""
        return self.raw.status in ("created", "running")

    @property
    def address(self) -> Address | None:
        """Address of its model from outside; None once the container has ended."""
        http, grpc = self._published(HTTP), self._published(GRPC)
        if not http or not grpc:
            return None
        return Address(self.model, f"http://{http}", f"grpc://{grpc}")

    @property
    def leaving(self) -> bool:
        """Whether another container has replaced it; it may still answer."""
        return str(self.raw.name).endswith(_LEAVING)

    def mark_leaving(self) -> None:
        """Rename it, so that everyone sees in the engine that another container has replaced it."""
        self.raw.rename(f"{self.raw.name}{_LEAVING}")
        self.raw.reload()

    def has_alias(self, network: str) -> bool:
        """Return whether others on the network find it by the name of its model."""
        networks = self.raw.attrs["NetworkSettings"].get("Networks") or {}
        return self.model in ((networks.get(network) or {}).get("Aliases") or ())

    def join(self, network: Network) -> None:
        """Let others on the network find it by the name of its model."""
        network.disconnect(self.raw)
        network.connect(self.raw, aliases=[self.model])

    def has(self, port: int) -> bool:
        """Return whether it uses a port of this machine."""
        address = self.address
        urls = (address.url, address.grpc) if self.alive and address else ()
        return port in [urlsplit(url).port for url in urls]

    def status(self) -> ModelStatus:
        """Return the status of its model."""
        address = self.address or Address(self.model, "", "")
        state = "ended" if not self.alive else "ready" if self.ready() else "not ready"
        return ModelStatus(
            self.model, state, address.url, address.grpc, f"container {self.raw.name}"
        )

    def text(self) -> str:
        """Return its log."""
        return self.raw.logs().decode(errors="replace")

    def ready(self, timeout: float = 2.0) -> bool:
        """Return whether its model reports that it is ready."""
        address = self.address
        return address is not None and is_ready(address.url, self.model, timeout)

    def became_ready(self, deadline: float, folder: str, user: str) -> bool:
        """Return whether its model has become ready.

        Args:
            deadline: The time of `time.monotonic` by which it must be ready.
            folder: The folder or file on this machine that it serves.
            user: The user that it runs as.

        Raises:
            DeploymentFailed: If it has ended or is late; the message says why.
        """
        self.raw.reload()
        if not self.alive:
            raise DeploymentFailed(f"{self.model} failed: {self._why(folder, user)}")
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeploymentFailed(
                f"{self.model} was not ready in time; its log ends with:\n{reason(self.text())}"
            )
        return self.ready(min(left, _ANSWERS))

    def _why(self, folder: str, user: str) -> str:
        if path := unreadable(folder, user):
            return (
                f"its container runs as user {user}, who cannot read {path}: chmod -R a+rX {folder}"
            )
        if self.raw.attrs["State"].get("OOMKilled"):
            return "it used more memory than allowed; raise the option `memory`"
        code = self.raw.attrs["State"].get("ExitCode")
        why = reason(self.text()).removeprefix(f"{self.model}: ")
        if _LACKING in why:
            image = self.raw.attrs["Config"]["Image"]
            return (
                f"{why}; its image is {image}: set the option `images` to one that has the module"
            )
        return why or f"its container ended with code {code} and printed nothing"

    def _label(self, name: str) -> str:
        return str(self.raw.labels.get(PREFIX + name, ""))

    def _published(self, port: int) -> str | None:
        for binding in self.raw.ports.get(f"{port}/tcp") or ():
            return f"{called(binding['HostIp'])}:{binding['HostPort']}"
        return None


def listed(client: DockerClient, deployment: str | None = None) -> list[Container]:
    """Return the containers of a deployment, or of all deployments."""
    label = DEPLOYMENT if deployment is None else f"{DEPLOYMENT}={deployment}"
    return [Container(raw) for raw in engine.listed(client, {"label": label})]


def unreadable(folder: str, user: str) -> str | None:
    """Return the first path in a folder that a user, `UID` or `UID:GID`, may not read, by its mode."""
    uid, _, gid = user.partition(":")
    if not uid.isdigit():
        return None
    return next(
        (path for path, status in _below(folder) if not _allows(status, int(uid), int(gid or 0))),
        None,
    )


def _below(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    yield folder, os.stat(folder)
    for parent, folders, names in os.walk(folder):
        for name in sorted(folders + names):
            path = os.path.join(parent, name)
            with contextlib.suppress(OSError):  # a broken link
                yield path, os.stat(path)


def _allows(status: os.stat_result, uid: int, gid: int) -> bool:
    needed = 0o5 if stat.S_ISDIR(status.st_mode) else 0o4
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return (status.st_mode >> shift) & needed == needed
