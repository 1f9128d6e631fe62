"""Rules of KServe."""

from __future__ import annotations

import contextlib
import json
import re

from tempo_runtime._util.yaml_document import Document, Run
from tempo_runtime.lint.addresses import child_urls
from tempo_runtime.lint.rules import Hits, across, rule
from tempo_runtime.lint.runtimes import MLSERVER_FORMATS, formats, reached, runtime_of
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
    consequence="Unless the cluster has that runtime already, the service never becomes ready.",
    fix="correct the name, or add the runtime",
)
def runtime(document: Document, run: Run) -> Hits:
    """The runtime that is named is one of these files, if they have any, or comes along."""
    place = document["spec"]["predictor"]["model"]["runtime"]
    found, _ = reached(document, run)
    comes_along = place.text.startswith("kserve-")
    if place.text and run.of(*RUNTIMES) and not (found or comes_along):
        yield place, f"there is no runtime {place.text!r:.80}"


@across(
    "kserve-runtime-namespace",
    "error",
    ISVC,
    consequence="KServe finds no such runtime, and the service never becomes ready.",
    fix="put both into one namespace, or make it a ClusterServingRuntime",
)
def runtime_namespace(document: Document, run: Run) -> Hits:
    """A runtime of these files that is named is of the same namespace, or of the cluster."""
    place = document["spec"]["predictor"]["model"]["runtime"]
    found, near = reached(document, run)
    if found and not near:
        told = f"{found[0].namespace}, not in {document.namespace}"
        yield place, f"runtime {place.text!r:.80} is in {told}"


@across(
    "kserve-format",
    "error",
    ISVC,
    consequence="KServe finds no runtime for it, and the service never becomes ready.",
    fix="name a format of the runtime's supportedModelFormats",
)
def model_format(document: Document, run: Run) -> Hits:
    """The format of a model is one that its runtime supports."""
    model = document["spec"]["predictor"]["model"]
    name, found = model["modelFormat"]["name"], runtime_of(document, run)
    if model and not name.text:
        yield name, "the model has no modelFormat.name"
    elif found is not None and name.text not in found.formats:
        told = ", ".join(sorted(found.formats)) or "none"
        yield name, f"runtime {found.name!r} supports {told}, not {name.text!r:.80}"


@across(
    "kserve-protocol",
    "error",
    ISVC,
    consequence="KServe refuses the runtime, or asks MLServer over a protocol it has not.",
    fix="protocolVersion: v2",
)
def protocol(document: Document, run: Run) -> Hits:
    """The protocol of a model is one of its runtime's, and v2 for MLServer.

    Source: inference_service_defaults.go, SetMlServerDefaults.
    """
    place = document["spec"]["predictor"]["model"]["protocolVersion"]
    found = runtime_of(document, run)
    if not place or found is None:
        return
    known = found.protocols
    if (known and place.text not in known) or (found.by_mlserver and place.text == "v1"):
        yield (
            place,
            f"runtime {found.name!r} has {', '.join(known) or 'v2'}, not {place.value!r:.40}",
        )


@across(
    "kserve-protocol-missing",
    "warning",
    ISVC,
    consequence="Versions of KServe that do not know the runtime as MLServer's take v1.",
    fix="protocolVersion: v2",
)
def protocol_missing(document: Document, run: Run) -> Hits:
    """A model that MLServer serves says `protocolVersion: v2`.

    Source: inference_service_defaults.go, SetMlServerDefaults.
    """
    model = document["spec"]["predictor"]["model"]
    found = runtime_of(document, run)
    ours = model["modelFormat"]["name"].text == "tempo"
    if not model["protocolVersion"] and (ours or (found is not None and found.by_mlserver)):
        yield model["protocolVersion"], "it says no protocolVersion"


@rule(
    "kserve-model-class",
    "warning",
    *RUNTIMES,
    consequence="KServe overwrites that label, with sklearn for all it does not know.",
    fix="write the implementation: tempo_runtime.TempoPipelineRuntime",
)
def model_class(document: Document) -> Hits:
    """A runtime names its implementation, and does not take it from the label modelClass.

    Source: inference_service_defaults.go, SetMlServerDefaults; config/runtimes/kserve-mlserver.yaml.
    """
    other = formats(document) - MLSERVER_FORMATS
    for container in document["spec"]["containers"]:
        for _, entry in variables(container):
            if ".Labels.modelClass" in entry["value"].text and other:
                yield entry["value"], f"it is for {', '.join(sorted(other))}"


@rule(
    "kserve-container-name",
    "error",
    *RUNTIMES,
    consequence="KServe merges the model into the container of that name, finds none, and fails.",
    fix="name MLServer's container kserve-container",
)
def container_name(document: Document) -> Hits:
    """A runtime has a container `kserve-container`, unless it is one of ModelMesh (`multiModel`).

    Source: config/runtimes/kserve-mlserver.yaml.
    """
    if document["spec"]["multiModel"].value is True:
        return
    place = document["spec"]["containers"]
    names = [each["name"].text for each in place]
    if "kserve-container" not in names:
        where = place[0]["name"] if names else place
        yield where, f"it has {', '.join(map(repr, names)) or 'no container'}"


