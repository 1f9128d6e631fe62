"""One container of a deployment: started, asked, ended."""

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
# Seconds. An answer is not waited for any longer before the container is looked at again: one that
# ends takes its network along, and its callers are not told.
_ANSWERS = 5.0


class Container:
    """A container, as the engine described it last.

    Args:
        raw: That of docker's client.
    """

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    @property
    def model(self) -> str:
        """Name of the model that it serves."""
        return self._label("model")

    @property
    def is_main(self) -> bool:
        """Whether it serves the model that people call first."""
        return self._label("main") == "true"

    @property
    def fingerprint(self) -> str:
        """What it was made from: another one, and it is to be replaced."""
        return self._label("fingerprint")

    @property
    def started(self) -> int:
        """When it was made: the later one of a model has replaced the other."""
        return int(self._label("started") or 0)

    @property
    def alive(self) -> bool:
        """Whether it runs, or is about to."""
        return self.raw.status in ("created", "running")

    @property
    def address(self) -> Address | None:
        """Where its model is called from outside; None once it has ended."""
        http, grpc = self._published(HTTP), self._published(GRPC)
        if not http or not grpc:
            return None
        return Address(self.model, f"http://{http}", f"grpc://{grpc}")

    @property
    def leaving(self) -> bool:
        """Whether another has replaced it; it may still answer."""
        return str(self.raw.name).endswith(_LEAVING)

    def leave(self) -> None:
        """Has it be known as one that another has replaced, by everybody who asks the engine."""
        self.raw.rename(f"{self.raw.name}{_LEAVING}")
        self.raw.reload()

    def named(self, network: str) -> bool:
        """Return whether the others of its network find it by the name of its model."""
        networks = self.raw.attrs["NetworkSettings"].get("Networks") or {}
        return self.model in ((networks.get(network) or {}).get("Aliases") or ())

    def join(self, network: Network) -> None:
        """Has the others of its network find it by the name of its model."""
        network.disconnect(self.raw)
        network.connect(self.raw, aliases=[self.model])

    def has(self, port: int) -> bool:
        """Return whether it has a port of this machine."""
        address = self.address
        urls = (address.url, address.grpc) if self.alive and address else ()
        return port in [urlsplit(url).port for url in urls]

    def status(self) -> ModelStatus:
        """Return how its model is."""
        address = self.address or Address(self.model, "", "")
        state = "ended" if not self.alive else "ready" if self.ready() else "not ready"
        return ModelStatus(
            self.model, state, address.url, address.grpc, f"container {self.raw.name}"
        )

    def text(self) -> str:
        """Return what it has printed."""
        return self.raw.logs().decode(errors="replace")

    def ready(self, timeout: float = 2.0) -> bool:
        """Return whether its model says that it is ready."""
        address = self.address
        return address is not None and is_ready(address.url, self.model, timeout)

    def came_up(self, deadline: float, folder: str, user: str) -> bool:
        """Return whether its model has become ready.

        Args:
            deadline: The time of `time.monotonic` until which it has to.
            folder: What it serves, on this machine; it may be one file.
            user: As whom it runs.

        Raises:
            DeploymentFailed: If it has ended, or is late; with the reason.
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
                f"user {user}, as which its container runs, cannot read {path}: "
                f"chmod -R a+rX {folder}"
            )
        if self.raw.attrs["State"].get("OOMKilled"):
            return "it needs more memory than it may use; raise the option `memory`"
        code = self.raw.attrs["State"].get("ExitCode")
        why = reason(self.text()).removeprefix(f"{self.model}: ")
        if _LACKING in why:
            image = self.raw.attrs["Config"]["Image"]
            return f"{why}; its image is {image}: name one that has it by the option `images`"
        return why or f"its container ended with code {code} and said nothing"

    def _label(self, name: str) -> str:
        return str(self.raw.labels.get(PREFIX + name, ""))

    def _published(self, port: int) -> str | None:
        for each in self.raw.ports.get(f"{port}/tcp") or ():
            return f"{called(each['HostIp'])}:{each['HostPort']}"
        return None


def listed(client: DockerClient, deployment: str | None = None) -> list[Container]:
    """Return all of a deployment, or of every one."""
    label = DEPLOYMENT if deployment is None else f"{DEPLOYMENT}={deployment}"
    return [Container(each) for each in engine.listed(client, {"label": label})]


def unreadable(folder: str, user: str) -> str | None:
    """Return what a user, `UID` or `UID:GID`, may not read of a folder, as its mode says."""
    uid, _, gid = user.partition(":")
    if not uid.isdigit():
        return None
    return next(
        (path for path, found in _below(folder) if not _allows(found, int(uid), int(gid or 0))),
        None,
    )


def _below(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    yield folder, os.stat(folder)
    for parent, folders, names in os.walk(folder):
        for name in sorted(folders + names):
            path = os.path.join(parent, name)
            with contextlib.suppress(OSError):  # a link that leads nowhere
                yield path, os.stat(path)


def _allows(found: os.stat_result, uid: int, gid: int) -> bool:
    needed = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    shift = 6 if found.st_uid == uid else 3 if found.st_gid == gid else 0
    return (found.st_mode >> shift) & needed == needed
