"""Rules for Seldon Core 2."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tempo_runtime._util.yaml_document import Document, Place, Run, differ
from tempo_runtime.lint.rules import Hits, across, rule
from tempo_runtime.lint.views import pipeline_settings, variables

_MLSERVER = {
    *("mlserver", "alibi-detect", "alibi-explain", "huggingface", "lightgbm", "mlflow", "python"),
    *("sklearn", "spark-mlib", "xgboost"),
}
_TRITON = {
    *("triton", "dali", "fil", "onnx", "openvino", "python", "pytorch", "tensorflow", "tensorrt"),
}
_CONTAINERS = ("mlserver", "triton", "rclone", "agent")
_SERVER_ENV = ("MLSERVER_HTTP_PORT", "MLSERVER_MODELS_DIR", "MLSERVER_LOAD_MODELS_AT_STARTUP")


@rule(
    "seldon2-explainer-llm",
    "error",
    "Model",
    consequence="They exclude each other: the operator refuses it.",
    fix="keep one of them",
)
def explainer_llm(document: Document) -> Hits:
    """A Model does not have both an explainer and an llm.

    Source: operator/apis/mlops/v1alpha1/model_types.go:24-110.
    """
    if document["spec"]["explainer"] and document["spec"]["llm"]:
        yield document["spec"]["llm"], "it has an explainer and an llm"


def _capabilities(server: Document) -> set[str]:
    spec = server["spec"]
    default = _TRITON if spec["serverConfig"].text == "triton" else _MLSERVER
    stated = {capability.text for capability in spec["capabilities"]}
    return (stated or default) | {extra.text for extra in spec["extraCapabilities"]}


@across(
    "seldon2-requirement",
    "warning",
    "Model",
    consequence="Unless the cluster already has a server for it, it never becomes ready.",
    fix="add the requirements to the capabilities of a Server",
)
def requirement(document: Document, run: Run) -> Hits:
    """One server has all capabilities that a Model requires.

    Source: operator/config/serverconfigs/mlserver.yaml.
    """
    place = document["spec"]["requirements"]
    needed = {requirement.text for requirement in place} - {""}
    servers = [
        server for server in run.of("Server") if not differ(server.namespace, document.namespace)
    ]
    able = [*map(_capabilities, servers), _MLSERVER, _TRITON]
    if servers and needed and not any(needed <= capabilities for capabilities in able):
        names = ", ".join(sorted(needed))
        yield place, f"no server in these files, and none of Seldon Core's own, has {names}"


@across(
    "seldon2-server",
    "warning",
    "Model",
    consequence="Unless the cluster already has that server, the Model is not scheduled.",
    fix="correct spec.server, or remove it",
)
def server(document: Document, run: Run) -> Hits:
    """The server that a Model names is in these files, or Seldon Core includes it."""
    place = document["spec"]["server"]
    known = {server.name for server in run.of("Server")}
    if place.text and known and place.text not in known | {"mlserver", "triton"}:
        yield place, f"there is no Server {place.value!r:.80}"


@rule(
    "seldon2-capabilities",
    "warning",
    "Server",
    consequence="Models of all MLServer frameworks are placed on it, and fail if its image lacks theirs.",
    fix="set capabilities, which replace those of MLServer (since Seldon Core 2.6)",
)
def capabilities(document: Document) -> Hits:
    """A Server with a custom image states `capabilities`, not only `extraCapabilities`.

    Source: operator/controllers/reconcilers/server/server_reconciler.go (updateCapabilities).
    """
    spec = document["spec"]
    if spec["capabilities"] or not spec["extraCapabilities"]:
        return
    for container in spec["podSpec"]["containers"]:
        if container["name"].text == "mlserver" and container["image"].text:
            yield (
                spec["extraCapabilities"],
                "it keeps MLServer's own capabilities, but has another image",
            )


@rule(
    "seldon2-server-container",
    "error",
    "Server",
    consequence="Containers are merged by name: this is an additional one, which has no image or gets no "
    "requests.",
    fix="name the container mlserver",
)
def server_container(document: Document) -> Hits:
    """The container of a Server that is meant for MLServer is named `mlserver`.

    Source: operator/config/serverconfigs/mlserver.yaml.
    """
    for container in document["spec"]["podSpec"]["containers"]:
        ours = any(name.startswith(("MLSERVER_", "TEMPO_")) for name, _ in variables(container))
        image = container["image"].text
        if container["name"].text not in _CONTAINERS and (not image or "mlserver" in image or ours):
            yield (
                container["name"],
                f"container {container['name'].text!r} is not one of the server's",
            )


@rule(
    "seldon2-server-env",
    "warning",
    "Server",
    consequence="The agent beside MLServer relies on it, and no longer finds MLServer or its models.",
    fix="remove it",
)
def server_env(document: Document) -> Hits:
    """A Server does not change MLServer's port or its folder of models.

    Source: operator/config/serverconfigs/mlserver.yaml.
    """
    for container in document["spec"]["podSpec"]["containers"]:
        for name, entry in variables(container):
            if name in _SERVER_ENV:
                yield entry["name"], f"the server's configuration sets {name}"


@rule(
    "seldon2-child-version",
    "warning",
    "Model",
    "Server",
    consequence="The agent uses that name for one version only: the next version has another.",
    fix="use the name of the Model, without the number",
)
def child_version(document: Document) -> Hits:
    """A child is called by its Model's name, without `_1`.

    Source: scheduler/pkg/util/model.go; scheduler/pkg/agent/repository/model_repository.go:83-225.
    """
    for place, settings in pipeline_settings(document):
        models = settings.get("models")
        for alias, child in models.items() if isinstance(models, dict) else ():
            model = child.get("model") if isinstance(child, dict) else None
            if isinstance(model, str) and re.search(r"_\d+$", model):
                yield place, f"child {alias!r} is called {model!r:.80}"


def _reference(text: str) -> str:
    return text.partition(".")[0]


@rule(
    "seldon2-steps",
    "error",
    "Pipeline",
    consequence="The scheduler refuses the Pipeline.",
    fix="name a step of this Pipeline, or its inputs: NAME.inputs",
)
def steps(document: Document) -> Hits:
    """A Pipeline has steps, each once, and its inputs, triggers and outputs refer to them.

    Source: operator/apis/mlops/v1alpha1/pipeline_types.go.
    """
    spec = document["spec"]
    names = [step["name"].text for step in spec["steps"]]
    if not names:
        yield spec["steps"], "it has no steps"
    for place, step in enumerate(spec["steps"]):
        if names[place] in names[:place]:
            yield step["name"], f"there are two steps {names[place]!r}"
        for source in (*step["inputs"], *step["triggers"]):
            if _reference(source.text) not in (*names, document.name):
                yield source, f"there is no step {source.value!r:.80}"
            elif _reference(source.text) == names[place]:
                yield source, f"step {names[place]!r} waits for itself"
    for output in spec["output"]["steps"]:
        if _reference(output.text) not in names:
            yield output, f"there is no step {output.value!r:.80}"


@across(
    "seldon2-unknown-model",
    "warning",
    "Pipeline",
    "Experiment",
    "Model",
    consequence="Unless the cluster already has it, this object never becomes ready.",
    fix="correct the name, or add the document",
)
def unknown_model(document: Document, run: Run) -> Hits:
    """Models and Pipelines that an object refers to are in these files.

    Source: operator/apis/mlops/v1alpha1/{pipeline,experiment}_types.go.
    """
    for place, kind in _references(document):
        known = {other.name for other in run.of(kind)}
        if place.text and run.of("Model") and place.text not in known:
            yield place, f"there is no {kind} {place.text!r:.80}"


def _references(document: Document) -> Iterator[tuple[Place, str]]:
    spec = document["spec"]
    if document.kind == "Pipeline":
        yield from ((step["name"], "Model") for step in spec["steps"])
    elif document.kind == "Experiment":
        kind = "Pipeline" if spec["resourceType"].value == "pipeline" else "Model"
        yield from ((one["name"], kind) for one in (*spec["candidates"], spec["mirror"]))
    else:
        yield spec["explainer"]["modelRef"], "Model"
        yield spec["explainer"]["pipelineRef"], "Pipeline"


@rule(
    "seldon2-experiment",
    "error",
    "Experiment",
    consequence="The scheduler refuses it.",
    fix="list each candidate once, with a weight of 0 or more; the default is one of them",
)
def experiment(document: Document) -> Hits:
    """An Experiment has candidates, each once, and its default is one of them.

    Source: operator/apis/mlops/v1alpha1/experiment_types.go.
    """
    spec = document["spec"]
    names: list[str] = []
    for candidate in spec["candidates"]:
        name, weight = candidate["name"], candidate["weight"]
        if name.text in names:
            yield name, f"there are two candidates {name.text!r}"
        names.append(name.text)
        if (weight.number or 0) < 0:
            yield weight, f"weight {weight.value!r:.40} is negative"
    if not names and not spec["mirror"]:
        yield spec["candidates"], "it has no candidates"
    if spec["default"] and spec["default"].value not in names:
        yield spec["default"], f"the default {spec['default'].value!r:.80} is not a candidate"