@rule(
    "kserve-parallel-workers",
    "warning",
    *RUNTIMES,
    ISVC,
    consequence="MLServer starts one worker: a stream becomes one answer, custom handlers hang.",
    fix='MLSERVER_PARALLEL_WORKERS: "0"; or "1" if the artifact has an environment of its own',
)
def parallel_workers(document: Document) -> Hits:
    """Where MLServer serves pipelines, its parallel workers are chosen.

    Source: mlserver/parallel (ParallelModel has no predict_stream), settings.py.
    """
    places = [document["spec"], *components(document)]
    for container in (each for place in places for each in place["containers"]):
        ours = is_ours(variable(container, "MLSERVER_MODEL_IMPLEMENTATION").text)
        if ours and not variable(container, "MLSERVER_PARALLEL_WORKERS"):
            yield container["env"], "MLSERVER_PARALLEL_WORKERS is not set"


@rule(
    "kserve-explainer-gone",
    "error",
    ISVC,
    consequence="KServe has no such explainer any more, and drops or refuses it.",
    fix="deploy the explainer as the predictor of an InferenceService of its own",
)
def explainer_gone(document: Document) -> Hits:
    """No explainer is of type alibi or aix.

    Source: docs/samples/explanation/alibi.
    """
    for name in _GONE:
        if place := document["spec"]["explainer"][name]:
            yield place, f"explainer.{name} is gone"


@rule(
    "kserve-explainer-v1",
    "warning",
    ISVC,
    consequence="It is called at /v1/models/NAME:explain only, which MLServer answers with 404.",
    fix="deploy it as the predictor of an InferenceService of its own",
)
def explainer_v1(document: Document) -> Hits:
    """An explainer that MLServer serves is a predictor.

    Source: pkg/constants, ExplainPath.
    """
    for container in document["spec"]["explainer"]["containers"]:
        ours = any(name.startswith(("MLSERVER_", "TEMPO_")) for name, _ in variables(container))
        if ours or "mlserver" in container["image"].text or "tempo" in container["image"].text:
            yield container, "MLServer is its explainer"


@rule(
    "kserve-model-name",
    "warning",
    ISVC,
    consequence="Calls by the service's name are answered 404: MLServer goes by this one.",
    fix="give the InferenceService that name, or remove the variable",
)
def model_name(document: Document) -> Hits:
    """MLSERVER_MODEL_NAME is the name of the InferenceService.

    Source: https://github.com/kserve/kserve/issues/3682.
    """
    predictor = document["spec"]["predictor"]
    for container in (predictor["model"], *predictor["containers"]):
        value = variable(container, "MLSERVER_MODEL_NAME")
        if value.text and value.text != document.name:
            yield value, f"MLSERVER_MODEL_NAME is {value.text!r:.80}, the service {document.name!r}"


@across(
    "kserve-timeout",
    "warning",
    ISVC,
    consequence="KServe ends the request first, and the caller does not get the pipeline's own answer.",
    fix="give the component more time than the pipeline, or set TEMPO_RUNTIME_TIMEOUT lower",
)
def timeout(document: Document, run: Run) -> Hits:
    """A component has more time than the pipeline in it: TEMPO_RUNTIME_TIMEOUT, or 60 s."""
    predictor = document["spec"]["predictor"]
    found = runtime_of(document, run)
    where = [*predictor["containers"], predictor["model"]]
    where += found.containers if found is not None else ()
    ours = predictor["model"]["modelFormat"]["name"].text == "tempo" or any(
        is_ours(variable(each, "MLSERVER_MODEL_IMPLEMENTATION").text) for each in where
    )
    stated = [variable(each, "TEMPO_RUNTIME_TIMEOUT").text for each in where]
    text = next(filter(None, stated), "60")
    given = predictor["timeout"].number
    try:
        seconds = float(text)
    except ValueError:
        return
    if ours and given is not None and given <= seconds:
        yield predictor["timeout"], f"timeout is {given}, and the pipeline's {seconds:g}"


@across(
    "kserve-storage",
    "warning",
    ISVC,
    consequence="MLServer starts without any model (MLSERVER_LOAD_MODELS_AT_STARTUP=false).",
    fix="add storageUri, unless models are loaded through its repository API",
)
def storage(document: Document, run: Run) -> Hits:
    """A model that MLServer serves says where it is.

    Source: inference_service_defaults.go, SetMlServerDefaults.
    """
    model, found = document["spec"]["predictor"]["model"], runtime_of(document, run)
    stated = model["storageUri"] or model["storage"]
    if found is not None and found.by_mlserver and not stated:
        yield model["storageUri"], "it has no storageUri"


@across(
    "kserve-headless",
    "error",
    ISVC,
    consequence="Calls of that child fail: a Service without an address has only the ports of its pods.",
    fix="write the manifest with the option `headless` (--set headless=true), or name port 8080",
)
def headless(document: Document, run: Run) -> Hits:
    """Where KServe's config in these files sets serviceClusterIPNone, no child is called at port 80.

    Source: pkg/controller/v1beta1/inferenceservice/reconcilers/service/service_reconciler.go.
    """
    configs = [each["data"]["service"].text for each in run.named(_CONFIG, "ConfigMap")]
    if not any(map(_has_no_address, configs)):
        return
    for place, settings in pipeline_settings(document):
        for what, url in child_urls(settings):
            if _AT_PORT_80.fullmatch(url):
                yield place, f"{what} is called at {url!r:.80}"


def _has_no_address(service: str) -> bool:
    with contextlib.suppress(ValueError, AttributeError):
        return json.loads(service).get("serviceClusterIPNone") is True
    return False
