"""One container of a deployment: started, asked, ended."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import httpx

from tempo_runtime.deploy.deployment import Address, ModelStatus, addressed
from tempo_runtime.deploy.labels import PREFIX
from tempo_runtime.deploy.options import DockerOptions
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.layers import merge, parse_json
from tempo_runtime.ports import called
from tempo_runtime.serving import repository
from tempo_runtime.serving.log import reason
from tempo_runtime.serving.repository import Served

if TYPE_CHECKING:
    from docker.models.containers import Container as Raw
    from docker.models.images import Image

HTTP, GRPC, METRICS = 9000, 9500, 6000
_MODELS = "TEMPO_RUNTIME_MODELS"
_MOUNT = "/mnt/models"
_WORKING = "/opt/mlserver"
_TITLE = "org.opencontainers.image.title"
_OURS = "tempo-runtime-server"
_READY = "tempo-ready"  # the command of that image
_TMPFS = "rw,exec,nosuid,nodev,mode=1777,size=512m"
_POLL = 0.05
_ANSWERS = 30.0  # seconds


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

    def named(self, network: str) -> bool:
        """Whether the others of its network find it by the name of its model."""
        networks = self.raw.attrs["NetworkSettings"].get("Networks") or {}
        return self.model in ((networks.get(network) or {}).get("Aliases") or ())

    def status(self) -> ModelStatus:
        """How its model is."""
        address = self.address or Address(self.model, "", "")
        state = "ended" if not self.alive else "ready" if self.ready() else "not ready"
        return ModelStatus(
            self.model, state, address.url, address.grpc, f"container {self.raw.name}"
        )

    def text(self) -> str:
        """What it has printed."""
        return self.raw.logs().decode(errors="replace")

    def ready(self, timeout: float = 2.0) -> bool:
        """Whether its model says that it is ready."""
        address = self.address
        if address is None:
            return False
        with contextlib.suppress(httpx.TransportError):
            url = f"{address.url}/v2/models/{self.model}/ready"
            return httpx.get(url, timeout=timeout, trust_env=False).status_code == 200
        return False

    def wait(self, deadline: float, folder: str, user: str) -> None:
        """Waits until its model is ready.

        Args:
            deadline: A time of `time.monotonic`.
            folder: What it serves, on this machine.
            user: As whom it runs.

        Raises:
            DeploymentFailed: If it ends, or is not ready in time; with the reason.
        """
        while True:
            self.raw.reload()
            if not self.alive:
                raise DeploymentFailed(f"{self.model} failed: {self._why(folder, user)}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeploymentFailed(
                    f"{self.model} was not ready in time; its log ends with:\n{reason(self.text())}"
                )
            if self.ready(min(left, _ANSWERS)):
                return
            time.sleep(_POLL)

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
        return why or f"its container ended with code {code} and said nothing"

    def _label(self, name: str) -> str:
        return str(self.raw.labels.get(PREFIX + name, ""))

    def _published(self, port: int) -> str | None:
        for each in self.raw.ports.get(f"{port}/tcp") or ():
            return f"{called(each['HostIp'])}:{each['HostPort']}"
        return None


def terminate(containers: list[Container]) -> None:
    """Has them end; what they work on is answered first."""
    from docker.errors import APIError

    for each in containers:
        with contextlib.suppress(APIError):  # it has ended
            each.raw.kill("SIGTERM")


def ended(containers: list[Container], deadline: float) -> list[Container]:
    """Waits for their end until a time of `time.monotonic`; gives those that have ended."""
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
    """Ends them at once, and removes them and what they have written."""
    from docker.errors import APIError, NotFound

    for each in containers:
        # Some engines ask a container to end, and wait, before they remove it.
        with contextlib.suppress(APIError):
            each.raw.kill()
    for each in containers:
        with contextlib.suppress(NotFound):
            each.raw.remove(force=True, v=True)


def home(served: Served) -> str:
    """The one folder of a model that its container sees.

    Raises:
        DeploymentFailed: If the model has files outside of it.
    """
    folder = served.folder if os.path.isdir(served.folder) else os.path.dirname(served.folder)
    uri = str(repository.parameters_of(served.settings)["uri"])
    for path in (uri, *served.inside):
        if not _within(path, folder):
            raise DeploymentFailed(
                f"{served.name}: {path} is outside of {folder}, and a container has that folder only; "
                "move it there, or deploy it as a process (LocalOptions)"
            )
    return folder


def configured(
    served: Served,
    folder: str,
    image: Image,
    options: DockerOptions,
    urls: Mapping[str, Mapping[str, str]],
    main: str,
    has_init: bool,
) -> dict[str, Any]:
    """What a model's container is made from.

    Args:
        served: The model.
        folder: What it sees of this machine.
        image: Its image.
        options: How.
        urls: Where the models of the deployment are for each other.
        main: The model that people call first.
        has_init: Whether the engine has a program to be a container's first process.
    """
    first = served.name == main
    ports = {HTTP: options.port, GRPC: options.grpc_port} if first else {HTTP: 0, GRPC: 0}
    working = image.attrs["Config"].get("WorkingDir") or _WORKING
    written = {"/tmp": _TMPFS}  # noqa: S108 - the container's
    mounts = [{"Target": _MOUNT, "Source": folder, "Type": "bind", "ReadOnly": True}]
    if served.packed:
        # An environment is too large for memory. The engine deletes the volume with the container.
        mounts.append({"Target": working, "Type": "volume"})
    else:
        written[working] = _TMPFS
    config: dict[str, Any] = {
        "image": image.id,
        "environment": _environment(served, folder, options, urls),
        "user": options.user,
        "read_only": options.read_only,
        "tmpfs": written,
        "mounts": mounts,
        "ports": {f"{port}/tcp": (options.host, asked or None) for port, asked in ports.items()},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": has_init,
        "mem_limit": options.memory,
        "nano_cpus": None if options.cpus is None else int(options.cpus * 1e9),
    }
    if image.labels.get(_TITLE) == _OURS and not image.attrs["Config"].get("Healthcheck"):
        config["healthcheck"] = {"test": ["CMD", _READY]}
    return config


def _environment(
    served: Served,
    folder: str,
    options: DockerOptions,
    urls: Mapping[str, Mapping[str, str]],
) -> dict[str, str]:
    """Its variables: those that Seldon Core's operator gives a model, and where its siblings are."""
    uri = str(repository.parameters_of(served.settings)["uri"])
    inside = os.path.normpath(os.path.join(_MOUNT, os.path.relpath(uri, folder)))
    known = parse_json(options.env.get(_MODELS, "{}"))
    return {
        "MLSERVER_MODEL_IMPLEMENTATION": str(served.settings["implementation"]),
        "MLSERVER_MODEL_VERSION": "v1",
        **options.env,
        "MLSERVER_MODEL_NAME": served.name,
        "MLSERVER_MODEL_URI": inside,
        "MLSERVER_HTTP_PORT": str(HTTP),
        "MLSERVER_GRPC_PORT": str(GRPC),
        "MLSERVER_METRICS_PORT": str(METRICS),
        "MLSERVER_METRICS_ENDPOINT": "/prometheus",
        "PREDICTIVE_UNIT_ID": served.name,
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(HTTP),
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": str(GRPC),
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(METRICS),
        "PREDICTIVE_UNIT_METRICS_ENDPOINT": "/prometheus",
        "PREDICTIVE_UNIT_PARAMETERS": "[]",
        "PREDICTOR_ID": "default",
        "SELDON_DEPLOYMENT_ID": served.name,
        "SELDON_EXECUTOR_ENABLED": "true",
        _MODELS: json.dumps(merge(known, addressed(served, urls))),
    }


def unreadable(folder: str, user: str) -> str | None:
    """What a user, `UID` or `UID:GID`, may not read of a folder, as its mode says."""
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


def _within(path: str, folder: str) -> bool:
    folder = os.path.realpath(folder)
    return os.path.commonpath([folder, os.path.realpath(path)]) == folder
