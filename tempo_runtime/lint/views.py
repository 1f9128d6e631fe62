"""What several rules look at: containers, their variables, quantities, URIs, settings of pipelines."""

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
# How KServe named the framework before it was `model`, and what is no framework in a component.
_FRAMEWORKS = ("model", "sklearn", "xgboost", "lightgbm", "mlflow", "tensorflow", "pytorch", "onnx")
# What a Model of Core 2 requires that is a pipeline: by hand, and as manifests are written here. The
# parameters of others have their own meaning.
_PIPELINES = {"tempo", "tempo-runtime"}
_URI = re.compile(r"([a-zA-Z][\w+.-]*)://.+", re.DOTALL)
_REMOTE = re.compile(r"(\w[\w+.-]*):.+", re.DOTALL)
_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?))")
_UNITS = {unit: Decimal(1024) ** power for power, unit in enumerate(["Ki", "Mi", "Gi"], 1)}
_UNITS |= {unit: Decimal(1024) ** power for power, unit in enumerate(["Ti", "Pi", "Ei"], 4)}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("numkMGTPE", -3) if power < 0}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}


def predictors(document: Document) -> Iterator[Place]:
    """The predictors of a SeldonDeployment."""
    yield from document["spec"]["predictors"]


def components(document: Document) -> Iterator[Place]:
    """The components of an InferenceService."""
    for name in _COMPONENTS:
        if place := document["spec"][name]:
            yield place


def pods(document: Document) -> Iterator[Place]:
    """The pod specs in a document."""
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
    """The containers in a document, and what KServe makes one of."""
    for pod in pods(document):
        if document.kind == "InferenceService":
            yield from component_containers(pod)
        else:
            yield from pod["containers"]


def all_containers(document: Document) -> Iterator[Place]:
    """The containers in a document, and those that run before them."""
    yield from containers(document)
    for pod in pods(document):
        yield from pod["initContainers"]


def component_containers(component: Place) -> Iterator[Place]:
    """The containers of an InferenceService's component, and what KServe makes one of."""
    yield from component["containers"]
    for name in _FRAMEWORKS:
        if place := component[name]:
            yield place


def variables(container: Place) -> Iterator[tuple[str, Place]]:
    """The environment of a container: each name, and the entry that sets it."""
    for entry in container["env"]:
        if name := entry["name"].text:
            yield name, entry


def variable(container: Place, name: str) -> Place:
    """The value of a variable; of the last entry, where there are several."""
    found = [entry["value"] for each, entry in variables(container) if each == name]
    return found[-1] if found else Place(None, container.path)


def untold(value: Any) -> str:
    """What is in the place of a text, without telling it: it may be a password."""
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return "nothing" if value is None else kinds.get(type(value), "a mapping")


def quantity(value: Any) -> Decimal | None:
    """What Kubernetes reads `500m`, `1` or `2Gi` as; None where it is no quantity."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    found = _QUANTITY.fullmatch(str(value))
    if found is None:
        return None
    try:
        return Decimal(found[1] + (found[2] or "")) * _UNITS.get(found[3] or "", Decimal(1))
    except ArithmeticError:  # 1e9999999
        return None


def scheme(uri: str) -> str:
    """The scheme of a URI, lower case; empty where it has none."""
    found = _URI.fullmatch(uri)
    return found[1].lower() if found else ""


def remote(uri: str) -> str:
    """The remote that rclone takes a URI to name, as `s3://bucket` and `minio:bucket` do; lower case."""
    found = _REMOTE.fullmatch(uri)
    return found[1].lower() if found else ""


def artifact_uris(document: Document) -> Iterator[Place]:
    """Where a document says that an artifact is."""
    if document.kind == "SeldonDeployment":
        for predictor in predictors(document):
            yield from (unit["modelUri"] for unit in units(predictor["graph"]))
    elif document.kind == "Model":
        yield document["spec"]["storageUri"]
    elif document.kind == "InferenceService":
        for component in components(document):
            yield from (component[name]["storageUri"] for name in _FRAMEWORKS)


def units(graph: Place) -> Iterator[Place]:
    """The nodes of a graph of Seldon Core v1."""
    if isinstance(graph.value, dict):
        yield graph
        for child in graph["children"]:
            yield from units(child)


def pipeline_settings(document: Document) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each place that sets up pipelines, and the settings there, as nested fields.

    One that says something as an object and as text, or JSON that is none, is left out; so is a variable
    that Kubernetes makes of others.
    """
    for container in containers(document):
        environ = {
            name: entry["value"].text
            for name, entry in variables(container)
            if name.startswith(OUR_PREFIX) and _stated(entry["value"])
        }
        extra = _stated(variable(container, "MLSERVER_MODEL_EXTRA"))
        if environ or extra:
            yield from _settings(container["env"], json_object(extra), environ)
    required = {each.text for each in document["spec"]["requirements"]}
    if document.kind == "Model" and required & _PIPELINES:
        place = document["spec"]["parameters"]
        yield from _settings(place, {each["name"].text: each["value"].value for each in place}, {})
    if document.kind == SETTINGS and is_ours(document["implementation"].text):
        place = document["parameters"]["extra"]
        if isinstance(place.value, dict):
            yield from _settings(place, place.value, {})


def _stated(value: Place) -> str:
    """The text of a variable, where it does not refer to others: `$(HOST)`."""
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
    """The JSON object that a text is; empty where it is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def is_ours(implementation: str) -> bool:
    """Whether an MLServer implementation is this package's."""
    return implementation.startswith("tempo_runtime.")
