"""Rules for KServe."""

from __future__ import annotations

import contextlib
import json
import re

from tempo_runtime._util.yaml_document import Document, Run
from tempo_runtime.lint.addresses import child_urls
from tempo_runtime.lint.rules import Hits, across, rule
from tempo_runtime.lint.runtimes import MLSERVER_FORMATS, formats, reachable, runtime_of
from tempo_runtime.lint.views import (
    RUNTIMES,
    components,
    is_ours,
    pipeline_settings,
    variable,
    variables,
)

ISVC = "InferenceService"
_GONE = ("alibi", "aix")
_CONFIG = "inferenceservice-config"
_AT_PORT_80 = re.compile(r"https?://[^/:]+-predictor(\.[^/:]*)?(:80)?(/.*)?")


@across(
    "kserve-runtime",
    "warning",
    ISVC,
    consequence="Unless the cluster already has that runtime, the service never becomes ready.",
    fix="correct the name, or add the runtime",
)
def runtime_exists(document: Document, run: Run) -> Hits:
    """The runtime that a service names is in these files (if they have any), or in KServe."""
    place = document["spec"]["predictor"]["model"]["runtime"]
    runtimes, _ = reachable(document, run)
    included = place.text.startswith("kserve-")
    if place.text and run.of(*RUNTIMES) and not (runtimes or included):
        yield place, f"there is no runtime {place.text!r:.80}"


@across(
    "kserve-runtime-namespace",
    "error",
    ISVC,
    consequence="KServe does not find the runtime, and the service never becomes ready.",
    fix="put both into the same namespace, or make it a ClusterServingRuntime",
)
def runtime_namespace(document: Document, run: Run) -> Hits:
    """A runtime in these files that a service names is in its namespace, or of the cluster."""
    place = document["spec"]["predictor"]["model"]["runtime"]
    runtimes, near = reachable(document, run)
    if runtimes and not near:
        where = f"{runtimes[0].namespace}, not in {document.namespace}"
        yield place, f"runtime {place.text!r:.80} is in {where}"


@across(
    "kserve-format",
    "error",
    ISVC,
    consequence="KServe finds no runtime for it, and the service never becomes ready.",
    fix="use a format of the runtime's supportedModelFormats",
)
def model_format(document: Document, run: Run) -> Hits:
    """The runtime of a model supports its format."""
    model = document["spec"]["predictor"]["model"]
    name, runtime = model["modelFormat"]["name"], runtime_of(document, run)
    if runtime is not None and name.text not in runtime.formats:
        supported = ", ".join(sorted(runtime.formats)) or "none"
        yield name, f"runtime {runtime.name!r} supports {supported}, not {name.text!r:.80}"


@across(
    "kserve-protocol",
    "error",
    ISVC,
    consequence="KServe refuses the runtime, or calls MLServer with a protocol that it does not support.",
    fix="set protocolVersion: v2",
)
def protocol(document: Document, run: Run) -> Hits:
    """The runtime of a model supports its protocol, which is v2 for MLServer.

    Source: inference_service_defaults.go, SetMlServerDefaults.
    """
    place = document["spec"]["predictor"]["model"]["protocolVersion"]
    runtime = runtime_of(document, run)
    if not place or runtime is None:
        return
    known = runtime.protocols
    if (known and place.text not in known) or (runtime.by_mlserver and place.text == "v1"):
        supported = ", ".join(known) or "v2"
        yield place, f"runtime {runtime.name!r} supports {supported}, not {place.value!r:.40}"


@across(
    "kserve-protocol-missing",
    "warning",
    ISVC,
    consequence="Versions of KServe that do not recognize the runtime as MLServer use v1.",
    fix="set protocolVersion: v2",
)
def protocol_missing(document: Document, run: Run) -> Hits:
    """A model on MLServer states `protocolVersion: v2`.

    Source: inference_service_defaults.go, SetMlServerDefaults.
    """
    model = document["spec"]["predictor"]["model"]
    runtime = runtime_of(document, run)
    ours = model["modelFormat"]["name"].text == "tempo"
    if not model["protocolVersion"] and (ours or (runtime is not None and runtime.by_mlserver)):
        yield model["protocolVersion"], "it has no protocolVersion"


@rule(
    "kserve-model-class",
    "warning",
    *RUNTIMES,
    consequence="KServe overwrites that label, with sklearn for every format that it does not know.",
    fix="name the implementation: tempo_runtime.TempoPipelineRuntime",
)
def model_class(document: Document) -> Hits:
    """A runtime names its implementation instead of taking it from the label modelClass.

    Source: inference_service_defaults.go, SetMlServerDefaults; config/runtimes/kserve-mlserver.yaml.
    """
    other = formats(document) - MLSERVER_FORMATS
    for container in document["spec"]["containers"]:
        for _, entry in variables(container):
            if ".Labels.modelClass" in entry["value"].text and other:
                yield entry["value"], f"the runtime is for {', '.join(sorted(other))}"


@rule(
    "kserve-container-name",
    "error",
    *RUNTIMES,
    consequence="KServe fails: it merges the model into the container with that name.",
    fix="name MLServer's container kserve-container",
)
def container_name(document: Document) -> Hits:
    """A runtime has a container `kserve-container`, unless it is for ModelMesh (`multiModel`).

    Source: config/runtimes/kserve-mlserver.yaml.
    """
    if document["spec"]["multiModel"].value is True:
        return
    place = document["spec"]["containers"]
    names = [container["name"].text for container in place]
    if "kserve-container" not in names:
        where = place[0]["name"] if names else place
        yield where, f"it has {', '.join(map(repr, names)) or 'no container'}"


