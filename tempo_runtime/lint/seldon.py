"""Rules for Seldon Core v1."""

from __future__ import annotations

from collections.abc import Iterator

from tempo_runtime._util.yaml_document import Document, Place
from tempo_runtime.lint.rules import Hits, rule
from tempo_runtime.lint.views import predictors, units

KIND = "SeldonDeployment"
NO_ENGINE = "seldon.io/no-engine"
_V2 = ("v2", "kfserving")
_PREPACKED = tuple(
    f"{name}_SERVER"
    for name in ("SKLEARN", "XGBOOST", "TENSORFLOW", "MLFLOW", "TRITON", "TEMPO", "HUGGINGFACE")
)
_BUILT_IN = ["SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER"]


def pod_containers(predictor: Place) -> Iterator[Place]:
    """The containers of a predictor."""
    for component in predictor["componentSpecs"]:
        yield from component["spec"]["containers"]


def container_of(predictor: Place, unit: Place) -> Place | None:
    """The container of a node, if it has one."""
    name = unit["name"].text
    named = (one for one in pod_containers(predictor) if one["name"].text == name)
    return next(named, None)


def _implementation(unit: Place) -> str:
    server = unit["implementation"].text
    return "" if server == "UNKNOWN_IMPLEMENTATION" else server


def prepacked(document: Document) -> Iterator[tuple[Place, Place, str]]:
    """Predictor, node and implementation, of nodes that a prepackaged server serves."""
    for predictor in predictors(document):
        for unit in units(predictor["graph"]):
            server = _implementation(unit)
            if server and server not in _BUILT_IN:
                yield predictor, unit, server


def by_mlserver(document: Document) -> Iterator[tuple[Place, Place]]:
    """Predictor and node, of nodes that MLServer serves."""
    if document["spec"]["protocol"].value in _V2:
        for predictor, unit, server in prepacked(document):
            if server not in ("TRITON_SERVER", "TENSORFLOW_SERVER"):
                yield predictor, unit


@rule(
    "seldon-container-name",
    "error",
    KIND,
    consequence="The operator adds a second container with the name of the graph; this one has no "
    "image, and the Deployment is rejected.",
    fix="give the container the name of the graph (spec.predictors[].graph.name)",
)
def container_name(document: Document) -> Hits:
    """A container without an image has the name of a node in the graph.

    Source: seldondeployment_webhook.go:56-67, defaults.go:238-290.
    """
    for predictor in predictors(document):
        names = [unit["name"].text for unit in units(predictor["graph"])]
        for container in pod_containers(predictor):
            if container["name"].text not in names and not container["image"].text:
                nodes = ", ".join(map(repr, names)) or "none"
                message = f"container {container['name'].text!r} is not a node of the graph"
                yield container["name"], f"{message}, which has {nodes}"


@rule(
    "seldon-container-apart",
    "warning",
    KIND,
    consequence="The operator adds another container for the graph: the settings of this one do not "
    "reach the model.",
    fix="if it is meant for the model, give it the name of the graph",
)
def container_apart(document: Document) -> Hits:
    """If a node has no container, every container has the name of another node.

    Source: seldondeployment_webhook.go:56-67, defaults.go:238-290.
    """
    for predictor in predictors(document):
        names = [unit["name"].text for unit in units(predictor["graph"])]
        if all(container_of(predictor, unit) for unit in units(predictor["graph"])):
            continue
        for container in pod_containers(predictor):
            if container["name"].text not in names and container["image"].text:
                yield container["name"], f"container {container['name'].text!r} belongs to no node"


@rule(
    "seldon-container-missing",
    "error",
    KIND,
    consequence="The webhook refuses it: Can't find container for Predictive Unit.",
    fix="set an implementation, or add a container with the node's name",
)
def container_missing(document: Document) -> Hits:
    """A node without an implementation has a container with its name.

    Source: seldondeployment_webhook.go, checkPredictiveUnits.
    """
    for predictor in predictors(document):
        for unit in units(predictor["graph"]):
            if not _implementation(unit) and container_of(predictor, unit) is None:
                yield unit["name"], f"node {unit['name'].text!r} has neither"


