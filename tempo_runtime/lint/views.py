"""Parts of documents for several rules: containers, variables, quantities, URIs, pipeline settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tempo_runtime._util.layers import from_environment, merge, parse_json
from tempo_runtime._util.yaml_document import APIS, SETTINGS, Document, Place

OURS = tuple(kind for kind in APIS if kind not in ("Secret", "ConfigMap"))
RUNTIMES = ("ServingRuntime", "ClusterServingRuntime")
WITH_PODS = ("SeldonDeployment", "Server", "InferenceService", *RUNTIMES)
OUR_PREFIX = "TEMPO_RUNTIME_"

_COMPONENTS = ("predictor", "transformer", "explainer")
# The fields of a component that hold a model: `model`, and the frameworks that came before it.
_FRAMEWORKS = ("model", "sklearn", "xgboost", "lightgbm", "mlflow", "tensorflow", "pytorch", "onnx")
# The requirement that marks a Model of Core 2 as a pipeline: by hand, and in our own manifests. The
# parameters of other Models have other meanings.
_PIPELINES = {"tempo", "tempo-runtime"}
_URI = re.compile(r"([a-zA-Z][\w+.-]*)://.+", re.DOTALL)
_REMOTE = re.compile(r"(\w[\w+.-]*):.+", re.DOTALL)
_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?))")
_UNITS = {unit: Decimal(1024) ** power for power, unit in enumerate(["Ki", "Mi", "Gi"], 1)}
_UNITS |= {unit: Decimal(1024) ** power for power, unit in enumerate(["Ti", "Pi", "Ei"], 4)}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("numkMGTPE", -3) if power < 0}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}


def predictors(document: Document) -> Iterator[Place]:
    """Yield the predictors of a SeldonDeployment."""
    yield from document["spec"]["predictors"]


def components(document: Document) -> Iterator[Place]:
    """Yield the components of an InferenceService."""
    for name in _COMPONENTS:
        if place := document["spec"][name]:
            yield place


def pods(document: Document) -> Iterator[Place]:
    """Yield the pod specs in a document."""
    if document.kind == "SeldonDeployment":
        for predictor in predictors(document):
            for component in predictor["componentSpecs"]:
                yield component["spec"]
    elif document.kind == "Server":
        yield document["spec"]["podSpec"]
    elif document.kind == "InferenceService":
        yield from components(document)
    elif document.kind in RUNTIMES:
        yield document["spec"]


def containers(document: Document) -> Iterator[Place]:
    """Yield the containers in a document, and the models that KServe makes containers of."""
    for pod in pods(document):
        if document.kind == "InferenceService":
            yield from component_containers(pod)
        else:
            yield from pod["containers"]


def all_containers(document: Document) -> Iterator[Place]:
    """Yield the containers in a document, and its init containers."""
    yield from containers(document)
    for pod in pods(document):
        yield from pod["initContainers"]


def component_containers(component: Place) -> Iterator[Place]:
    """Yield a component's containers, and the models that KServe makes containers of."""
    yield from component["containers"]
    for name in _FRAMEWORKS:
        if place := component[name]:
            yield place


def variables(container: Place) -> Iterator[tuple[str, Place]]:
    """Yield the variables of a container: each name, and the entry that sets it."""
    for entry in container["env"]:
        if name := entry["name"].text:
            yield name, entry


def variable(container: Place, name: str) -> Place:
    """Return the value of a variable; of the last entry, if there are several."""
    values = [entry["value"] for key, entry in variables(container) if key == name]
    return values[-1] if values else Place(None, container.path)


def quantity(value: Any) -> Decimal | None:
    """Return the number that `500m`, `1` or `2Gi` is for Kubernetes; None if it is not a quantity."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    try:
        return Decimal(match[1] + (match[2] or "")) * _UNITS.get(match[3] or "", Decimal(1))
    except ArithmeticError:  # 1e9999999
        return None


def scheme(uri: str) -> str:
    """Return the scheme of a URI, in lower case; empty if it has none."""
    match = _URI.fullmatch(uri)
    return match[1].lower() if match else ""


def remote(uri: str) -> str:
    """Return the remote of a URI for rclone, as in `s3://bucket` and `minio:bucket`, in lower case."""
    match = _REMOTE.fullmatch(uri)
    return match[1].lower() if match else ""


def artifact_uris(document: Document) -> Iterator[Place]:
    """Yield the places where a document states the location of an artifact."""
    if document.kind == "SeldonDeployment":
        for predictor in predictors(document):
            yield from (unit["modelUri"] for unit in units(predictor["graph"]))
    elif document.kind == "Model":
        yield document["spec"]["storageUri"]
    elif document.kind == "InferenceService":
        for component in components(document):
            yield from (component[name]["storageUri"] for name in _FRAMEWORKS)


def units(graph: Place) -> Iterator[Place]:
    """Yield the nodes of a graph of Seldon Core v1."""
    if isinstance(graph.value, dict):
        yield graph
        for child in graph["children"]:
            yield from units(child)


def pipeline_settings(document: Document) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the places that configure pipelines, and their settings, as nested fields.

    Leaves out places whose settings contradict each other or are invalid JSON, and variables that
    Kubernetes expands.
    """
    for container in containers(document):
        environ = {
            name: entry["value"].text
            for name, entry in variables(container)
            if name.startswith(OUR_PREFIX) and _literal(entry["value"])
        }
        extra = _literal(variable(container, "MLSERVER_MODEL_EXTRA"))
        if environ or extra:
            yield from _settings(container["env"], json_object(extra), environ)
    required = {requirement.text for requirement in document["spec"]["requirements"]}
    if document.kind == "Model" and required & _PIPELINES:
        place = document["spec"]["parameters"]
        parameters = {entry["name"].text: entry["value"].value for entry in place}
        yield from _settings(place, parameters, {})
    if document.kind == SETTINGS and is_ours(document["implementation"].text):
        place = document["parameters"]["extra"]
        if isinstance(place.value, dict):
            yield from _settings(place, place.value, {})


def _literal(value: Place) -> str:
    """Return the text of a variable; empty if it refers to other variables, as in `$(HOST)`."""
    return "" if "$(" in value.text else value.text


def _settings(
    place: Place, extra: dict[str, Any], environ: dict[str, str]
) -> Iterator[tuple[Place, dict[str, Any]]]:
    try:
        settings = merge(extra, from_environment(OUR_PREFIX, environ))
        models = parse_json(settings.get("models"))
        if isinstance(models, dict):
            settings["models"] = {name: parse_json(child) for name, child in models.items()}
    except (ValueError, RecursionError):
        return
    yield place, settings


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object in a text; empty if it does not contain one."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def is_ours(implementation: str) -> bool:
    """Return whether an MLServer implementation is one of this package."""
    return implementation.startswith("tempo_runtime.")
