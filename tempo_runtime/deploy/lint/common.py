"""Rules for documents of every platform."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tempo_runtime.deploy.lint.document import APIS, SETTINGS, Document, Place, Run
from tempo_runtime.deploy.lint.reading import DUPLICATE, YAML
from tempo_runtime.deploy.lint.rules import Hits, Rule, across, add, rule

ALL = tuple(kind for kind in APIS if kind != "Secret")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY", re.I)
_UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")

add(
    Rule(
        YAML,
        "error",
        (),
        "the file is YAML",
        "",
        "kubectl refuses the file",
        "correct the line",
        "common",
    )
)
add(
    Rule(
        DUPLICATE,
        "error",
        (),
        "a key is there once",
        "",
        "one of the two is dropped without a word",
        "remove one",
        "common",
    )
)


def containers(document: Document) -> Iterator[Place]:
    """The containers of a document's pods, whatever its kind."""
    spec = document["spec"]
    if document.kind == "SeldonDeployment":
        for predictor in spec["predictors"]:
            for component in predictor["componentSpecs"]:
                yield from component["spec"]["containers"]
    elif document.kind == "Server":
        yield from spec["podSpec"]["containers"]
    elif document.kind == "InferenceService":
        for part in ("predictor", "transformer", "explainer"):
            yield from spec[part]["containers"]
            if spec[part]["model"]:
                yield spec[part]["model"]
    else:
        yield from spec["containers"]


@rule(
    "name",
    "error",
    *ALL,
    consequence="the API refuses the object, or the Service that is made of it",
    fix="up to 63 lower-case letters, digits and '-', from a letter or digit to one",
)
def _name(document: Document) -> Hits:
    """An object has a name that a Service can have (RFC 1123)."""
    place = document["metadata"]["name"]
    if not document.name:
        yield place, "there is no name"
    elif len(document.name) > 63 or not _LABEL.fullmatch(document.name):
        yield place, f"the name is {document.name!r}"


@across(
    "namespace",
    "warning",
    *ALL,
    consequence="it goes to whatever namespace is the current one, apart from the others",
    fix="write the namespace of the others",
)
def _namespace(document: Document, run: Run) -> Hits:
    """All objects say their namespace, or none does."""
    stated = any(each.namespace for each in run.of(*ALL))
    if stated and not document.namespace and document.kind != "ClusterServingRuntime":
        yield document["metadata"]["namespace"], "no namespace is stated, where others state one"


@rule(
    "env-not-text",
    "error",
    *ALL,
    consequence="the API refuses the object",
    fix="put the value in quotes",
)
def _env(document: Document) -> Hits:
    """The value of an environment variable is text."""
    for container in containers(document):
        for variable in container["env"]:
            value = variable["value"]
            if value and not isinstance(value.value, str):
                yield value, f"{variable['name'].text} is {value.value!r}, which is no text"


@rule(
    "secret-in-env",
    "error",
    *ALL,
    consequence="whoever may read the object, or its repository, reads the secret",
    fix="put it into a Secret, and name that by envFrom or valueFrom.secretKeyRef",
)
def _secret(document: Document) -> Hits:
    """A secret is no plain value of a variable."""
    for container in containers(document):
        for variable in container["env"]:
            name = variable["name"].text
            if _SECRET.search(name) and variable["value"].text:
                yield variable["value"], f"{name} has a plain value"


@rule(
    "requests-over-limits",
    "error",
    *ALL,
    consequence="the API refuses the pod",
    fix="raise the limit, or lower the request",
)
def _resources(document: Document) -> Hits:
    """No more is requested than the limit allows."""
    for container in containers(document):
        resources = container["resources"]
        for name, asked in resources["requests"].items():
            least, most = _amount(asked), _amount(resources["limits"][name])
            if least is not None and most is not None and least > most:
                yield asked, f"{name}: {asked.value} is requested, with a limit of less"


@rule(
    "latest-image",
    "warning",
    *ALL,
    consequence="pods of one deployment may run different images, and a roll-back does nothing",
    fix="name a version, or a digest",
)
def _latest(document: Document) -> Hits:
    """An image has a version."""
    for container in containers(document):
        image = container["image"].text
        last = image.rpartition("/")[2]
        if image and "@" not in image and (":" not in last or last.endswith(":latest")):
            yield container["image"], f"the image is {image}"


@rule(
    "root",
    "warning",
    *ALL,
    consequence="the server runs as root, which many clusters refuse",
    fix="leave it out, or set runAsNonRoot: true",
)
def _root(document: Document) -> Hits:
    """No container runs as root."""
    for container in containers(document):
        context = container["securityContext"]
        if context["runAsUser"].number == 0:
            yield context["runAsUser"], "runAsUser is 0"
        if context["privileged"].value is True:
            yield context["privileged"], "the container is privileged"


@rule(
    "model-settings-uri",
    "error",
    SETTINGS,
    consequence="MLServer looks for the artefact where it is not",
    fix="parameters.uri is relative to the file, such as '.'",
)
def _uri(document: Document) -> Hits:
    """The artefact of a model-settings.json goes with it."""
    uri = document["parameters"]["uri"]
    if uri.text.startswith("/") and not uri.text.startswith("/mnt/models"):
        yield uri, f"the artefact is at {uri.text}, which a cluster has not"


def _amount(place: Place) -> float | None:
    matched = _QUANTITY.fullmatch(str(place.value))
    return float(matched[1]) * _UNITS[matched[2] or ""] if matched else None