@rule(
    "seldon-protocol",
    "error",
    KIND,
    consequence="The webhook refuses it: Invalid protocol.",
    fix="protocol: v2 (kfserving before Core 1.13)",
)
def protocol(document: Document) -> Hits:
    """The protocol is seldon, tensorflow, v2 or kfserving.

    Source: seldondeployment_webhook.go:238-241.
    """
    place = document["spec"]["protocol"]
    if place and place.value not in ("", "seldon", "tensorflow", *_V2):
        yield place, f"there is no protocol {place.value!r:.40}"


@rule(
    "seldon-protocol-v2",
    "error",
    KIND,
    consequence="Without it, the operator finds no image for the server, and the Deployment is invalid.",
    fix="protocol: v2 (kfserving before Core 1.13)",
)
def protocol_v2(document: Document) -> Hits:
    """TEMPO_SERVER and HUGGINGFACE_SERVER have protocol v2.

    Source: seldondeployment_prepackaged_servers.go:449-460; helm values.yaml, predictor_servers.
    """
    place = document["spec"]["protocol"]
    if place.value in (None, "", "seldon", "tensorflow"):
        for _, _, server in prepacked(document):
            if server in ("TEMPO_SERVER", "HUGGINGFACE_SERVER"):
                yield place, f"{server} has protocol {place.value or 'seldon, the default'}"


@rule(
    "seldon-tensorflow",
    "error",
    KIND,
    consequence="The operator has no image for the server with that protocol, and pipelines cannot call "
    "it with another.",
    fix="serve the model with TRITON_SERVER",
)
def tensorflow(document: Document) -> Hits:
    """TENSORFLOW_SERVER does not have protocol v2.

    Source: helm values.yaml, predictor_servers; seldondeployment_prepackaged_servers.go.
    """
    if document["spec"]["protocol"].value in _V2:
        for _, unit, server in prepacked(document):
            if server == "TENSORFLOW_SERVER":
                yield unit["implementation"], f"node {unit['name'].text!r} is on TENSORFLOW_SERVER"


@rule(
    "seldon-implementation",
    "warning",
    KIND,
    consequence="It is refused, unless the operator's ConfigMap seldon-config has it; in that case "
    "model-settings.json must name the implementation.",
    fix="use TEMPO_SERVER for a pipeline, or add the server to seldon-config",
)
def implementation(document: Document) -> Hits:
    """Seldon Core includes the implementation.

    Source: prepack.go:24-34,146-149,174-202; mlserver.go:263-281.
    """
    for _, unit, server in prepacked(document):
        if server not in _PREPACKED:
            yield unit["implementation"], f"Seldon Core does not include {server}"


@rule(
    "seldon-model-uri",
    "error",
    KIND,
    consequence="The webhook refuses it.",
    fix="set modelUri to the URI that the artifact was uploaded to",
)
def model_uri(document: Document) -> Hits:
    """A prepackaged server has a modelUri, except HUGGINGFACE_SERVER.

    Source: seldondeployment_webhook.go:97-122.
    """
    for _, unit, server in prepacked(document):
        if server != "HUGGINGFACE_SERVER" and not unit["modelUri"].value:
            yield unit["modelUri"], f"{server} {unit['name'].text!r} has no modelUri"


@rule(
    "seldon-no-engine-children",
    "error",
    KIND,
    consequence="The webhook refuses it, whatever the value of the annotation.",
    fix="remove the annotation, or the children in the graph",
)
def no_engine_children(document: Document) -> Hits:
    """A graph with several nodes does not have the annotation `seldon.io/no-engine`.

    Source: seldondeployment_webhook.go:265-282.
    """
    for predictor in predictors(document):
        place = predictor["annotations"][NO_ENGINE]
        if place and len(list(units(predictor["graph"]))) > 1:
            yield place, "the graph has several nodes"


