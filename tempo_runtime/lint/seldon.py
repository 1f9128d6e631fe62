"""Rules of Seldon Core v1."""

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
    return next((each for each in pod_containers(predictor) if each["name"].text == name), None)


def _implementation(unit: Place) -> str:
    found = unit["implementation"].text
    return "" if found == "UNKNOWN_IMPLEMENTATION" else found


def prepacked(document: Document) -> Iterator[tuple[Place, Place, str]]:
    """Predictor, node and implementation, of nodes that a prepackaged server serves."""
    for predictor in predictors(document):
        for unit in units(predictor["graph"]):
            found = _implementation(unit)
            if found and found not in _BUILT_IN:
                yield predictor, unit, found


def by_mlserver(document: Document) -> Iterator[tuple[Place, Place]]:
    """Predictor and node, of nodes that MLServer serves."""
    if document["spec"]["protocol"].value in _V2:
        for predictor, unit, found in prepacked(document):
            if found not in ("TRITON_SERVER", "TENSORFLOW_SERVER"):
                yield predictor, unit


@rule(
    "seldon-container-name",
    "error",
    KIND,
    consequence="The operator appends a second container with the name of the graph; this one has no "
    "image, and the Deployment is rejected.",
    fix="give the container the name of the graph (spec.predictors[].graph.name)",
)
def container_name(document: Document) -> Hits:
    """A container without an image has the name of a node of the graph.

    Source: seldondeployment_webhook.go:56-67, defaults.go:238-290.
    """
    for predictor in predictors(document):
        names = [unit["name"].text for unit in units(predictor["graph"])]
        for container in pod_containers(predictor):
            if container["name"].text not in names and not container["image"].text:
                told = ", ".join(map(repr, names)) or "none"
                yield (
                    container["name"],
                    f"container {container['name'].text!r} is no node of the graph, which has {told}",
                )


@rule(
    "seldon-container-apart",
    "warning",
    KIND,
    consequence="The operator appends another container for the graph: what this one sets does not "
    "reach the model.",
    fix="if it is the model's, give it the name of the graph",
)
def container_apart(document: Document) -> Hits:
    """Where a node has no container, none is there under another name.

    Source: seldondeployment_webhook.go:56-67, defaults.go:238-290.
    """
    for predictor in predictors(document):
        names = [unit["name"].text for unit in units(predictor["graph"])]
        if all(container_of(predictor, unit) for unit in units(predictor["graph"])):
            continue
        for container in pod_containers(predictor):
            if container["name"].text not in names and container["image"].text:
                yield container["name"], f"container {container['name'].text!r} is no node's"


