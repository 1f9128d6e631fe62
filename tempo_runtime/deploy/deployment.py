"""What every deployment can do, whatever its target is."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tempo_runtime._util.layers import merge
from tempo_runtime._util.ports import refused
from tempo_runtime.errors import DeploymentFailed, SettingsError
from tempo_runtime.servers.repository import Served

_MODELS = "TEMPO_RUNTIME_MODELS"
GRACE = 15.0


@dataclass(frozen=True)
class ModelStatus:
    """How a model of a deployment is.

    Attributes:
        name: Its name.
        state: `ready`, `not ready`, or `ended`.
        url: Base URL of its server over HTTP.
        grpc: URL of its server over gRPC.
        place: What it runs as: `process 4711`, or `container NAME`.
        headers: Headers that each call needs, by which a gateway finds it; they are no secret.
        reason: On a cluster why it is not ready, as `status` and errors say it; otherwise empty.
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
    """Where a model is called.

    Attributes:
        model: Name it is served under.
        url: Base URL of its server over HTTP.
        grpc: URL of its server over gRPC.
        headers: Headers that each call needs, which may be secret.
    """

    model: str
    url: str
    grpc: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Deployment(ABC):
    """A pipeline and the models it calls, as they run somewhere.

    Attributes:
        target: `process` or `docker`, or the platform of a cluster.
    """

    target: ClassVar[str]

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name; by default that of the pipeline."""

    @property
    @abstractmethod
    def id(self) -> str:
        """What tells it from another of the same name."""

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
        """The process it ends with; None where it stays until it is undeployed."""

    @property
    @abstractmethod
    def up(self) -> bool:
        """Whether it was deployed, and not undeployed since."""

    @abstractmethod
    def main(self) -> Address:
        """Return where the model is that people call first; nothing is asked.

        Raises:
            DeploymentFailed: If it was undeployed.
        """

    @property
    def endpoint(self) -> str:
        """URL of the model that people call first, for the deployment's transport.

        Raises:
            DeploymentFailed: If it was undeployed.
        """
        main = self.main()
        if self.transport == "grpc":
            return f"{main.grpc}/{main.model}"
        return f"{main.url}/v2/models/{main.model}"

    @abstractmethod
    def models(self) -> list[ModelStatus]:
        """Return its models, the one that people call first."""

    @abstractmethod
    def logs(self, model: str | None = None) -> dict[str, str]:
        """Return the output of its servers by the name of the model, or that of one model."""

    @abstractmethod
    def undeploy(self, grace: float = GRACE) -> None:
        """End all of it. Nothing happens the second time.

        Args:
            grace: Seconds for what is being asked to be answered first.
        """


class LocalDeployment(Deployment):
    """A deployment on this machine: processes, or containers."""

    @abstractmethod
    def replace(
        self, models: Mapping[str, Served], options: Any, told: Callable[[str], object]
    ) -> list[str]:
        """Serve these models, and nothing else; a server of one that has not changed goes on.

        Callers notice nothing: a server that replaces another is called once all are ready, and the
        other answers what it was asked before it ends.

        Args:
            models: By name, the one that people call first being the first.
            options: How, as the target has it.
            told: Called with each model's name when it is ready.

        Returns:
            Names of the models that were started.

        Raises:
            DeploymentFailed: If one cannot be started; what ran before then still runs.
        """


def addressed(
    environ: Mapping[str, str], served: Served, urls: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Variables of a server with those that say where the siblings of its model are.

    Args:
        environ: The variables.
        served: The model.
        urls: Base URLs by the name of a model and a transport.

    Raises:
        SettingsError: If the variable of the models' settings is not a JSON object.
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


def taken(host: str, port: int) -> DeploymentFailed | None:
    """Why a port cannot be had, or any of a host for port 0; None if it can."""
    why = refused(host, port)
    place = f"port {port} of {host}" if port else host
    return DeploymentFailed(f"{place} {why}; choose another") if why else None
