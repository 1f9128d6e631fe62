"""Rules of Kubernetes, and of MLServer, that hold on every platform."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tempo_runtime._util import yaml_reading
from tempo_runtime._util.yaml_document import APIS, SETTINGS, Document, Place, Run
from tempo_runtime.lint.fields import unknown
from tempo_runtime.lint.rules import Hits, Rule, across, add, rule
from tempo_runtime.lint.views import OURS, components, predictors

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
# Kinds that a Service is made of, whose name begins with a letter (RFC 1035).
_SERVED = ("SeldonDeployment", "InferenceService", "InferenceGraph")
_PREDICTOR = 53  # with `-predictor` it is a Service

QUOTED = 'quote it: "true", "1"'

add(
    Rule(
        yaml_reading.YAML,
        "error",
        (),
        "The text is YAML.",
        "",
        "kubectl refuses the whole file.",
        "correct it; a template is rendered first (`helm template`, `kustomize build`)",
        "common",
    )
)
add(
    Rule(
        yaml_reading.EMPTY,
        "warning",
        (),
        "A file has an object in it, or the operations of a JSON patch.",
        "",
        "Nothing is deployed; a command that was to write the file may have failed.",
        "write it again, or leave the file out",
        "common",
    )
)
add(
    Rule(
        yaml_reading.DUPLICATE,
        "error",
        (),
        "A mapping has each key once.",
        "",
        "kubectl refuses it, or what is said first is silently lost.",
        "keep one of them",
        "common",
    )
)


@rule(
    "api-version",
    "error",
    *OURS,
    consequence="The API server knows no such kind, and refuses it.",
    fix="write the API version of that kind",
)
def api_version(document: Document) -> Hits:
    """The API version is one that the kind has."""
    group, versions = APIS[document.kind]
    place = document["apiVersion"]
    known = [f"{group}/{version}" for version in versions]
    if place.value not in known:
        yield place, f"{document.kind} is of {known[0]}, not of {place.value!r:.60}"


@rule(
    "name",
    "error",
    *OURS,
    "Secret",
    consequence="The API server, or the Service that is made of the name, refuses it.",
    fix="name it with lower-case letters, digits and '-', from a letter, at most 63 of them (53 of an "
    "InferenceService)",
)
def name(document: Document) -> Hits:
    """A name is there, and is one that the Services made of it may have, with at most 63 characters.

    Source: Kubernetes; kserve pkg/apis/serving/v1alpha1/inference_graph_validation.go; seldon-core
    operator/controllers/seldondeployment_controller.go, createContainerService.
    """
    place = document["metadata"]["name"]
    if not place:
        if not document["metadata"]["generateName"]:
            yield place, "it has no name"
        return
    free = document.kind in ("Secret", "ServingRuntime", "ClusterServingRuntime")
    text = place.text
    if not (_SUBDOMAIN if free else _LABEL).fullmatch(text):
        yield place, f"{place.value!r:.80} is no such name"
    elif not free and len(text) > 63:
        yield place, f"{text!r} has {len(text)} characters"
    elif document.kind in _SERVED and not text[0].isalpha():
        yield place, f"{text!r} does not begin with a letter, as the name of a Service does"
    elif document.kind == "InferenceService" and len(text) > _PREDICTOR:
        yield place, f"{text!r} has {len(text)} characters, and {len(text) + 10} with '-predictor'"


@across(
    "name-twice",
    "error",
    *OURS,
    "Secret",
    consequence="The one that is applied last replaces the other.",
    fix="name them apart, or take one away",
)
def name_twice(document: Document, run: Run) -> Hits:
    """Two documents of one kind and namespace have two names, or are equal.

    Manifests of two pipelines hold the same runtime, or Server.
    """
    for other in run.named(document.name, document.kind):
        if other is document:
            return
        near = document.name and other.namespace == document.namespace
        if near and other.content != document.content:
            told = f"{document.kind} {document.name!r} is at {other.file}:{other.line(())} already"
            yield document["metadata"]["name"], told
            return


@across(
    "namespace-missing",
    "warning",
    *OURS,
    "Secret",
    consequence="It goes to the namespace of whoever applies it, and the others may not find it.",
    fix="give each a namespace, or none",
)
def namespace_missing(document: Document, run: Run) -> Hits:
    """Either all documents say their namespace, or none does."""
    free = ("", SETTINGS, "ClusterServingRuntime")
    stated = sorted({each.namespace for each in run.documents if each.kind not in free} - {""})
    if stated and not document.namespace and document.kind not in free:
        yield document["metadata"], f"it says no namespace, and others are in {', '.join(stated)}"


def _labelled(document: Document) -> Iterator[Place]:
    yield document["metadata"]
    for predictor in predictors(document):
        yield predictor
        yield from (component["metadata"] for component in predictor["componentSpecs"])
    if document.kind == "InferenceService":
        yield from components(document)


@rule(
    "metadata-text",
    "error",
    *OURS,
    "Secret",
    consequence="The API server refuses what is no text.",
    fix=QUOTED,
)
def metadata_text(document: Document) -> Hits:
    """Labels and annotations are text: `seldon.io/no-engine: true` is not."""
    for place in _labelled(document):
        for which in ("labels", "annotations"):
            for key, value in place[which].items():
                if not isinstance(value.value, str):
                    yield value, f"{key}: {value.value!r:.40} is no text"


@rule(
    "label-value",
    "error",
    *OURS,
    "Secret",
    consequence="The API server refuses it.",
    fix="put it into an annotation, which may hold any text",
)
def label_value(document: Document) -> Hits:
    """A label's value has at most 63 letters, digits, '-', '_' and '.'."""
    for place in _labelled(document):
        for key, value in place["labels"].items():
            if len(value.text) > 63 or not _LABEL_VALUE.fullmatch(value.text):
                yield value, f"{key}: {value.text!r:.80} is no label's value"


