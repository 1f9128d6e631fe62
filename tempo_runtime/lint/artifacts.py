"""Rules about model-settings.json, and about artifacts in manifests."""

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
    quantity,
    remote,
    scheme,
    variable,
    variables,
)

_DIGEST = "seldon.io/tempo-artifact-digest"
# The fields of model-settings.json and of its parameters that the agent of Core 2 keeps.
_KEPT = (
    {"name", "inputs", "outputs", "platform", "versions", "parallel_workers"}
    | {"implementation", "parameters"},
    {"uri", "version", "format", "content_type", "extra", "environment_tarball"},
)


@rule(
    "uri-scheme",
    "error",
    *OURS,
    consequence="It is taken for a path in the container that fetches it, where there is nothing.",
    fix="write a URI, such as s3://bucket/folder",
)
def uri_scheme(document: Document) -> Hits:
    """An artifact has a URI; Seldon Core also takes rclone's `remote:path`, and a Model a path.

    Source: seldon-core components/rclone-storage-initializer/readme.md; scheduler/pkg/agent/rclone.
    """
    location = scheme if document.kind == "InferenceService" else remote
    for place in artifact_uris(document):
        path = document.kind == "Model" and place.text.startswith("/")
        if place and not (path or location(place.text)):
            yield place, f"{place.value!r:.100} is not a URI"


@rule(
    "tempo-annotation",
    "warning",
    *OURS,
    consequence="The platform ignores it, but it misleads tools that read it.",
    fix="write the manifest again with its annotation, or remove the annotation",
)
def tempo_annotation(document: Document) -> Hits:
    """The annotation `seldon.io/tempo-model` is JSON and describes this model."""
    place = document["metadata"]["annotations"]["seldon.io/tempo-model"]
    if not place:
        return
    details = json_object(place.text).get("model_details")
    if not isinstance(details, dict):
        yield place, "it is not JSON with model_details"
    elif details.get("name") != document.name:
        yield place, f"it describes {details.get('name')!r:.80}, and this is {document.name!r}"


@rule(
    "artifact-digest",
    "warning",
    "SeldonDeployment",
    "InferenceService",
    "Model",
    consequence="Pods refuse the object's artifact, or a changed artifact starts no new pods.",
    fix="write the manifest again with `tempo-runtime manifest`",
)
def artifact_digest(document: Document) -> Hits:
    """Pods state and demand the digest in `seldon.io/tempo-artifact-digest`."""
    digest = document["metadata"]["annotations"][_DIGEST].text
    if not digest:
        return
    for place in _digests_of_pods(document):
        stated = {part.strip() for part in place.text.split(",")}
        if place.text and digest not in stated:
            yield place, f"it is {place.text:.80}, but the object states {digest:.80}"


def _digests_of_pods(document: Document) -> Iterator[Place]:
    """Yield the places where pods state the digest or demand it."""
    if document.kind == "Model":
        for parameter in document["spec"]["parameters"]:
            if parameter["name"].text in (trust.EXPECTED_DIGEST_SETTING, "artifact_digest"):
                yield parameter["value"]
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
    consequence="MLServer uses a model's own environment only in a parallel worker; without one, the "
    "model runs in the server's environment.",
    fix='set MLSERVER_PARALLEL_WORKERS to "1", or put the packages into the image',
)
def environment_ignored(document: Document, run: Run) -> Hits:
    """A model with its own environment has a parallel worker.

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
            yield place, f"Model {other.name} has spec.explainer, which removes its worker"


@rule(
    "pipeline-batching",
    "error",
    SETTINGS,
    consequence="tempo_runtime does not load the pipeline: requests could get each other's answers.",
    fix="remove max_batch_size, max_batch_time and cache_enabled",
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
    "state-lost",
    "error",
    "SeldonDeployment",
    "InferenceService",
    "Model",
    consequence="Each pod or worker has its own state, and answers differ from request to request.",
    fix="set TEMPO_RUNTIME_STATE__URL to a Redis, or deploy one pod with one worker",
)
def state_lost(document: Document, run: Run) -> Hits:
    """A pipeline whose state is in memory has one pod, and at most one worker.

    Source: tempo_runtime/state/memory.py.
    """
    names = json_object(document["metadata"]["annotations"]["seldon.io/tempo-model"].text).get(
        "states_in_memory"
    )
    if not isinstance(names, list) or not names:
        return
    servers = run.of("Server") if document.kind == "Model" else [document]
    served = [container for server in servers for container in containers(server)]
    if any(_may_have_redis(container) for container in served):
        return
    workers = [variable(container, "MLSERVER_PARALLEL_WORKERS") for container in served]
    for place in (*_pod_counts(document), *workers):
        number = quantity(place.value)
        if number is not None and number > 1:
            yield place, f"it is {place.value}, and the state of {names[0]!r:.80} is in memory"


def _may_have_redis(container: Place) -> bool:
    known = {name for name, _ in variables(container)}
    return bool(container["envFrom"]) or bool(
        known & {"TEMPO_RUNTIME_STATE", "TEMPO_RUNTIME_STATE__URL"}
    )


def _pod_counts(document: Document) -> Iterator[Place]:
    spec = document["spec"]
    if document.kind == "SeldonDeployment":
        for predictor in predictors(document):
            yield predictor["replicas"]
            yield from (part["hpaSpec"]["maxReplicas"] for part in predictor["componentSpecs"])
        return
    holder = spec["predictor"] if document.kind == "InferenceService" else spec
    for name in ("replicas", "minReplicas", "maxReplicas"):
        yield holder[name]


@across(
    "settings-name",
    "warning",
    SETTINGS,
    consequence="MLServer uses the name in the file: calls by the deployment's name get 404.",
    fix="use the same name for both",
)
def settings_name(document: Document, run: Run) -> Hits:
    """A model-settings.json has the name of the deployment beside it.

    Source: https://github.com/kserve/kserve/issues/3682; mlserver/settings.py (the file has priority).
    """
    deployed = run.of("SeldonDeployment", "InferenceService", "Model")
    names = {deployment.name for deployment in deployed}
    for deployment in deployed:
        names |= {predictor["graph"]["name"].text for predictor in predictors(deployment)}
    if document.name and names and document.name not in names:
        others = ", ".join(sorted(names - {""}))
        yield document["name"], f"it is {document.name!r}, and the deployment's is {others}"


@across(
    "seldon2-dropped",
    "warning",
    SETTINGS,
    consequence="The agent rewrites the file, without the fields that it does not know.",
    fix="put it into parameters.extra, or into the Server's environment",
)
def dropped(document: Document, run: Run) -> Hits:
    """A model-settings.json for Core 2 has only fields that the agent keeps.

    Source: scheduler/pkg/agent/repository/mlserver/mlserver.go:61-85.
    """
    if not run.of("Model"):
        return
    for known, place in zip(_KEPT, (document.root, document["parameters"]), strict=True):
        for key, value in place.items():
            if key not in known:
                yield value, f"{key} is lost"
