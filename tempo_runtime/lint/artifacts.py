"""Rules of a model-settings.json, and of what a manifest says of an artifact."""

from __future__ import annotations

from collections.abc import Iterator

from tempo_runtime._util.yaml_document import SETTINGS, Document, Place, Run
from tempo_runtime.artifact import trust
from tempo_runtime.lint.rules import Hits, across, rule
from tempo_runtime.lint.views import (
    OURS,
    WITH_PODS,
    artifact_uris,
    containers,
    is_ours,
    json_object,
    predictors,
    remote,
    scheme,
    variable,
)

_DIGEST = "seldon.io/tempo-artifact-digest"
# What Core 2's agent keeps of a model-settings.json, and of its parameters.
_SURVIVE = (
    {"name", "inputs", "outputs", "platform", "versions", "parallel_workers"}
    | {"implementation", "parameters"},
    {"uri", "version", "format", "content_type", "extra", "environment_tarball"},
)


@rule(
    "uri-scheme",
    "error",
    *OURS,
    consequence="It is a path in the container that fetches it, where nothing is.",
    fix="write a URI, such as s3://bucket/folder",
)
def uri_scheme(document: Document) -> Hits:
    """An artifact is at a URI; on Seldon Core also at rclone's `remote:path`, and a Model's at a path.

    Source: seldon-core components/rclone-storage-initializer/readme.md; scheduler/pkg/agent/rclone.
    """
    named = scheme if document.kind == "InferenceService" else remote
    for place in artifact_uris(document):
        path = document.kind == "Model" and place.text.startswith("/")
        if place and not (path or named(place.text)):
            yield place, f"{place.value!r:.100} is no URI"


@rule(
    "tempo-annotation",
    "warning",
    *OURS,
    consequence="Tools that read it are misled; the platform ignores it.",
    fix="write the annotation again with the manifest, or remove it",
)
def tempo_annotation(document: Document) -> Hits:
    """The annotation `seldon.io/tempo-model` is JSON, and about this model."""
    place = document["metadata"]["annotations"]["seldon.io/tempo-model"]
    if not place:
        return
    details = json_object(place.text).get("model_details")
    if not isinstance(details, dict):
        yield place, "it is no JSON with model_details"
    elif details.get("name") != document.name:
        yield place, f"it is about {details.get('name')!r:.80}, and this is {document.name!r}"


@rule(
    "artifact-digest",
    "warning",
    "SeldonDeployment",
    "InferenceService",
    "Model",
    consequence="Pods refuse the artifact that the object names, or a changed one starts no new pods.",
    fix="write the manifest again with `tempo-runtime manifest`",
)
def artifact_digest(document: Document) -> Hits:
    """The digest in `seldon.io/tempo-artifact-digest` is the one of its pods, and the one they demand."""
    digest = document["metadata"]["annotations"][_DIGEST].text
    if not digest:
        return
    for place in _digests_of_pods(document):
        stated = {each.strip() for each in place.text.split(",")}
        if place.text and digest not in stated:
            yield place, f"it is {place.text:.80}, but the object names {digest:.80}"


def _digests_of_pods(document: Document) -> Iterator[Place]:
    """Return the places where pods have the digest: annotations and demands."""
    if document.kind == "Model":
        for each in document["spec"]["parameters"]:
            if each["name"].text in (trust.EXPECTED_DIGEST_SETTING, "artifact_digest"):
                yield each["value"]
        return
    if document.kind == "InferenceService":
        predictor = document["spec"]["predictor"]
        yield predictor["annotations"][_DIGEST]
        yield variable(predictor["model"], trust.EXPECTED_DIGEST)
        return
    for predictor in list(predictors(document))[:1]:  # a canary has another artifact
        for component in predictor["componentSpecs"]:
            yield component["metadata"]["annotations"][_DIGEST]
            for container in component["spec"]["containers"]:
                yield variable(container, trust.EXPECTED_DIGEST)


@across(
    "environment-ignored",
    "warning",
    SETTINGS,
    consequence="MLServer takes an environment of a model's own only in a parallel worker: without one, "
    "the model runs in the server's environment.",
    fix='set MLSERVER_PARALLEL_WORKERS to "1", or put the packages into the image',
)
def environment_ignored(document: Document, run: Run) -> Hits:
    """A model with an environment of its own has a parallel worker.

    Source: MLServer registry, _should_load_model; scheduler/pkg/agent/repository/mlserver.go:161-217.
    """
    place = document["parameters"]["environment_tarball"]
    if not place:
        return
    for other in run.of(*WITH_PODS):
        for container in containers(other):
            if variable(container, "MLSERVER_PARALLEL_WORKERS").text == "0":
                yield place, f"{other.kind} {other.name} has no parallel worker"
    for other in run.named(document.name, "Model"):
        if other["spec"]["explainer"]:
            yield place, f"Model {other.name} has spec.explainer, which takes its worker away"


@rule(
    "pipeline-batching",
    "error",
    SETTINGS,
    consequence="tempo_runtime refuses to load the pipeline: answers of requests would be mixed up.",
    fix="take max_batch_size, max_batch_time and cache_enabled away",
)
def pipeline_batching(document: Document) -> Hits:
    """A pipeline has neither adaptive batching nor a response cache.

    Source: MLServer batching and dataplane.py:92-93, whose cache key has no model's name.
    """
    if not is_ours(document["implementation"].text):
        return
    size, wait = document["max_batch_size"], document["max_batch_time"].value
    if (size.number or 0) > 1 and isinstance(wait, (int, float)) and wait > 0:
        yield size, f"max_batch_size is {size.value}"
    if document["cache_enabled"].value is True:
        yield document["cache_enabled"], "cache_enabled is true"


@across(
    "settings-name",
    "warning",
    SETTINGS,
    consequence="The name in the file wins in MLServer: calls by the deployment's name are answered 404.",
    fix="give both one name",
)
def settings_name(document: Document, run: Run) -> Hits:
    """A model-settings.json has the name that a deployment beside it calls it by.

    Source: https://github.com/kserve/kserve/issues/3682; mlserver settings, where the file wins.
    """
    deployed = run.of("SeldonDeployment", "InferenceService", "Model")
    names = {each.name for each in deployed}
    for each in deployed:
        names |= {predictor["graph"]["name"].text for predictor in predictors(each)}
    if document.name and names and document.name not in names:
        told = ", ".join(sorted(names - {""}))
        yield document["name"], f"it is {document.name!r}, and what is deployed is {told}"


@across(
    "seldon2-dropped",
    "warning",
    SETTINGS,
    consequence="The agent writes the file anew, and leaves out what it does not know.",
    fix="put it into parameters.extra, or into the Server's environment",
)
def dropped(document: Document, run: Run) -> Hits:
    """A model-settings.json for Core 2 has only what the agent keeps.

    Source: scheduler/pkg/agent/repository/mlserver/mlserver.go:61-85.
    """
    if not run.of("Model"):
        return
    for known, place in zip(_SURVIVE, (document.root, document["parameters"]), strict=True):
        for key, value in place.items():
            if key not in known:
                yield value, f"{key} is lost"