@rule(
    "field-case",
    "error",
    *OURS,
    consequence="The API server drops a field that it does not know, and says so only if asked.",
    fix="spell it as it is spelled",
)
def field_case(document: Document) -> Hits:
    """Fields are spelled with their capitals: `modelUri`, not `modelURI`.

    Source: the platforms' CustomResourceDefinitions: structural schemas, which prune.
    """
    for field in unknown(document):
        if field.spelled:
            yield field.place, str(field)


@rule(
    "field-unknown",
    "error",
    *OURS,
    "Secret",
    SETTINGS,
    consequence="The API server drops the field, or refuses the object if it checks fields.",
    fix="correct its name or its indentation, or remove it",
)
def field_unknown(document: Document) -> Hits:
    """Every field of a document exists in its kind, at any depth.

    Source: the platforms' CustomResourceDefinitions; of model-settings.json mlserver/settings.py.
    """
    if document.kind == "Secret" and document["sops"]:  # encrypted, with a field of SOPS' own
        return
    for field in unknown(document):
        if not (field.spelled and document.kind in OURS):
            yield field.place, str(field)


@rule(
    "replica-range",
    "error",
    *OURS,
    consequence="The API server, or the platform's webhook, refuses it.",
    fix="make the least at most the most",
)
def replica_range(document: Document) -> Hits:
    """The least number of replicas is at most the most.

    Source: kserve pkg/apis/serving/v1beta1/component.go, validateReplicas.
    """
    places = [document["spec"], *components(document)]
    for predictor in predictors(document):
        places += [component["hpaSpec"] for component in predictor["componentSpecs"]]
    for place in places:
        least, most = place["minReplicas"].number, place["maxReplicas"].number
        if least is not None and most is not None and least > most and most != 0:
            yield place["minReplicas"], f"minReplicas is {least}, and maxReplicas {most}"