@rule(
    "seldon-no-engine",
    "warning",
    KIND,
    consequence="The executor in front of MLServer supports neither streams nor custom handlers.",
    fix='add seldon.io/no-engine: "true" to the annotations of the predictor; its port is then 9000',
)
def no_engine(document: Document) -> Hits:
    """A model on MLServer is called without the executor.

    Source: executor/api/rest/server.go:185-188.
    """
    for predictor, unit in by_mlserver(document):
        place = predictor["annotations"][NO_ENGINE]
        alone = unit.path == predictor["graph"].path and not list(unit["children"])
        if alone and not unit["logger"] and place.text.lower() != "true":
            yield place, f"predictor {predictor['name'].text!r} runs the executor"


@rule(
    "seldon-logger",
    "error",
    KIND,
    consequence="Nothing is logged: the executor logs, and the annotation removes it.",
    fix="remove the annotation seldon.io/no-engine, or the logger",
)
def logger(document: Document) -> Hits:
    """A graph with a `logger` runs the executor, which logs.

    Source: executor/logger/worker.go, and seldondeployment_engine.go for the annotation.
    """
    for predictor in predictors(document):
        if predictor["annotations"][NO_ENGINE].text.lower() != "true":
            continue
        for unit in units(predictor["graph"]):
            if unit["logger"]:
                yield unit["logger"], f"{unit['name'].text!r} has a logger"


@rule(
    "seldon-predictors",
    "error",
    KIND,
    consequence="The webhook refuses it.",
    fix="add a predictor, and give each predictor its own name",
)
def predictor_names(document: Document) -> Hits:
    """There is a predictor, and names of predictors are unique.

    Source: seldondeployment_webhook.go:265-282.
    """
    seen: set[str] = set()
    for predictor in predictors(document):
        name = predictor["name"].text
        if name in seen:
            yield predictor["name"], f"there are two predictors {name!r}"
        seen.add(name)
    if not seen:
        yield document["spec"]["predictors"], "it has no predictor"


@rule(
    "seldon-traffic",
    "error",
    KIND,
    consequence="The webhook refuses it.",
    fix="set traffic so that the predictors without the shadow have 100 together",
)
def traffic(document: Document) -> Hits:
    """The traffic of several predictors adds up to 100, and at most one is a shadow.

    Source: seldondeployment_webhook.go:137-164.
    """
    everything = list(predictors(document))
    live = [predictor for predictor in everything if predictor["shadow"].value is not True]
    total = sum(predictor["traffic"].number or 0 for predictor in live)
    if (len(live) > 1 and total != 100) or (len(everything) == 1 and 0 < total < 100):
        yield live[0]["traffic"], f"it adds up to {total}"
    if len(everything) - len(live) > 1 or (everything and not live):
        yield document["spec"]["predictors"], "there is more than one shadow, or only a shadow"


@rule(
    "seldon-name-length",
    "warning",
    KIND,
    consequence="The Service or Deployment is named seldon-MD5, and the expected URL does not exist.",
    fix="shorten the names, or set the predictor's annotation seldon.io/svc-name",
)
def name_length(document: Document) -> Hits:
    """Names that the operator joins have at most 63 characters together.

    Source: seldondeployment_types.go:120-139.
    """
    for number, predictor in enumerate(predictors(document)):
        base = f"{document.name}-{predictor['name'].text}"
        nodes = [unit["name"].text for unit in units(predictor["graph"])]
        joined = [base] if not predictor["annotations"]["seldon.io/svc-name"] else []
        joined += [f"{base}-{number}-{'-'.join(nodes)}", *(f"{base}-{node}" for node in nodes)]
        long = next((name for name in joined if len(name) > 63), None)
        if long:
            yield predictor["name"], f"{long!r:.120} has {len(long)} characters"
