"""Rules about containers that hold on every platform."""

from __future__ import annotations

import re

from tempo_runtime._util.yaml_document import Document, Place, Run
from tempo_runtime.deploy.kubernetes.secrets import looks_secret
from tempo_runtime.lint.rules import Hits, across, rule
from tempo_runtime.lint.views import (
    WITH_PODS,
    all_containers,
    containers,
    pods,
    quantity,
    variable,
    variables,
)

# Variables, and the numbers that they accept; a length of -1 is unlimited.
_NUMBERS = (
    (re.compile(r"MLSERVER_(PARALLEL_WORKERS|(HTTP|GRPC|METRICS)_PORT)"), r"\d{1,9}"),
    (re.compile(r"MLSERVER_GRPC_MAX_MESSAGE_LENGTH"), r"-?\d+"),
)
_WRITTEN = re.compile(r"HOME|TMPDIR|TEMP|TMP|.*(CACHE|ENVIRONMENTS_DIR|METRICS_DIR).*")


@rule(
    "env-twice",
    "warning",
    *WITH_PODS,
    consequence="The last value counts, and a patch by name changes only one of them.",
    fix="keep one of them",
)
def env_twice(document: Document) -> Hits:
    """A container sets each variable once."""
    for container in all_containers(document):
        seen = set()
        for key, entry in variables(container):
            if key in seen:
                yield entry["name"], f"{key} is set twice"
            seen.add(key)


@rule(
    "env-secret",
    "warning",
    *WITH_PODS,
    consequence="Anybody who can read the manifest or the pod can read it, and it stays in git.",
    fix="put it into a Secret, and refer to it with valueFrom.secretKeyRef",
)
def env_secret(document: Document) -> Hits:
    """No variable contains a password, a token or a key."""
    for container in all_containers(document):
        for key, entry in variables(container):
            if looks_secret(key, entry["value"].text):
                yield entry["value"], f"the value of {key} is in the manifest"


@rule(
    "mlserver-number",
    "error",
    *WITH_PODS,
    consequence="MLServer refuses its settings, and the container crashes again and again.",
    fix='write a whole number in quotes: "0"',
)
def mlserver_number(document: Document) -> Hits:
    """Ports, counts and lengths of MLServer are whole numbers.

    Source: mlserver/settings.py.
    """
    for container in containers(document):
        for key, entry in variables(container):
            value = entry["value"]
            pattern = next((form for names, form in _NUMBERS if names.fullmatch(key)), "")
            if pattern and value.text and not re.fullmatch(pattern, value.text):
                yield value, f"{key}: {value.text!r:.40} is not a whole number"


@rule(
    "mlserver-debug",
    "warning",
    *WITH_PODS,
    consequence="Clients receive Python tracebacks.",
    fix='set it to "false"',
)
def mlserver_debug(document: Document) -> Hits:
    """MLSERVER_DEBUG is not on.

    Source: mlserver/settings.py; the default in 1.7.1.
    """
    for container in containers(document):
        value = variable(container, "MLSERVER_DEBUG")
        if value.text.lower() in ("true", "1", "yes", "on"):
            yield value, "MLSERVER_DEBUG is on"


@rule(
    "models-read-only",
    "error",
    *WITH_PODS,
    consequence="The artifact is mounted read-only, so that writing there fails.",
    fix="use a folder of an emptyDir, or one below /tmp",
)
def models_read_only(document: Document) -> Hits:
    """No cache or temporary folder is in /mnt/models, beside the artifact.

    Source: seldon-core operator/controllers/model_initializer_injector.go:294-300.
    """
    for container in containers(document):
        for key, entry in variables(container):
            value = entry["value"]
            if _WRITTEN.fullmatch(key) and re.match(r"/mnt/models(/|$)", value.text):
                yield value, f"{key} is {value.text!r:.80}"


@rule(
    "resources-exceed",
    "error",
    *WITH_PODS,
    consequence="The API server accepts the object, but refuses its pods.",
    fix="request no more than the limit",
)
def resources_exceed(document: Document) -> Hits:
    """A container requests no more than its limit."""
    for container in containers(document):
        for key, value in container["resources"]["requests"].items():
            limit = container["resources"]["limits"][key].value
            requested, most = quantity(value.value), quantity(limit)
            if requested is not None and most is not None and requested > most:
                yield value, f"{key}: the request is {value.value} and the limit is {limit}"


@across(
    "resources-missing",
    "warning",
    *WITH_PODS,
    consequence="It may use up its node, and is the first to be killed when memory is short.",
    fix="set resources.requests, and a limit for memory",
)
def resources_missing(document: Document, run: Run) -> Hits:
    """A container states the resources that it needs."""
    if document.kind == "ServingRuntime" and _stated_by_services(document, run):
        return
    for container in containers(document):
        # KServe merges `model` into a container of the runtime, which may state them.
        merged = not isinstance(container.path[-1], int)
        stated = container["resources"]["requests"] or container["resources"]["limits"]
        if not merged and not stated:
            yield container["resources"], f"{_title(container)} states no resources"


def _stated_by_services(runtime: Document, run: Run) -> bool:
    """Return whether every service of a runtime states resources, which override the runtime's."""
    models = [service["spec"]["predictor"]["model"] for service in run.of("InferenceService")]
    served = [model for model in models if model["runtime"].text == runtime.name]
    stated = [model["resources"]["requests"] or model["resources"]["limits"] for model in served]
    return bool(served) and all(stated)


@rule(
    "image-latest",
    "warning",
    *WITH_PODS,
    consequence="Two pods may run different versions, and a rollback may run the new one again.",
    fix="name a version or, better, a digest",
)
def image_latest(document: Document) -> Hits:
    """The name of an image includes a version."""
    for container in containers(document):
        image = container["image"]
        tag = image.text.rpartition("/")[2].partition(":")[2]
        if image.text and "@" not in image.text and tag in ("", "latest"):
            yield image, f"{image.text!r:.100} has no version"


@rule(
    "runs-as-root",
    "warning",
    *WITH_PODS,
    consequence="An artifact is code: anybody who can change it is root in the container.",
    fix="set runAsNonRoot: true, and use an image whose user is not 0",
)
def runs_as_root(document: Document) -> Hits:
    """Nothing runs as root, or may become root.

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


def _title(container: Place) -> str:
    return f"container {container['name'].text!r}" if container["name"].text else "it"
