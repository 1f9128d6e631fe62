"""Rules for KServe. Sources are files of kserve/kserve."""

from __future__ import annotations

from tempo_runtime.deploy.lint.document import Document, Run
from tempo_runtime.deploy.lint.rules import Hits, across, rule

SERVICE = "InferenceService"
RUNTIMES = ("ServingRuntime", "ClusterServingRuntime")
_CONTAINER = "kserve-container"
_NAME = 53  # characters: NAME-predictor and what Knative adds are 63


@across(
    "kserve-runtime",
    "error",
    SERVICE,
    consequence="no pod is made: the runtime does not take the model's format",
    fix="name a runtime that has the format in supportedModelFormats",
)
def _runtime(document: Document, run: Run) -> Hits:
    """The runtime that a model names takes its format.

    Source: pkg/controller/v1beta1/inferenceservice/utils/utils.go
    """
    model = document["spec"]["predictor"]["model"]
    form = model["modelFormat"]["name"].text
    for runtime in run.named(model["runtime"].text, *RUNTIMES):
        formats = [each["name"].text for each in runtime["spec"]["supportedModelFormats"]]
        if form and form not in formats:
            yield model["runtime"], f"{runtime.name} takes {', '.join(formats)}, and not {form}"


@rule(
    "kserve-protocol",
    "error",
    SERVICE,
    consequence="KServe asks MLServer over protocol v1, which it does not speak",
    fix="protocolVersion: v2",
)
def _protocol(document: Document) -> Hits:
    """A model that MLServer serves is asked over v2.

    Source: pkg/apis/serving/v1beta1/inference_service_defaults.go
    """
    model = document["spec"]["predictor"]["model"]
    runtime = model["runtime"].text
    ours = "mlserver" in runtime or "tempo" in runtime
    if ours and model["protocolVersion"].text not in ("v2", "grpc-v2"):
        yield model["protocolVersion"], f"protocolVersion is {model['protocolVersion'].value!r}"


@rule(
    "kserve-model-class",
    "error",
    *RUNTIMES,
    consequence="KServe overwrites the label: pipelines are loaded as scikit-learn models",
    fix="write the class itself, such as tempo_runtime.TempoPipelineRuntime",
)
def _model_class(document: Document) -> Hits:
    """A runtime for pipelines names its class itself.

    Source: pkg/apis/serving/v1beta1/inference_service_defaults.go (SetMlServerDefaults)
    """
    formats = [each["name"].text for each in document["spec"]["supportedModelFormats"]]
    for container in document["spec"]["containers"]:
        for variable in container["env"]:
            if "modelClass" in variable["value"].text and "tempo" in " ".join(formats):
                yield variable["value"], f"{variable['name'].text} is {variable['value'].text}"


@rule(
    "kserve-container",
    "error",
    *RUNTIMES,
    consequence="KServe does not find the server's container",
    fix=f"name it {_CONTAINER}",
)
def _container(document: Document) -> Hits:
    """The server's container is `kserve-container`.

    Source: pkg/constants/constants.go (InferenceServiceContainerName)
    """
    names = [each["name"].text for each in document["spec"]["containers"]]
    if names and _CONTAINER not in names:
        yield document["spec"]["containers"], f"the containers are {', '.join(names)}"


@rule(
    "kserve-explainer",
    "error",
    SERVICE,
    consequence="KServe has no such explainer any more",
    fix="deploy the explainer as a predictor: tempo-runtime manifest does",
)
def _explainer(document: Document) -> Hits:
    """An explainer of alibi is a predictor of its own.

    Source: pkg/apis/serving/v1beta1/explainer.go
    """
    explainer = document["spec"]["explainer"]
    if explainer["alibi"]:
        yield explainer["alibi"], "the explainer is of type alibi"


@rule(
    "kserve-replicas",
    "error",
    SERVICE,
    consequence="the webhook refuses it",
    fix="let minReplicas be no more than maxReplicas",
)
def _replicas(document: Document) -> Hits:
    """There are no more pods at least than at most.

    Source: pkg/apis/serving/v1beta1/component.go
    """
    for part in ("predictor", "transformer"):
        least = document["spec"][part]["minReplicas"].number
        most = document["spec"][part]["maxReplicas"].number
        if least is not None and most and least > most:
            yield document["spec"][part]["minReplicas"], f"minReplicas is {least} of {most}"


@rule(
    "kserve-long-name",
    "error",
    SERVICE,
    consequence="a Service of it would have a name that is too long",
    fix=f"a name of up to {_NAME} characters",
)
def _long(document: Document) -> Hits:
    """There is room for what KServe adds to a name."""
    if len(document.name) > _NAME:
        yield document["metadata"]["name"], f"the name has {len(document.name)} characters"


@across(
    "kserve-graph",
    "error",
    "InferenceGraph",
    consequence="the router answers 404 where it would go there",
    fix="name a node of the graph",
)
def _graph(document: Document, run: Run) -> Hits:
    """A step goes to a node there is.

    Source: cmd/router/main.go
    """
    spec = document["spec"]
    known = [name for name, _ in spec["nodes"].items()]
    if known and "root" not in known:
        yield spec["nodes"], "there is no node `root`"
    for _, node in spec["nodes"].items():
        for step in node["steps"]:
            name = step["nodeName"]
            if name.text and name.text not in known:
                yield name, f"there is no node {name.text!r}"
