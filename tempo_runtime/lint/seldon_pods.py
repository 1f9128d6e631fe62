"""Rules of Seldon Core v1 about the pods of a graph."""

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
    consequence="The operator loses every variable of the container that is set here (1.13 to master).",
    fix="remove it; to move ports, declare container ports named http and grpc",
)
def env_wiped(document: Document) -> Hits:
    """No container sets a port of MLServer, MLSERVER_MODEL_URI or PREDICTIVE_UNIT_*.

    Source: operator/utils/utils.go:108-129; seldondeployment_controller.go:838-877.
    """
    for container in containers(document):
        for name, entry in variables(container):
            if _WIPING.fullmatch(name):
                yield entry["name"], f"{name} is the operator's"


@rule(
    "seldon-env-ignored",
    "warning",
    KIND,
    consequence="The operator sets it after you: this value is lost.",
    fix="remove it; the name is that of the graph, metrics are at port 6000, /prometheus",
)
def env_ignored(document: Document) -> Hits:
    """No container sets MLSERVER_MODEL_NAME or MLSERVER_METRICS_*.

    Source: seldondeployment_controller.go:838-877.
    """
    for container in containers(document):
        for name, entry in variables(container):
            own = entry["value"].value == container["name"].value
            if name in ("MLSERVER_METRICS_PORT", "MLSERVER_METRICS_ENDPOINT") or (
                name == "MLSERVER_MODEL_NAME" and not own
            ):
                yield entry["name"], f"{name} cannot be overridden"


@rule(
    "seldon-image",
    "warning",
    KIND,
    consequence="The default image has no tempo_runtime: the pipeline loads only if its artifact has an "
    "environment.tar.gz, with mlserver in it.",
    fix="name an image with tempo_runtime in the graph's container",
)
def image(document: Document) -> Hits:
    """A TEMPO_SERVER has an image that has tempo_runtime.

    Source: helm values.yaml, predictor_servers; MLServer Dockerfile, hack/activate-env.sh.
    """
    for predictor, unit, found in prepacked(document):
        container = container_of(predictor, unit)
        if found == "TEMPO_SERVER" and not (container and container["image"].text):
            yield unit["implementation"], f"node {unit['name'].text!r} has no image"


@rule(
    "seldon-liveness",
    "warning",
    KIND,
    consequence="A pod that is busy for about 15 s is restarted (by default 1 s, 3 times, every 5 s).",
    fix="livenessProbe: {initialDelaySeconds: 60, periodSeconds: 10, timeoutSeconds: 5, "
    "failureThreshold: 6}",
)
def liveness(document: Document) -> Hits:
    """The liveness probe of a pipeline bears 30 s of work.

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
            yield (
                probe,
                f"node {unit['name'].text!r} has {'a hasty' if probe else 'no'} liveness probe",
            )


@rule(
    "seldon-probe-handler",
    "warning",
    KIND,
    consequence="The operator keeps the numbers, and asks /v2/health of MLServer in its place.",
    fix="leave the handler out",
)
def probe_handler(document: Document) -> Hits:
    """A probe of MLServer's container has no handler of its own.

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
    consequence="The operator mounts the artifact there, read-only: the pod is refused, or cannot write.",
    fix="mount it somewhere else",
)
def mount(document: Document) -> Hits:
    """Nothing is mounted at /mnt/models, or in it, of a node with a modelUri.

    Source: model_initializer_injector.go:294-300.
    """
    for predictor, unit, _ in prepacked(document):
        container = container_of(predictor, unit)
        for each in container["volumeMounts"] if container and unit["modelUri"] else ():
            if re.match(r"/mnt/models(/|$)", each["mountPath"].text):
                yield each["mountPath"], f"something is mounted at {each['mountPath'].text!r:.80}"


@rule(
    "seldon-replicas-hpa",
    "warning",
    KIND,
    consequence="The operator and the autoscaler set the number in turn.",
    fix="leave replicas out where there is an hpaSpec",
)
def replicas_hpa(document: Document) -> Hits:
    """A component with an hpaSpec has no fixed number of replicas."""
    for predictor in predictors(document):
        for component in predictor["componentSpecs"]:
            for place in (component["replicas"], predictor["replicas"]):
                if component["hpaSpec"] and place:
                    yield place, "replicas is stated beside an hpaSpec"


@rule(
    "seldon-class",
    "warning",
    KIND,
    consequence="MLServer refuses unknown classes, and an empty one starts no model.",
    fix="name the implementation in model-settings.json, which wins in any case",
)
def implementation_env(document: Document) -> Hits:
    """MLSERVER_MODEL_IMPLEMENTATION, where it is set, names a class.

    Source: mlserver.go:263-281.
    """
    for container in containers(document):
        value = variable(container, "MLSERVER_MODEL_IMPLEMENTATION")
        if value.text and "." not in value.text:
            yield value, f"{value.text!r:.80} names no class of a module"


@rule(
    "seldon-service-account",
    "warning",
    KIND,
    consequence="Without that account in the namespace no pod is made, and the operator only logs it.",
    fix="remove it: children are called by DNS, which needs no account",
)
def service_account(document: Document) -> Hits:
    """A graph with envSecretRefName names no service account.

    Source: model_initializer_injector.go; tempo 0.5 needed one, to ask the API for a status.
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
    consequence="It reaches the init container that fetches modelUri, and nothing else.",
    fix="add a modelUri; a secret of the model's own is env with valueFrom in its container",
)
def secret_reach(document: Document) -> Hits:
    """An envSecretRefName is beside a modelUri.

    Source: model_initializer_injector.go:209-217.
    """
    for predictor in predictors(document):
        for unit in units(predictor["graph"]):
            if unit["envSecretRefName"] and not unit["modelUri"].value:
                yield unit["envSecretRefName"], "there is no modelUri that it would fetch"


@rule(
    "seldon-progress-deadline",
    "warning",
    KIND,
    consequence="A deployment that cannot come up says Creating for ten minutes before it says Failed.",
    fix="progressDeadlineSeconds: 600, or less, in the predictor",
)
def progress_deadline(document: Document) -> Hits:
    """A predictor says how long it may take to come up.

    Source: https://github.com/SeldonIO/seldon-core/issues/4224.
    """
    for predictor in predictors(document):
        if not predictor["progressDeadlineSeconds"]:
            yield (
                predictor["progressDeadlineSeconds"],
                f"predictor {predictor['name'].text!r} does not",
            )
