"""Rules for the containers of SeldonDeployments.

Sources are files of SeldonIO/seldon-core; `v1/` is `operator/apis/machinelearning.seldon.io/v1/`.
"""

from __future__ import annotations

from collections.abc import Iterator

from tempo_runtime.deploy.lint.document import Document, Place
from tempo_runtime.deploy.lint.rules import Hits, rule
from tempo_runtime.deploy.lint.seldon import KIND, PREPACKED, nodes, predictors

_WIPES = ("MLSERVER_HTTP_PORT", "MLSERVER_GRPC_PORT", "MLSERVER_MODEL_URI")
_OVERRIDDEN = ("MLSERVER_MODEL_NAME", "MLSERVER_METRICS_PORT", "MLSERVER_METRICS_ENDPOINT")
_HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc")
_LEAST_PATIENCE = 30  # seconds that a server may be too busy to answer


def _served(document: Document) -> Iterator[tuple[Place, Place]]:
    """Containers, each with the graph of its predictor."""
    for predictor in predictors(document):
        for component in predictor["componentSpecs"]:
            for container in component["spec"]["containers"]:
                yield container, predictor["graph"]


@rule(
    "seldon-container-name",
    "error",
    KIND,
    consequence="the operator adds a second container for the graph's node, and this one has no image: "
    "the Deployment is refused, or the settings here are for nobody",
    fix="name the container as the graph's node",
)
def _name(document: Document) -> Hits:
    """A container has the name of a node of the graph.

    Source: v1/seldondeployment_webhook.go (GetContainerForPredictiveUnit), v1/defaults.go
    """
    for container, graph in _served(document):
        names = [node["name"].text for node in nodes(graph)]
        if container["name"].text not in names and not container["image"]:
            yield (
                container["name"],
                f"the container is {container['name'].text!r}, the graph has {', '.join(names)}",
            )


@rule(
    "seldon-env-wipes",
    "error",
    KIND,
    consequence="the operator drops all variables of the container",
    fix="remove it; to move ports, declare container ports called http and grpc",
)
def _wipes(document: Document) -> Hits:
    """Variables that the operator sets itself are left to it.

    Source: operator/controllers/seldondeployment_controller.go, mlserver.go
    """
    for container, _ in _served(document):
        for variable in container["env"]:
            name = variable["name"].text
            if name in _WIPES or name.startswith("PREDICTIVE_UNIT_"):
                yield variable["name"], f"{name} is set"


@rule(
    "seldon-env-overridden",
    "warning",
    KIND,
    consequence="the operator sets another value after it",
    fix="remove it; the model's name is the graph's",
)
def _overridden(document: Document) -> Hits:
    """Variables that the operator sets last are left to it.

    Source: operator/controllers/seldondeployment_controller.go
    """
    for container, _ in _served(document):
        for variable in container["env"]:
            if variable["name"].text in _OVERRIDDEN:
                yield variable["name"], f"{variable['name'].text} is set"


@rule(
    "seldon-image",
    "warning",
    KIND,
    consequence="the operator's image has no tempo_runtime: the pipeline does not load, unless its "
    "artefact brings an environment or seldon-config names our image",
    fix="set the container's image, or point TEMPO_SERVER at it in seldon-config",
)
def _image(document: Document) -> Hits:
    """A pipeline's container names an image that has tempo_runtime.

    Source: helm values.yaml (predictor_servers.TEMPO_SERVER)
    """
    for predictor in predictors(document):
        graph = predictor["graph"]
        named = [
            container
            for component in predictor["componentSpecs"]
            for container in component["spec"]["containers"]
            if container["name"].text == graph["name"].text and container["image"].text
        ]
        if graph["implementation"].text == "TEMPO_SERVER" and not named:
            yield graph["implementation"], "no image is named for it"


@rule(
    "seldon-liveness",
    "warning",
    KIND,
    consequence="a server that is busy explaining is restarted, with all it was working on",
    fix="timeoutSeconds: 5, periodSeconds: 10 and failureThreshold: 6 say when it is ill",
)
def _liveness(document: Document) -> Hits:
    """A server may be busy for half a minute before it is restarted.

    Source: operator/controllers/seldondeployment_controller.go (probes: timeout 1 s, 3 failures)
    """
    for container, _ in _served(document):
        probe = container["livenessProbe"]
        period, failures = (
            probe["periodSeconds"].number or 5,
            probe["failureThreshold"].number or 3,
        )
        if period * failures < _LEAST_PATIENCE:
            yield probe, f"it is restarted after {period * failures} s"


@rule(
    "seldon-probe-handler",
    "warning",
    KIND,
    consequence="the operator puts MLServer's own in its place",
    fix="leave what is asked to the operator, and keep the numbers",
)
def _handler(document: Document) -> Hits:
    """A probe has numbers only.

    Source: operator/controllers/mlserver_test.go
    """
    for container, graph in _served(document):
        if graph["implementation"].text not in PREPACKED:
            continue
        for name in ("livenessProbe", "readinessProbe"):
            for handler in _HANDLERS:
                if container[name][handler]:
                    yield container[name][handler], f"{name} asks by {handler}"


@rule(
    "seldon-models-mount",
    "error",
    KIND,
    consequence="the artefact that was downloaded there is hidden",
    fix="mount it elsewhere",
)
def _mount(document: Document) -> Hits:
    """Nothing is mounted where the artefact is.

    Source: operator/controllers/model_initializer_injector.go
    """
    for container, _ in _served(document):
        for mount in container["volumeMounts"]:
            if mount["mountPath"].text.rstrip("/") == "/mnt/models":
                yield mount["mountPath"], "a volume is mounted at /mnt/models"


@rule(
    "seldon-resources",
    "warning",
    KIND,
    consequence="one server may take what its neighbours need, and an autoscaler has nothing to go by",
    fix="set requests, and a limit of memory",
)
def _resources(document: Document) -> Hits:
    """A server says what it needs."""
    for container, _ in _served(document):
        if not container["resources"]["requests"]:
            yield container["name"], f"{container['name'].text} requests nothing"
