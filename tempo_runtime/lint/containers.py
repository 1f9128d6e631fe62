"""Rules of containers that hold on every platform."""

from __future__ import annotations

import re

from tempo_runtime._util.yaml_document import Document, Place, Run
from tempo_runtime.deploy.kubernetes.secrets import looks_secret
from tempo_runtime.lint.common import QUOTED
from tempo_runtime.lint.rules import Hits, across, rule
from tempo_runtime.lint.views import (
    WITH_PODS,
    all_containers,
    containers,
    pods,
    quantity,
    untold,
    variable,
    variables,
)

# Variables, and their numbers; of a length, -1 is any.
_NUMBERS = (
    (re.compile(r"MLSERVER_(PARALLEL_WORKERS|(HTTP|GRPC|METRICS)_PORT)"), r"\d{1,9}"),
    (re.compile(r"MLSERVER_GRPC_MAX_MESSAGE_LENGTH"), r"-?\d+"),
)
_WRITTEN = re.compile(r"HOME|TMPDIR|TEMP|TMP|.*(CACHE|ENVIRONMENTS_DIR|METRICS_DIR).*")


@rule(
    "env-value",
    "error",
    *WITH_PODS,
    consequence="The API server refuses the whole document: a variable is text.",
    fix=QUOTED,
)
def env_value(document: Document) -> Hits:
    """The value of a variable is text: YAML reads `1`, `true` and `yes` as something else."""
    for container in all_containers(document):
        for key, entry in variables(container):
            value = entry["value"]
            if value and not isinstance(value.value, str):
                yield value, f"{key}: {untold(value.value)} is no text"


@rule(
    "env-twice",
    "warning",
    *WITH_PODS,
    consequence="The last one holds, and a patch by name changes only one of them.",
    fix="keep one of them",
)
def env_twice(document: Document) -> Hits:
    """A container sets a variable once."""
    for container in all_containers(document):
        seen = set()
        for key, entry in variables(container):
            if key in seen:
                yield entry["name"], f"{key} is set a second time"
            seen.add(key)


@rule(
    "env-secret",
    "warning",
    *WITH_PODS,
    consequence="Who can read the manifest, or the pod, can read the secret; it stays in git.",
    fix="put it into a Secret, and refer to it with valueFrom.secretKeyRef",
)
def env_secret(document: Document) -> Hits:
    """No password, token or key is written out in a variable."""
    for container in all_containers(document):
        for key, entry in variables(container):
            if looks_secret(key, entry["value"].text):
                yield entry["value"], f"{key} has its value in the manifest"


@rule(
    "mlserver-number",
    "error",
    *WITH_PODS,
    consequence="MLServer refuses its settings, and the container ends again and again.",
    fix='write a whole number, quoted: "0"',
)
def mlserver_number(document: Document) -> Hits:
    """Ports, counts and lengths of MLServer are whole numbers.

    Source: mlserver/settings.py.
    """
    for container in containers(document):
        for key, entry in variables(container):
            value = entry["value"]
            wanted = next((form for names, form in _NUMBERS if names.fullmatch(key)), "")
            if wanted and value.text and not re.fullmatch(wanted, value.text):
                yield value, f"{key}: {value.text!r:.40} is no whole number"


@rule(
    "mlserver-debug",
    "warning",
    *WITH_PODS,
    consequence="Who calls it is answered an exception's traceback.",
    fix='set it to "false"',
)
def mlserver_debug(document: Document) -> Hits:
    """MLServer does not run with MLSERVER_DEBUG.

    Source: mlserver/settings.py; of 1.7.1 it is the default.
    """
    for container in containers(document):
        value = variable(container, "MLSERVER_DEBUG")
        if value.text.lower() in ("true", "1", "yes", "on"):
            yield value, "MLSERVER_DEBUG is on"


