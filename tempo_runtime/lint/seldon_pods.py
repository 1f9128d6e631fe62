"""Rules for the pods of Seldon Core v1."""

from __future__ import annotations

import re

from tempo_runtime._util.yaml_document import Document
from tempo_runtime.lint.rules import Hits, rule
from tempo_runtime.lint.seldon import KIND, by_mlserver, container_of, prepacked
from tempo_runtime.lint.views import containers, predictors, units, variable, variables

_WIPING = re.compile(r"MLSERVER_HTTP_PORT|MLSERVER_GRPC_PORT|MLSERVER_MODEL_URI|PREDICTIVE_UNIT_.*")


@rule(
    "seldon-env-wiped",
    "error",
    KIND,
    consequence="The operator drops every variable that the container sets here (1.13 to master).",
    fix="remove it; to move ports, declare container ports named http and grpc",
)
def env_wiped(document: Document) -> Hits:
    """No container sets a port of MLServer, MLSERVER_MODEL_URI or PREDICTIVE_UNIT_*.

    Source: operator/utils/utils.go:108-129; seldondeployment_controller.go:838-877.
    """
    for container in containers(document):
        for name, entry in variables(container):
            if _WIPING.fullmatch(name):
                yield entry["name"], f"the operator sets {name}"


@rule(
    "seldon-env-ignored",
    "warning",
    KIND,
    consequence="The operator overwrites it: this value is lost.",
    fix="remove it; the name is that of the graph, and metrics are at port 6000, /prometheus",
)
def env_ignored(document: Document) -> Hits:
    """No container sets MLSERVER_MODEL_NAME or MLSERVER_METRICS_*.

    Source: seldondeployment_controller.go:838-877.
    """
    for container in containers(document):
        for name, entry in variables(container):
            same = entry["value"].value == container["name"].value
            if name in ("MLSERVER_METRICS_PORT", "MLSERVER_METRICS_ENDPOINT") or (
                name == "MLSERVER_MODEL_NAME" and not same
            ):
                yield entry["name"], f"{name} cannot be overridden"


@rule(
    "seldon-image",
    "warning",
    KIND,
    consequence="The default image does not have tempo_runtime: the pipeline loads only if its artifact "
    "has an environment.tar.gz that includes mlserver.",
    fix="set an image with tempo_runtime in the container of the graph",
)
def image(document: Document) -> Hits:
    """A TEMPO_SERVER has an image with tempo_runtime.

    Source: helm values.yaml, predictor_servers; MLServer Dockerfile, hack/activate-env.sh.
    """
    for predictor, unit, server in prepacked(document):
        container = container_of(predictor, unit)
        if server == "TEMPO_SERVER" and not (container and container["image"].text):
            yield unit["implementation"], f"node {unit['name'].text!r} has no image"


@rule(
    "seldon-liveness",
    "warning",
    KIND,
    consequence="A pod that is busy for about 15 s is restarted (default: 1 s, 3 failures, every 5 s).",
    fix="use livenessProbe: {initialDelaySeconds: 60, periodSeconds: 10, timeoutSeconds: 5, "
    "failureThreshold: 6}",
)
def liveness(document: Document) -> Hits:
    """The liveness probe of a pipeline tolerates 30 s of work.

    Source: seldondeployment_controller.go, createContainerService; mlserver_test.go:64-101.
    """
    for predictor, unit in by_mlserver(document):
        container = container_of(predictor, unit)
        if unit["implementation"].text != "TEMPO_SERVER":
            continue
        probe = (container or unit)["livenessProbe"]
        period, failures = (probe[key].number for key in ("periodSeconds", "failureThreshold"))
        patient = (period or 10) * (failures or 3) >= 30 and (
            probe["timeoutSeconds"].number or 1
        ) > 1
        if not probe or not patient:
            which = "an impatient" if probe else "no"
            yield probe, f"node {unit['name'].text!r} has {which} liveness probe"


