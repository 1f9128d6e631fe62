"""Gather facts about this machine."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tempo_runtime._util.ports import HOST, refused
from tempo_runtime.artifact.environment import cache, tools
from tempo_runtime.cli.doctor import own_servers
from tempo_runtime.cli.doctor.own_servers import OwnServer

PORTS = (8080, 8081, 8082)  # MLServer's
TOOLS = (
    "conda",
    "mamba",
    "micromamba",
    "uv",
    "rclone",
    "docker",
    "podman",
    "kubectl",
    "make",
)
_MODULES = ("mlserver", "grpc", "google.protobuf")
_DOCKER = "unix:///var/run/docker.sock"
_PATIENCE = 1.0


@dataclass(frozen=True)
class Facts:
    """The facts about a machine that checks use.

    Attributes:
        python: Version of Python.
        packages: Installed packages, by PyPI's normalised names, and their versions.
        broken: Modules that cannot be imported, and why.
        ports: MLServer's usual ports, and why each cannot be used; None if it is free.
        servers: Our own servers on these ports, by their port for HTTP.
        tools: Commands on the PATH, and where they are.
        engine: Address of the container engine, and why it does not answer; None if it does.
        space: Folders, and how many bytes are free in them.
        environ: Environment variables.
        dotenv: Variables that a file `.env` in the working directory sets.
    """

    python: tuple[int, int, int] = (3, 11, 0)
    packages: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[int, str | None] = field(default_factory=dict)
    servers: Mapping[int, OwnServer] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    engine: tuple[str, str | None] = (_DOCKER, None)
    space: Mapping[str, int] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    dotenv: tuple[str, ...] = ()


def gather() -> Facts:
    """Gather the facts about this machine."""
    endpoint = os.environ.get("DOCKER_HOST") or _DOCKER
    ports = {port: refused(HOST, port) for port in PORTS}
    return Facts(
        python=sys.version_info[:3],
        packages={
            normal(distribution.metadata["Name"]): distribution.version
            for distribution in importlib.metadata.distributions()
            if distribution.metadata["Name"]
        },
        broken=_broken(_MODULES),
        ports=ports,
        servers=own_servers.on(ports),
        tools={tool: path for tool in TOOLS if (path := tools.find(tool))},
        engine=(endpoint, _unanswered(endpoint)),
        space={
            folder: _free(folder) for folder in dict.fromkeys((tempfile.gettempdir(), cache.root()))
        },
        environ=dict(os.environ),
        dotenv=_variables(".env"),
    )


def normal(name: str) -> str:
    """Normalise a package's name as PyPI does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _broken(modules: Iterable[str]) -> dict[str, str]:
    broken = {}
    for module in modules:
        try:
            with warnings.catch_warnings():  # that imported packages issue about themselves
                warnings.simplefilter("ignore")
                importlib.import_module(module)
        except Exception as error:
            broken[module] = f"{type(error).__name__}: {error}"
    return broken


def _unanswered(endpoint: str) -> str | None:
    """Return why a container engine's address does not answer; None if it does."""
    parts = urlsplit(endpoint)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_PATIENCE)
                probe.connect(parts.path)
        elif parts.hostname:
            socket.create_connection((parts.hostname, parts.port or 2375), _PATIENCE).close()
        else:
            return "this kind of address cannot be tried"
    except (OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None


def _free(folder: str) -> int:
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free


def _variables(path: str) -> tuple[str, ...]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip().removeprefix("export ") for line in file]
    except OSError:
        return ()
    return tuple(line.partition("=")[0].strip() for line in lines if "=" in line and line[0] != "#")