@rule(
    "models-read-only",
    "error",
    *WITH_PODS,
    consequence="The folder of the artifact is mounted read-only: what writes there fails.",
    fix="name a folder of an emptyDir, or one under /tmp",
)
def models_read_only(document: Document) -> Hits:
    """Caches and temporary files are not beside the artifact, in /mnt/models.

    Source: seldon-core operator/controllers/model_initializer_injector.go:294-300.
    """
    for container in containers(document):
        for key, entry in variables(container):
            value = entry["value"]
            if _WRITTEN.fullmatch(key) and re.match(r"/mnt/models(/|$)", value.text):
                yield value, f"{key} is {value.text!r:.80}"


@rule(
    "resource-quantity",
    "error",
    *WITH_PODS,
    consequence="The API server refuses it.",
    fix='write a quantity, such as 500m, "1" or 2Gi',
)
def resource_quantity(document: Document) -> Hits:
    """Requests and limits are quantities."""
    for container in containers(document):
        for which in ("requests", "limits"):
            for key, value in container["resources"][which].items():
                if quantity(value.value) is None:
                    yield value, f"{key}: {value.value!r:.40} is no quantity"


@rule(
    "resources-exceed",
    "error",
    *WITH_PODS,
    consequence="The API server refuses the pod.",
    fix="request at most the limit",
)
def resources_exceed(document: Document) -> Hits:
    """A container requests no more than its limit."""
    for container in containers(document):
        for key, value in container["resources"]["requests"].items():
            limit = container["resources"]["limits"][key].value
            least, most = quantity(value.value), quantity(limit)
            if least is not None and most is not None and least > most:
                yield value, f"{key}: {value.value} is requested, and {limit} is the limit"


@across(
    "resources-missing",
    "warning",
    *WITH_PODS,
    consequence="It may take all of its node, and is the first to be ended when memory is short.",
    fix="state resources.requests, and limits of memory",
)
def resources_missing(document: Document, run: Run) -> Hits:
    """A container says what it needs."""
    if document.kind == "ServingRuntime" and _stated_by_services(document, run):
        return
    for container in containers(document):
        # KServe's `model` is merged into a container of its runtime, which may say it.
        apart = isinstance(container.path[-1], int)
        stated = container["resources"]["requests"] or container["resources"]["limits"]
        if apart and not stated:
            yield container["resources"], f"{_called(container)} states no resources"


def _stated_by_services(runtime: Document, run: Run) -> bool:
    """Whether each service of a runtime states resources, which KServe merges over the runtime's."""
    models = [service["spec"]["predictor"]["model"] for service in run.of("InferenceService")]
    own = [model for model in models if model["runtime"].text == runtime.name]
    stated = [model["resources"]["requests"] or model["resources"]["limits"] for model in own]
    return bool(own) and all(stated)


@rule(
    "image-latest",
    "warning",
    *WITH_PODS,
    consequence="Two pods may run two versions, and a rollback brings the new one back.",
    fix="name a version or, better, a digest",
)
def image_latest(document: Document) -> Hits:
    """An image is named with its version."""
    for container in containers(document):
        image = container["image"]
        tag = image.text.rpartition("/")[2].partition(":")[2]
        if image.text and "@" not in image.text and tag in ("", "latest"):
            yield image, f"{image.text!r:.100} names no version"


@rule(
    "runs-as-root",
    "warning",
    *WITH_PODS,
    consequence="An artifact is code: who changes it has root in the container.",
    fix="runAsNonRoot: true, with a user of the image that is not 0",
)
def runs_as_root(document: Document) -> Hits:
    """Nothing runs as root, or asks to become it.

    Source: seldon-core helm values.yaml: defaultUserID 8888.
    """
    for holder in [*pods(document), *containers(document)]:
        context = holder["securityContext"]
        if context["runAsUser"].number == 0:
            yield context["runAsUser"], "runAsUser is 0"
        for key, bad in (
            ("runAsNonRoot", False),
            ("privileged", True),
            ("allowPrivilegeEscalation", True),
        ):
            if context[key].value is bad:
                yield context[key], f"{key} is {str(bad).lower()}"


def _called(container: Place) -> str:
    return f"container {container['name'].text!r}" if container["name"].text else "it"
