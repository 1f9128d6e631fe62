"""Options of deployments."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from typing_extensions import Self

from tempo_runtime._util.ports import is_ipv6
from tempo_runtime.authoring import tempo_names
from tempo_runtime.settings import CheckedOptions, option_names

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Options(CheckedOptions):
    """Options of a deployment.

    tempo 0.5's names, such as `authSecretName`, can be given and read as well.
    """

    model_config = ConfigDict(populate_by_name=True)

    if TYPE_CHECKING:  # the names of tempo 0.5 are not fields

        def __init__(self, **values: Any) -> None: ...

    @classmethod
    def _fault(cls, fault: ErrorDetails) -> str:
        return f"{'.'.join(map(str, fault['loc']))}: {message(cls, fault)}"

    @classmethod
    def _unknown(cls, name: str) -> str:
        return message(cls, {"type": "extra_forbidden", "loc": (name,)})

    def unchecked(self, **changes: Any) -> Self:
        """Copy these options with values that were checked elsewhere."""
        return BaseModel.model_copy(self, update=changes)

    if not TYPE_CHECKING:  # a type checker would take any name for an option

        def __getattr__(self, name: str) -> Any:
            field = option_names(type(self)).get(name, name)
            return super().__getattr__(name) if field == name else getattr(self, field)


def message(kind: type[BaseModel], fault: Any) -> str:
    """Describe a fault of options; for an unknown name, suggest the one that was probably meant.

    Args:
        kind: The options.
        fault: One of the errors that pydantic lists.
    """
    if fault["type"] != "extra_forbidden":
        return str(fault["msg"].removeprefix("Value error, "))
    *path, name = fault["loc"]
    if name in tempo_names.OF_OPTIONS:
        return f"this option of tempo 0.5 is not there; {tempo_names.OF_OPTIONS[name]}"
    known = {option.lower(): option for option in option_names(_inside(kind, path))}
    close = difflib.get_close_matches(str(name).lower(), known, n=1)
    return "there is no such option" + (f"; did you mean {known[close[0]]!r}?" if close else "")


def _inside(kind: type[BaseModel], path: list[Any]) -> type[BaseModel] | None:
    """Return the class of the options at a path in other options; None if the path leads to others."""
    current: type[BaseModel] | None = kind
    for part in path:
        if current is not None and (name := option_names(current).get(part)):
            current = next(_options_in(current.model_fields[name].annotation), None)
    return current


def _options_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the classes of options in an annotation such as `dict[str, ModelOptions] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _options_in(argument)


class LocalDeploymentOptions(Options):
    """Options of all deployments on this machine.

    Attributes:
        name: Name of the deployment; by default that of the pipeline. Deploying the same name again
            replaces what has changed.
        transport: How the pipeline is called.
        host: Address to listen on.
        port: Port of the pipeline for HTTP; 0 for a free one.
        grpc_port: Port of the pipeline for gRPC; 0 for a free one.
        env: More environment variables of each server.
        timeout: Seconds to wait until all models are ready.
        detached: Whether it stays when this process ends, until it is undeployed.
        page: Whether each server has a page at `/` that shows its pipelines and calls them, unless the
            environment says `TEMPO_RUNTIME_PAGE=false`.
    """

    name: str | None = None
    transport: Literal["http", "grpc"] = "http"
    host: str = "127.0.0.1"
    port: Port = 0
    grpc_port: Port = 0
    env: dict[str, str] = Field(default_factory=dict)
    timeout: Seconds = 300.0
    detached: bool = False
    page: bool = True

    @field_validator("grpc_port")
    @classmethod
    def _another_port(cls, port: int, info: ValidationInfo) -> int:
        if port and port == info.data.get("port"):
            raise ValueError(f"{port} is already the port for HTTP; choose another, or 0")
        return port


class LocalOptions(LocalDeploymentOptions):
    """A deployment of processes on this machine: one MLServer for each model and pipeline.

    Attributes:
        workers: Parallel workers of the pipeline's server; by default 0, or 1 if its artifact has an
            environment.
    """

    workers: Annotated[int, Field(ge=0)] | None = None

    @field_validator("host")
    @classmethod
    def _not_ipv6(cls, host: str) -> str:
        if is_ipv6(host):
            raise ValueError("MLServer cannot listen on an IPv6 address; choose an IPv4 address")
        return host


class DockerOptions(LocalDeploymentOptions):
    """A deployment of containers on this machine, by any engine with Docker's API (`DOCKER_HOST`).

    Attributes:
        image: Image of every model without its own image.
        images: Images of single models, by the model's name.
        user: Numeric user and group that a server runs as, as on Kubernetes.
        read_only: Whether a container cannot change its own files; it can always write to /tmp and
            MLServer's folder.
        memory: Memory that a container may use, such as `2g`.
        cpus: Number of processors that a container may use.
    """

    image: str | None = None
    images: dict[str, str] = Field(default_factory=dict)
    user: Annotated[str, Field(pattern=r"^\d+(:\d+)?$")] = "8888:0"
    read_only: bool = True
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)?[kmgKMG]?[bB]?$")] | None = None
    cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