@rule(
    "seldon-probe-handler",
    "warning",
    KIND,
    consequence="The operator keeps the numbers, but replaces the handler by one for /v2/health.",
    fix="remove the handler",
)
def probe_handler(document: Document) -> Hits:
    """A probe of MLServer's container does not set a handler.

    Source: mlserver.go:53-98, mlserver_test.go:64-101.
    """
    for predictor, unit in by_mlserver(document):
        container = container_of(predictor, unit)
        for name in ("livenessProbe", "readinessProbe") if container else ():
            assert container is not None
            for handler in ("exec", "tcpSocket", "grpc", "httpGet"):
                place = container[name][handler]
                if place and not place["path"].text.startswith("/v2/health/"):
                    yield place, f"{name} has {handler}, which is replaced"


@rule(
    "seldon-mount",
    "error",
    KIND,
    consequence="The operator mounts the artifact there, read-only: the pod is refused or cannot write.",
    fix="mount it somewhere else",
)
def mount(document: Document) -> Hits:
    """In a node with a modelUri, nothing else is mounted at or below /mnt/models.

    Source: model_initializer_injector.go:294-300.
    """
    for predictor, unit, _ in prepacked(document):
        container = container_of(predictor, unit)
        for entry in container["volumeMounts"] if container and unit["modelUri"] else ():
            path = entry["mountPath"]
            if re.match(r"/mnt/models(/|$)", path.text):
                yield path, f"a volume is mounted at {path.text!r:.80}"


@rule(
    "seldon-replicas-hpa",
    "warning",
    KIND,
    consequence="The operator and the autoscaler keep overwriting each other's number.",
    fix="remove replicas where there is an hpaSpec",
)
def replicas_hpa(document: Document) -> Hits:
    """A component with an hpaSpec has no fixed number of replicas."""
    for predictor in predictors(document):
        for component in predictor["componentSpecs"]:
            for place in (component["replicas"], predictor["replicas"]):
                if component["hpaSpec"] and place:
                    yield place, "replicas is set beside an hpaSpec"


@rule(
    "seldon-class",
    "warning",
    KIND,
    consequence="MLServer refuses unknown classes, and starts no model for an empty value.",
    fix="name the implementation in model-settings.json, which takes precedence",
)
def implementation_env(document: Document) -> Hits:
    """MLSERVER_MODEL_IMPLEMENTATION, if set, names a class.

    Source: mlserver.go:263-281.
    """
    for container in containers(document):
        value = variable(container, "MLSERVER_MODEL_IMPLEMENTATION")
        if value.text and "." not in value.text:
            yield value, f"{value.text!r:.80} is not a class in a module"


@rule(
    "seldon-service-account",
    "warning",
    KIND,
    consequence="Without that account in the namespace no pod starts; only the operator's log says so.",
    fix="remove it: children are called by DNS, which needs no account",
)
def service_account(document: Document) -> Hits:
    """A graph with envSecretRefName does not name a service account.

    Source: model_initializer_injector.go; tempo 0.5 needed one to get the status from the API.
    """
    for predictor in predictors(document):
        for unit in units(predictor["graph"]):
            place = unit["serviceAccountName"]
            if place and unit["envSecretRefName"]:
                yield place, f"{place.value!r:.80} is not needed beside envSecretRefName"


@rule(
    "seldon-secret-reach",
    "warning",
    KIND,
    consequence="The Secret reaches only the init container, which fetches modelUri.",
    fix="add a modelUri; for a secret that the model reads, use env with valueFrom in its container",
)
def secret_reach(document: Document) -> Hits:
    """An envSecretRefName comes with a modelUri.

    Source: model_initializer_injector.go:209-217.
    """
    for predictor in predictors(document):
        for unit in units(predictor["graph"]):
            if unit["envSecretRefName"] and not unit["modelUri"].value:
                yield unit["envSecretRefName"], "there is no modelUri to fetch with it"


@rule(
    "seldon-progress-deadline",
    "warning",
    KIND,
    consequence="A deployment that cannot start reports Creating for ten minutes before Failed.",
    fix="set progressDeadlineSeconds: 600, or less, in the predictor",
)
def progress_deadline(document: Document) -> Hits:
    """A predictor states how long it may take to start.

    Source: https://github.com/SeldonIO/seldon-core/issues/4224.
    """
    for predictor in predictors(document):
        if not predictor["progressDeadlineSeconds"]:
            message = f"predictor {predictor['name'].text!r} has no progressDeadlineSeconds"
            yield predictor["progressDeadlineSeconds"], message
