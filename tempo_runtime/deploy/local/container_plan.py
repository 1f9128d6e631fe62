"""Plan the containers of a deployment, and what each is built from."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tempo_runtime.artifact import trust
from tempo_runtime.artifact.store import MODEL_SETTINGS
from tempo_runtime.deploy.deployment import port_error, with_child_addresses
from tempo_runtime.deploy.local import engine
from tempo_runtime.deploy.local.container import GRPC, HTTP, Container
from tempo_runtime.deploy.local.fingerprint import fingerprint
from tempo_runtime.deploy.local.labels import Labels
from tempo_runtime.deploy.options import DockerOptions
from tempo_runtime.errors import DeploymentFailed, SettingsError
from tempo_runtime.servers import repository
from tempo_runtime.servers.repository import Served

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

METRICS = 6000
_MOUNT = "/mnt/models"
_TRIES = 3
_TAKEN = ("address already in use", "port is already allocated")
_WORKING = "/opt/mlserver"
_COMMAND, _READY = ["tempo-serve"], "tempo-ready"  # of the server image
_TMPFS = "rw,exec,nosuid,nodev,mode=1777,size=512m"


class Plan:
    """Decides which containers continue and which are started, before any is started.

    Args:
        client: Client of the engine.
        models: The models to run.
        options: The options.
        labels: Labels of the deployment.
        before: The running containers.
    """

    def __init__(
        self,
        client: DockerClient,
        models: Mapping[str, Served],
        options: DockerOptions,
        labels: Labels,
        before: list[Container],
    ) -> None:
        if unknown := sorted(options.images.keys() - models.keys()):
            raise SettingsError(
                f"`images` names {', '.join(unknown)}, but {options.name or next(iter(models))} has "
                f"only {', '.join(models)}; use these names"
            )
        self._client = client
        self._labels = labels
        self.names = list(models)
        main = self.names[0]
        self.homes = {name: _home(served) for name, served in models.items()}
        has_init = bool(client.info().get("InitBinary"))
        self._images = {
            name: options.images.get(name) or options.image or engine.IMAGE for name in models
        }
        images = {name: engine.image(client, name) for name in sorted({*self._images.values()})}
        urls = {
            name: {"http": f"http://{name}:{HTTP}", "grpc": f"grpc://{name}:{GRPC}"}
            for name in models
        }
        self._configs = {
            name: _configured(
                served,
                self.homes[name],
                images[self._images[name]],
                options,
                urls,
                main,
                has_init,
            )
            for name, served in models.items()
        }
        self._labels_by_model = {}
        for name, served in models.items():
            labels_of_model = {"model": name, "main": "", "transport": ""}
            if name == main:
                labels_of_model.update(main="true", transport=options.transport)
            made_of = json.dumps([self._configs[name], labels_of_model], sort_keys=True)
            self._labels_by_model[name] = {
                **labels_of_model,
                "fingerprint": fingerprint(served, {"container": made_of}),
            }
        self.kept = {
            container.model: container
            for container in before
            if container.model in models
            and container.fingerprint == self._labels_by_model[container.model]["fingerprint"]
            and container.alive
            and container.ready()
        }
        self.new = [name for name in reversed(self.names) if name not in self.kept]
        old = next((container for container in before if container.model == main), None)
        self.blocking: list[Container] = []
        for port in (options.port, options.grpc_port) if main in self.new else ():
            if port and old is not None and old.has(port):
                self.blocking = [old]  # the engine gives a port to only one container
            elif why := port_error(options.host, port):
                raise why

    def start(self, name: str, *, free_ports: bool = False) -> Container:
        """Start a new container, which the others cannot find yet.

        Args:
            name: Name of its model.
            free_ports: Whether it gets free ports instead of its own.
        """
        from docker.errors import APIError

        # By the image's name, which people see; the fingerprint contains the image's id.
        config = {**self._configs[name], "image": self._images[name]}
        if free_ports:
            ports = {inside: (host, None) for inside, (host, _) in config["ports"].items()}
            config["ports"] = ports
        for tries_left in reversed(range(_TRIES)):
            created = self._client.containers.create(
                **config,
                name=f"{self._labels.network}-{name}-{uuid.uuid4().hex[:8]}",
                network=self._labels.network,
                labels=self._labels.to_dict(
                    **self._labels_by_model[name], started=str(time.time_ns())
                ),
            )
            try:
                created.start()
                break
            except APIError as error:
                # podman chooses a free port some time before it listens on it.
                if not tries_left or not any(message in str(error) for message in _TAKEN):
                    raise
                created.remove(force=True, v=True)
        return Container(created)


def _home(served: Served) -> str:
    """Return the only folder, or file, of a model that its container sees.

    Raises:
        DeploymentFailed: If the model has files outside of that folder.
    """
    folder = served.folder
    uri = str(repository.parameters_of(served.settings)["uri"])
    for path in (uri, *served.inside):
        if not _within(path, folder):
            raise DeploymentFailed(
                f"{served.name}: {path} is outside of {folder}, but a container only has that folder; "
                "move it there, or deploy it as a process (LocalOptions)"
            )
    path = os.path.join(folder, MODEL_SETTINGS)
    own_name = repository.read(path).get("name") if os.path.isfile(path) else None
    if own_name not in (None, served.name):
        raise DeploymentFailed(
            f"{served.name}: {path} has the name {own_name!r}, which its container would use; correct "
            "one of them"
        )
    return folder


def _inside(home: str) -> str:
    """Return its path in the container. A file keeps its name: some runtimes use the extension."""
    return _MOUNT if os.path.isdir(home) else os.path.join(_MOUNT, os.path.basename(home))


def _configured(
    served: Served,
    home: str,
    image: Image,
    options: DockerOptions,
    urls: Mapping[str, Mapping[str, str]],
    main: str,
    has_init: bool,
) -> dict[str, Any]:
    """Return the configuration of a model's container.

    Args:
        served: The model.
        home: The folder or file of this machine that it sees.
        image: Its image.
        options: The options.
        urls: URLs at which the models of the deployment call each other.
        main: The main model, which users call.
        has_init: Whether the engine has an init program for containers.
    """
    first = served.name == main
    ports = {HTTP: options.port, GRPC: options.grpc_port} if first else {HTTP: 0, GRPC: 0}
    known = image.attrs["Config"]
    working = known.get("WorkingDir") or _WORKING
    starts = (known.get("Entrypoint"), known.get("Cmd"), working)
    if served.digests and starts not in ((None, _COMMAND, _WORKING), ([], _COMMAND, _WORKING)):
        raise DeploymentFailed(
            f"{served.name}: its image does not start {_COMMAND[0]}, which checks a model before it "
            "runs, but a check is required here; name an image built on the server image, or unset "
            f"{trust.EXPECTED_DIGEST} and {trust.VERIFY_KEY}"
        )
    written = {"/tmp": _TMPFS}  # noqa: S108 - the container's
    mounts = [{"Target": _inside(home), "Source": home, "Type": "bind", "ReadOnly": True}]
    if served.packed or served.digests:
        # An environment or a copy is too large for memory. The engine deletes the volume with the
        # container.
        mounts.append({"Target": working, "Type": "volume"})
    else:
        written[working] = _TMPFS
    config: dict[str, Any] = {
        "image": image.id,
        "environment": _environment(served, home, options, urls),
        "user": options.user,
        "read_only": options.read_only,
        "tmpfs": written,
        "mounts": mounts,
        "ports": {
            f"{port}/tcp": (options.host, host_port or None) for port, host_port in ports.items()
        },
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": has_init,
        "mem_limit": options.memory,
        "nano_cpus": None if options.cpus is None else int(options.cpus * 1e9),
    }
    if known.get("Cmd") == _COMMAND and not known.get("Healthcheck"):
        config["healthcheck"] = {"test": ["CMD", _READY]}
    return config


def _environment(
    served: Served,
    home: str,
    options: DockerOptions,
    urls: Mapping[str, Mapping[str, str]],
) -> dict[str, str]:
    """Return its environment: the variables of Seldon Core's operator, and its siblings' addresses."""
    uri = str(repository.parameters_of(served.settings)["uri"])
    inside = os.path.normpath(os.path.join(_inside(home), os.path.relpath(uri, home)))
    variables = {
        "MLSERVER_MODEL_IMPLEMENTATION": str(served.settings["implementation"]),
        "MLSERVER_MODEL_VERSION": "v1",
        **repository.with_page(
            repository.environment([served], options.env), options.page, options.host
        ),
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
    }
    return with_child_addresses(variables, served, urls)


def _within(path: str, folder: str) -> bool:
    folder = os.path.realpath(folder)
    return os.path.commonpath([folder, os.path.realpath(path)]) == folder
