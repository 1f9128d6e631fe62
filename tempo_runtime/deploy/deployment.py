"""The interface of deployments on all targets."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

from tempo_runtime._util.layers import merge
from tempo_runtime._util.ports import refused
from tempo_runtime.errors import DeploymentFailed, SettingsError
from tempo_runtime.servers.repository import Served

_MODELS = "TEMPO_RUNTIME_MODELS"
GRACE = 15.0


@dataclass(frozen=True)
class ModelStatus:
    """The status of a model of a deployment.

    Attributes:
        name: Its name.
        state: `ready`, `not ready`, or `ended`.
        url: Base URL of its server over HTTP.
        grpc: URL of its server over gRPC.
        place: What it runs as: `process 4711` or `container NAME`.
        headers: Headers that each call needs, so that a gateway can route it; they are not secret.
        reason: On a cluster, why it is not ready, as in `status` and errors; otherwise empty.
    """

    name: str
    state: str
    url: str
    grpc: str
    place: str
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Address:
    """The address of a model.

    Attributes:
        model: Name it is served under.
        url: Base URL of its server over HTTP.
        grpc: URL of its server over gRPC.
        headers: Headers that each call needs, which may be secret.
        version: The version to call; None for the one that the server chooses.
    """

    model: str
    url: str
    grpc: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    version: str | None = None


@dataclass(frozen=True)
class Recall:
    """How a pickled client finds its deployment again, without connections and without secrets.

    Attributes:
        address: Address of the main model; None if only the deployment itself knows it.
        module: Module of the function that looks the deployment up; it stands above this one.
        function: Name of the function.
        arguments: Arguments of the function.
    """

    address: Address | None
    module: str
    function: str
    arguments: tuple[Any, ...]

    def deployment(self) -> Deployment:
        """Look the deployment up.

        Raises:
            DeploymentFailed: If it no longer exists.
        """
        found: Deployment = getattr(import_module(self.module), self.function)(*self.arguments)
        return found


class DeploymentGone(DeploymentFailed):
    """A deployment that does not exist, or was undeployed."""

    kind = DeploymentFailed.kind  # for programs that read it


class Deployment(ABC):
    """A pipeline and the models it calls, deployed together.

    Attributes:
        target: `process`, `docker`, or the platform of a cluster.
    """

    target: ClassVar[str]

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name; by default that of the pipeline."""

    @property
    @abstractmethod
    def id(self) -> str:
        """Its unique id, also among deployments of the same name."""

    @property
    @abstractmethod
    def transport(self) -> str:
        """How it is called: `http` or `grpc`."""

    @property
    @abstractmethod
    def created(self) -> str:
        """When it was deployed first, in ISO 8601."""

    @property
    @abstractmethod
    def owner(self) -> int | None:
        """The process it ends with; None if it stays until it is undeployed."""

    @property
    @abstractmethod
    def up(self) -> bool:
        """Whether it was deployed and not undeployed since then."""

    @abstractmethod
    def main(self) -> Address:
        """Return the address of the main model, which users call, without asking any server.

        Raises:
            DeploymentFailed: If it was undeployed.
        """

    @property
    def endpoint(self) -> str:
        """URL of the main model, for the deployment's transport.

        Raises:
            DeploymentFailed: If it was undeployed.
        """
        main = self.main()
        if self.transport == "grpc":
            return f"{main.grpc}/{main.model}"
        return f"{main.url}/v2/models/{main.model}"

    @abstractmethod
    def models(self) -> list[ModelStatus]:
        """Return the status of its models, the main model first."""

    @abstractmethod
    def logs(self, model: str | None = None) -> dict[str, str]:
        """Return the logs of its servers by name of the model, or that of one model."""

    @abstractmethod
    def undeploy(self, grace: float = GRACE) -> None:
        """Stop all its servers. A second call does nothing.

        Args:
            grace: Seconds for answering requests in progress.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close what it has opened to reach its models, which stay."""

    @abstractmethod
    def recall(self) -> Recall:
        """Return how a pickled client finds it again.

        Raises:
            DeploymentFailed: If it was undeployed.
        """


class LocalDeployment(Deployment):
    """A deployment on this machine: processes, or containers."""

    @abstractmethod
    def replace(
        self, models: Mapping[str, Served], options: Any, on_ready: Callable[[str], object]
    ) -> list[str]:
        """Serve these models and no others; the servers of unchanged models continue.

        Callers do not notice: new servers are called once all are ready, and replaced servers answer
        their requests before they end.

        Args:
            models: The models by name, the main model first.
            options: The target's options.
            on_ready: Called with each model's name when it is ready.

        Returns:
            Names of the models whose servers were started.

        Raises:
            DeploymentFailed: If a server cannot be started; the previous ones still run then.
        """

    def recall(self) -> Recall:
        """See `Deployment.recall`."""
        return Recall(self.main(), "tempo_runtime.deploy.local.find", "get", (self.id,))


def with_child_addresses(
    environ: Mapping[str, str], served: Served, urls: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Add the addresses of a model's siblings to the environment variables of its server.

    Args:
        environ: The variables.
        served: The model.
        urls: Base URLs by the name of a model and a transport.

    Raises:
        SettingsError: If the variable with the models' settings is not a JSON object.
    """
    places = {
        alias: {"transport": sibling.transport, "url": urls[sibling.model][sibling.transport]}
        for alias, sibling in served.siblings.items()
    }
    try:
        known = merge({_MODELS: environ.get(_MODELS, "{}")}, {_MODELS: places})
    except ValueError as error:
        raise SettingsError(f"{error}; correct the variable") from error
    return {**environ, _MODELS: json.dumps(known[_MODELS])}


def port_error(host: str, port: int) -> DeploymentFailed | None:
    """Return the error for a port, or with port 0 a host, that cannot be used; None if it can."""
    why = refused(host, port)
    place = f"port {port} of {host}" if port else host
    return DeploymentFailed(f"{place} {why}; choose another") if why else None
