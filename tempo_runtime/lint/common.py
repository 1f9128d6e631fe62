"""Rules of Kubernetes and MLServer that hold on every platform."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tempo_runtime._util import yaml_reading
from tempo_runtime._util.yaml_document import SETTINGS, Document, Place, Run
from tempo_runtime.lint.fields import unknown
from tempo_runtime.lint.rules import Hits, Rule, across, add, rule
from tempo_runtime.lint.views import OURS, RUNTIMES, components, predictors

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
# The platform makes a Service from these; its name starts with a letter (RFC 1035).
_SERVED = ("SeldonDeployment", "InferenceService", "InferenceGraph")
_MOST_OF_PREDICTOR = 53  # characters: the Service has `-predictor` in addition

add(
    Rule(
        yaml_reading.YAML,
        "error",
        (),
        "The text is valid YAML.",
        "",
        "kubectl refuses the whole file.",
        "correct it; render templates first (`helm template`, `kustomize build`)",
        "common",
    )
)
add(
    Rule(
        yaml_reading.EMPTY,
        "warning",
        (),
        "A file contains an object, or the operations of a JSON patch.",
        "",
        "Nothing is deployed; the command that writes the file may have failed.",
        "write the file again, or leave it out",
        "common",
    )
)
add(
    Rule(
        yaml_reading.DUPLICATE,
        "error",
        (),
        "Each key of a mapping is unique.",
        "",
        "kubectl refuses it, or silently drops all values but the last.",
        "keep one of them",
        "common",
    )
)


@rule(
    "name",
    "error",
    *(kind for kind in OURS if kind not in RUNTIMES),
    consequence="The API server refuses the object, or later the Service that is made from its name.",
    fix="use lower-case letters, digits and '-', at most 63 (53 for an InferenceService), and start "
    "with a letter",
)
def name(document: Document) -> Hits:
    """A name is valid for the Services that are made from it, and has at most 63 characters.

    Source: Kubernetes; kserve pkg/apis/serving/v1alpha1/inference_graph_validation.go; seldon-core
    operator/controllers/seldondeployment_controller.go, createContainerService.
    """
    place = document["metadata"]["name"]
    text = place.text
    if not place:
        return
    if not _LABEL.fullmatch(text):
        yield place, f"{place.value!r:.80} is not a valid name"
    elif len(text) > 63:
        yield place, f"{text!r} has {len(text)} characters"
    elif document.kind in _SERVED and not text[0].isalpha():
        yield place, f"{text!r} does not start with a letter, as the name of a Service must"
    elif document.kind == "InferenceService" and len(text) > _MOST_OF_PREDICTOR:
        yield place, f"{text!r} has {len(text)} characters, and {len(text) + 10} with '-predictor'"


@across(
    "name-twice",
    "error",
    *OURS,
    "Secret",
    consequence="The one that is applied last replaces the other.",
    fix="give them different names, or remove one",
)
def name_twice(document: Document, run: Run) -> Hits:
    """Documents of the same kind and namespace have different names, unless they are equal.

    Manifests of two pipelines contain the same runtime or Server.
    """
    for other in run.named(document.name, document.kind):
        if other is document:
            return
        same_name = document.name and other.namespace == document.namespace
        if same_name and other.content != document.content:
            where = f"{other.file}:{other.line(())}"
            message = f"{document.kind} {document.name!r} is already at {where}"
            yield document["metadata"]["name"], message
            return


@across(
    "namespace-missing",
    "warning",
    *OURS,
    "Secret",
    consequence="It goes into the namespace of the context that applies it: others may not find it.",
    fix="give each document a namespace, or none",
)
def namespace_missing(document: Document, run: Run) -> Hits:
    """Either all documents state their namespace, or none does."""
    namespaced = [
        other
        for other in run.documents
        if other.kind not in ("", SETTINGS, "ClusterServingRuntime")
    ]
    stated = sorted({other.namespace for other in namespaced} - {""})
    if stated and not document.namespace and document in namespaced:
        yield document["metadata"], f"it states no namespace; others are in {', '.join(stated)}"


def _labelled(document: Document) -> Iterator[Place]:
    yield document["metadata"]
    for predictor in predictors(document):
        yield predictor
        yield from (component["metadata"] for component in predictor["componentSpecs"])
    if document.kind == "InferenceService":
        yield from components(document)


@rule(
    "label-value",
    "error",
    *OURS,
    "Secret",
    consequence="The API server refuses the object, or later its pods.",
    fix="put it into an annotation, which may contain any text",
)
def label_value(document: Document) -> Hits:
    """A label's value has at most 63 letters, digits, '-', '_' and '.'."""
    for place in _labelled(document):
        for key, value in place["labels"].items():
            if len(value.text) > 63 or not _LABEL_VALUE.fullmatch(value.text):
                yield value, f"{key}: {value.text!r:.80} is not a valid label value"


@rule(
    "field-case",
    "error",
    *OURS,
    consequence="The API server silently drops fields that it does not know.",
    fix="use the capitals of the kind's field",
)
def field_case(document: Document) -> Hits:
    """The capitals of field names are right: `modelUri`, not `modelURI`.

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
    fix="correct its name or indentation, or remove it",
)
def field_unknown(document: Document) -> Hits:
    """Every field of a document exists in its kind, at any depth.

    Source: the platforms' CustomResourceDefinitions; of model-settings.json mlserver/settings.py.
    """
    if (
        document.kind == "Secret" and document["sops"]
    ):  # encrypted, with an additional field of SOPS
        return
    for field in unknown(document):
        if not (field.spelled and document.kind in OURS):
            yield field.place, str(field)


@rule(
    "replica-range",
    "error",
    *OURS,
    consequence="The platform's webhook refuses it, or the API server refuses the autoscaler.",
    fix="set minReplicas no higher than maxReplicas",
)
def replica_range(document: Document) -> Hits:
    """The value of minReplicas is no higher than that of maxReplicas.

    Source: kserve pkg/apis/serving/v1beta1/component.go, validateReplicas.
    """
    places = [document["spec"], *components(document)]
    for predictor in predictors(document):
        places += [component["hpaSpec"] for component in predictor["componentSpecs"]]
    for place in places:
        lowest, highest = place["minReplicas"].number, place["maxReplicas"].number
        if lowest is not None and highest is not None and lowest > highest and highest != 0:
            yield place["minReplicas"], f"minReplicas is {lowest} and maxReplicas is {highest}"