@rule(
    "seldon-container-missing",
    "error",
    KIND,
    consequence="The webhook refuses it: Can't find container for Predictive Unit.",
    fix="name an implementation, or add a container with the node's name",
)
def container_missing(document: Document) -> Hits:
    """A node without an implementation has a container of its name.

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
    consequence="Without it the operator finds no image for that server, and the Deployment is invalid.",
    fix="protocol: v2 (kfserving before Core 1.13)",
)
def protocol_v2(document: Document) -> Hits:
    """TEMPO_SERVER and HUGGINGFACE_SERVER are served with protocol v2.

    Source: seldondeployment_prepackaged_servers.go:449-460; helm values.yaml, predictor_servers.
    """
    place = document["spec"]["protocol"]
    if place.value in (None, "", "seldon", "tensorflow"):
        for _, _, found in prepacked(document):
            if found in ("TEMPO_SERVER", "HUGGINGFACE_SERVER"):
                yield place, f"{found} has protocol {place.value or 'seldon, the default'}"


@rule(
    "seldon-implementation",
    "warning",
    KIND,
    consequence="Unless it is a key of the operator's configmap seldon-config, it is refused; if it is, "
    "model-settings.json must name the implementation.",
    fix="TEMPO_SERVER for a pipeline; or add the server to seldon-config",
)
def implementation(document: Document) -> Hits:
    """An implementation is one that comes with Seldon Core.

    Source: prepack.go:24-34,146-149,174-202; mlserver.go:263-281.
    """
    for _, unit, found in prepacked(document):
        if found not in _PREPACKED:
            yield unit["implementation"], f"{found} does not come with Seldon Core"


@rule(
    "seldon-model-uri",
    "error",
    KIND,
    consequence="The webhook refuses it.",
    fix="modelUri: the URI that the artifact was uploaded to",
)
def model_uri(document: Document) -> Hits:
    """A prepackaged server has a modelUri, but for HUGGINGFACE_SERVER.

    Source: seldondeployment_webhook.go:97-122.
    """
    for _, unit, found in prepacked(document):
        if found != "HUGGINGFACE_SERVER" and not unit["modelUri"].value:
            yield unit["modelUri"], f"{found} {unit['name'].text!r} has no modelUri"


@rule(
    "seldon-no-engine-children",
    "error",
    KIND,
    consequence="The webhook refuses it, whatever the annotation's value is.",
    fix="remove the annotation, or the graph's children",
)
def no_engine_children(document: Document) -> Hits:
    """A graph of several nodes has no annotation `seldon.io/no-engine`.

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
    consequence="The executor stands before MLServer, and passes on neither streams nor custom handlers.",
    fix='seldon.io/no-engine: "true" among the predictor\'s annotations; it moves the port to 9000',
)
def no_engine(document: Document) -> Hits:
    """A model of MLServer is called without the executor.

    Source: executor/api/rest/server.go:185-188.
    """
    for predictor, unit in by_mlserver(document):
        place = predictor["annotations"][NO_ENGINE]
        alone = unit.path == predictor["graph"].path and not list(unit["children"])
        if alone and place.text.lower() != "true":
            yield place, f"predictor {predictor['name'].text!r} runs the executor"


@rule(
    "seldon-predictors",
    "error",
    KIND,
    consequence="The webhook refuses it.",
    fix="give it one predictor at least, each with a name of its own",
)
def predictor_names(document: Document) -> Hits:
    """There are predictors, and their names are unique.

    Source: seldondeployment_webhook.go:265-282.
    """
    seen: set[str] = set()
    for predictor in predictors(document):
        name = predictor["name"].text
        if name in seen:
            yield predictor["name"], f"predictor {name!r} is there twice"
        seen.add(name)
    if not seen:
        yield document["spec"]["predictors"], "it has no predictor"


@rule(
    "seldon-traffic",
    "error",
    KIND,
    consequence="The webhook refuses it.",
    fix="make the traffic of the predictors that are no shadow sum to 100",
)
def traffic(document: Document) -> Hits:
    """The traffic of several predictors sums to 100, one of them at most a shadow.

    Source: seldondeployment_webhook.go:137-164.
    """
    each = list(predictors(document))
    live = [predictor for predictor in each if predictor["shadow"].value is not True]
    total = sum(predictor["traffic"].number or 0 for predictor in live)
    if (len(live) > 1 and total != 100) or (len(each) == 1 and 0 < total < 100):
        yield live[0]["traffic"], f"it sums to {total}"
    if len(each) - len(live) > 1 or (each and not live):
        yield document["spec"]["predictors"], "there is more than one shadow, or nothing but one"


@rule(
    "seldon-name-length",
    "warning",
    KIND,
    consequence="The Service or Deployment is named seldon-MD5: the URL by its name is nobody's.",
    fix="shorten the names, or set the predictor's annotation seldon.io/svc-name",
)
def name_length(document: Document) -> Hits:
    """Names that are put together have at most 63 characters.

    Source: seldondeployment_types.go:120-139.
    """
    for number, predictor in enumerate(predictors(document)):
        base = f"{document.name}-{predictor['name'].text}"
        nodes = [unit["name"].text for unit in units(predictor["graph"])]
        made = [base] if not predictor["annotations"]["seldon.io/svc-name"] else []
        made += [f"{base}-{number}-{'-'.join(nodes)}", *(f"{base}-{node}" for node in nodes)]
        long = next((name for name in made if len(name) > 63), None)
        if long:
            yield predictor["name"], f"{long!r:.120} has {len(long)} characters"