@rule(
    "kserve-parallel-workers",
    "warning",
    *RUNTIMES,
    ISVC,
    consequence="MLServer starts one worker, which needs memory of its own, and custom handlers hang.",
    fix='set MLSERVER_PARALLEL_WORKERS to "0", or to "1" if the artifact has its own environment',
)
def parallel_workers(document: Document) -> Hits:
    """If MLServer serves pipelines, the number of its parallel workers is set.

    Source: mlserver/parallel (ParallelModel), settings.py.
    """
    places = [document["spec"], *components(document)]
    for container in (container for place in places for container in place["containers"]):
        ours = is_ours(variable(container, "MLSERVER_MODEL_IMPLEMENTATION").text)
        if ours and not variable(container, "MLSERVER_PARALLEL_WORKERS"):
            yield container["env"], "MLSERVER_PARALLEL_WORKERS is not set"


@rule(
    "kserve-explainer-gone",
    "error",
    ISVC,
    consequence="KServe no longer has this explainer, and drops or refuses it.",
    fix="deploy the explainer as the predictor of its own InferenceService",
)
def explainer_gone(document: Document) -> Hits:
    """An explainer does not have the type alibi or aix.

    Source: docs/samples/explanation/alibi.
    """
    for name in _GONE:
        if place := document["spec"]["explainer"][name]:
            yield place, f"KServe has removed explainer.{name}"


@rule(
    "kserve-explainer-v1",
    "warning",
    ISVC,
    consequence="KServe calls it only at /v1/models/NAME:explain, which MLServer answers with 404.",
    fix="deploy it as the predictor of its own InferenceService",
)
def explainer_v1(document: Document) -> Hits:
    """An explainer on MLServer is deployed as a predictor.

    Source: pkg/constants, ExplainPath.
    """
    for container in document["spec"]["explainer"]["containers"]:
        ours = any(name.startswith(("MLSERVER_", "TEMPO_")) for name, _ in variables(container))
        if ours or "mlserver" in container["image"].text or "tempo" in container["image"].text:
            yield container, "this explainer is an MLServer"


@rule(
    "kserve-model-name",
    "warning",
    ISVC,
    consequence="Calls by the service's name are answered with 404: MLServer uses this name instead.",
    fix="give the InferenceService this name, or remove the variable",
)
def model_name(document: Document) -> Hits:
    """MLSERVER_MODEL_NAME is the name of the InferenceService.

    Source: https://github.com/kserve/kserve/issues/3682.
    """
    predictor = document["spec"]["predictor"]
    for container in (predictor["model"], *predictor["containers"]):
        value = variable(container, "MLSERVER_MODEL_NAME")
        if value.text and value.text != document.name:
            yield value, f"it is {value.text!r:.80}, and the service is {document.name!r}"


@across(
    "kserve-timeout",
    "warning",
    ISVC,
    consequence="KServe ends the request first, and the caller does not get the pipeline's own answer.",
    fix="set a timeout longer than the pipeline's, or lower TEMPO_RUNTIME_TIMEOUT",
)
def timeout(document: Document, run: Run) -> Hits:
    """A component has more time than its pipeline: TEMPO_RUNTIME_TIMEOUT, or 60 s."""
    predictor = document["spec"]["predictor"]
    runtime = runtime_of(document, run)
    where = [*predictor["containers"], predictor["model"]]
    where += runtime.containers if runtime is not None else ()
    ours = predictor["model"]["modelFormat"]["name"].text == "tempo" or any(
        is_ours(variable(place, "MLSERVER_MODEL_IMPLEMENTATION").text) for place in where
    )
    stated = [variable(place, "TEMPO_RUNTIME_TIMEOUT").text for place in where]
    text = next(filter(None, stated), "60")
    given = predictor["timeout"].number
    try:
        seconds = float(text)
    except ValueError:
        return
    if ours and given is not None and given <= seconds:
        yield predictor["timeout"], f"timeout is {given} s, and the pipeline's is {seconds:g} s"


@across(
    "kserve-storage",
    "warning",
    ISVC,
    consequence="MLServer starts without a model (MLSERVER_LOAD_MODELS_AT_STARTUP=false).",
    fix="add storageUri, unless models are loaded through MLServer's repository API",
)
def storage(document: Document, run: Run) -> Hits:
    """A model on MLServer states its location.

    Source: inference_service_defaults.go, SetMlServerDefaults.
    """
    model, runtime = document["spec"]["predictor"]["model"], runtime_of(document, run)
    stated = model["storageUri"] or model["storage"]
    if runtime is not None and runtime.by_mlserver and not stated:
        yield model["storageUri"], "it has no storageUri"


@across(
    "kserve-headless",
    "error",
    ISVC,
    consequence="Calls of that child fail: a headless Service has only the ports of its pods.",
    fix="write the manifest with the option `headless` (--set headless=true), or use port 8080",
)
def headless(document: Document, run: Run) -> Hits:
    """No child is called at port 80 if KServe's config in these files sets serviceClusterIPNone.

    Source: pkg/controller/v1beta1/inferenceservice/reconcilers/service/service_reconciler.go.
    """
    configs = [config["data"]["service"].text for config in run.named(_CONFIG, "ConfigMap")]
    if not any(map(_is_headless, configs)):
        return
    for place, settings in pipeline_settings(document):
        for what, url in child_urls(settings):
            if _AT_PORT_80.fullmatch(url):
                yield place, f"the URL of {what} is {url!r:.80}"


def _is_headless(service: str) -> bool:
    with contextlib.suppress(ValueError, AttributeError):
        return json.loads(service).get("serviceClusterIPNone") is True
    return False
