"""Rules for where a pipeline calls its children."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tempo_runtime.deploy.addresses import SELDON_ENGINE_HTTP, SELDON_HTTP, seldon_service
from tempo_runtime.deploy.lint.common import containers
from tempo_runtime.deploy.lint.document import Document, Place, Run
from tempo_runtime.deploy.lint.rules import Hits, across, rule

_VARIABLE = "TEMPO_RUNTIME_MODELS"
_CALLERS = ("SeldonDeployment", "InferenceService", "Model")
_CLUSTER = ".svc.cluster.local"


def _settings(document: Document) -> Iterator[tuple[Place, Any]]:
    """Places that say where children are, and what they say."""
    for container in containers(document):
        for variable in container["env"]:
            if variable["name"].text == _VARIABLE:
                yield variable["value"], _parsed(variable["value"].text)
    if document.kind == "Model":
        for parameter in document["spec"]["parameters"]:
            if parameter["name"].text == "models":
                yield parameter["value"], _parsed(parameter["value"].text)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


@rule(
    "children-not-json",
    "error",
    *_CALLERS,
    consequence="the pipeline does not load",
    fix='write {"NAME": {"url": "http://HOST:PORT"}}',
)
def _json(document: Document) -> Hits:
    """What says where children are is a JSON object."""
    for place, said in _settings(document):
        if not isinstance(said, dict) and not place.text.startswith("$("):
            yield place, "it is no JSON object"


@across(
    "child-address",
    "error",
    *_CALLERS,
    consequence="calls of the child are refused, or reach another",
    fix="use the name, the namespace and the port of the child's own deployment",
)
def _address(document: Document, run: Run) -> Hits:
    """A child's URL is that of its deployment in the same files.

    Source: SeldonIO/seldon-core operator/controllers/seldondeployment_controller.go (Services)
    """
    for place, said in _settings(document):
        for alias, child in said.items() if isinstance(said, dict) else ():
            url = child.get("url") if isinstance(child, dict) else None
            if isinstance(url, str) and (wrong := _wrong(url, run)):
                yield place, f"child {alias!r} is called at {url}, {wrong}"


def _wrong(url: str, run: Run) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "which is no URL"
    if not host.endswith(_CLUSTER):
        return None
    service, _, namespace = host.removesuffix(_CLUSTER).partition(".")
    for other in run.of("SeldonDeployment"):
        for predictor in other["spec"]["predictors"]:
            if seldon_service(other.name, predictor["name"].text) != service:
                continue
            if other.namespace and other.namespace != namespace:
                return f"and {other.name} is in namespace {other.namespace}"
            direct = predictor["annotations"]["seldon.io/no-engine"].text.lower() == "true"
            if port in (SELDON_HTTP, SELDON_ENGINE_HTTP):
                expected = SELDON_HTTP if direct else SELDON_ENGINE_HTTP
                if port != expected:
                    return f"and {other.name} listens on {expected}"
            return None
        if service == other.name:
            predictors = other["spec"]["predictors"]
            return f"and the Service is {other.name}-{predictors[0]['name'].text}"
    for other in run.of("InferenceService"):
        if service in (other.name, f"{other.name}-predictor") and (
            other.namespace and other.namespace != namespace
        ):
            return f"and {other.name} is in namespace {other.namespace}"
    return None
