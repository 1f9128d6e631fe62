"""Find our own servers among the processes that have MLServer's usual ports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tempo_runtime._util.http_request import request
from tempo_runtime._util.ports import HOST
from tempo_runtime.deploy.local import find
from tempo_runtime.errors import TempoError

_PATIENCE = 1.0  # seconds
_PREDICT = re.compile(r"/v2/models/([^/{}]+)/predict")


@dataclass(frozen=True)
class OwnServer:
    """A server of this package on this machine.

    Attributes:
        models: Names of its pipelines, or of the model that was deployed on it.
        deployment: Name of the deployment that it belongs to; None if it belongs to none.
    """

    models: tuple[str, ...]
    deployment: str | None = None


def on(ports: Mapping[int, str | None]) -> dict[int, OwnServer]:
    """Return our servers by their HTTP ports.

    Args:
        ports: Ports, and why each cannot be used; None if it is free.
    """
    taken = [port for port, why in ports.items() if why is not None]
    if not taken:
        return {}
    deployed = _deployed()
    servers = {}
    for port in taken:
        model, deployment = deployed.get(port, (None, None))
        if models := tuple(_pipelines(port)) or (model and (model,)):
            servers[port] = OwnServer(models, deployment)
    return servers


def _pipelines(port: int) -> Iterator[str]:
    """Yield the pipelines that a server has in its OpenAPI document."""
    with suppress(OSError, ValueError, AttributeError):
        document = json.loads(request(f"http://{HOST}:{port}/openapi.json", _PATIENCE).body)
        for path in document.get("paths", {}):
            if match := _PREDICT.fullmatch(path):
                yield match[1]


def _deployed() -> dict[int, tuple[str, str]]:
    """Return the model and the deployment of each deployed server, by its HTTP port."""
    with suppress(TempoError):  # no folder for records, or no engine
        return {
            port: (model.name, deployment.name)
            for deployment in find.deployments()
            for model in deployment.models()
            if (port := urlsplit(model.url).port) is not None
        }
    return {}
