"""Rules of Seldon Core 2."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tempo_runtime._util.yaml_document import Document, Place, Run, apart
from tempo_runtime.lint.rules import Hits, across, rule
from tempo_runtime.lint.views import pipeline_settings, untold, variables

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
    "seldon2-storage-uri",
    "error",
    "Model",
    consequence="The API server refuses it.",
    fix="storageUri: the URI that the artifact was uploaded to",
)
def storage_uri(document: Document) -> Hits:
    """A Model has a storageUri.

    Source: operator/apis/mlops/v1alpha1/model_types.go:24-110.
    """
    if not document["spec"]["storageUri"].value:
        yield document["spec"]["storageUri"], "it has no storageUri"


@rule(
    "seldon2-parameter",
    "error",
    "Model",
    consequence="The API server refuses it: parameters are text.",
    fix='quote the value: "10"; an object is JSON in quotes',
)
def parameter(document: Document) -> Hits:
    """Parameters of a Model have a name, and a value that is text.

    Source: operator/apis/mlops/v1alpha1/model_types.go:24-110.
    """
    for each in document["spec"]["parameters"]:
        if not each["name"].text:
            yield each["name"], "a parameter has no name"
        elif not isinstance(each["value"].value, str):
            yield each["value"], f"{each['name'].text}: {untold(each['value'].value)} is no text"


@rule(
    "seldon2-explainer-llm",
    "error",
    "Model",
    consequence="They exclude each other: the operator refuses it.",
    fix="keep one of them",
)
def explainer_llm(document: Document) -> Hits:
    """A Model has an explainer or an llm, not both.

    Source: operator/apis/mlops/v1alpha1/model_types.go:24-110.
    """
    if document["spec"]["explainer"] and document["spec"]["llm"]:
        yield document["spec"]["llm"], "it has explainer and llm"


def _capabilities(server: Document) -> set[str]:
    spec = server["spec"]
    default = _TRITON if spec["serverConfig"].text == "triton" else _MLSERVER
    stated = {each.text for each in spec["capabilities"]}
    return (stated or default) | {each.text for each in spec["extraCapabilities"]}


@across(
    "seldon2-requirement",
    "warning",
    "Model",
    consequence="Unless the cluster has a server for it already, it never becomes ready.",
    fix="add what it requires to the capabilities of a Server",
)
def requirement(document: Document, run: Run) -> Hits:
    """All that a Model requires is what one server can do.

    Source: operator/config/serverconfigs/mlserver.yaml.
    """
    place = document["spec"]["requirements"]
    needed = {each.text for each in place} - {""}
    servers = [each for each in run.of("Server") if not apart(each.namespace, document.namespace)]
    able = [_capabilities(server) for server in servers]
    if servers and needed and not any(needed <= each for each in [*able, _MLSERVER, _TRITON]):
        told = ", ".join(sorted(needed))
        yield place, f"no server of these files, and none that comes along, has {told}"


@across(
    "seldon2-server",
    "warning",
    "Model",
    consequence="Unless the cluster has that server already, the Model is scheduled nowhere.",
    fix="correct spec.server, or leave it out",
)
def server(document: Document, run: Run) -> Hits:
    """The server that a Model names is one of these files, or comes along."""
    place = document["spec"]["server"]
    known = {each.name for each in run.of("Server")}
    if place.text and known and place.text not in known | {"mlserver", "triton"}:
        yield place, f"there is no Server {place.value!r:.80}"


@rule(
    "seldon2-capabilities",
    "warning",
    "Server",
    consequence="Models of any MLServer framework are placed on it, and fail if its image lacks it.",
    fix="capabilities, which take the place of MLServer's own (from Seldon Core 2.6 on)",
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
            yield spec["extraCapabilities"], "beside them it has MLServer's own, with another image"


@rule(
    "seldon2-server-container",
    "error",
    "Server",
    consequence="Containers are merged by name: this one is a further one, and has no image, or is "
    "never asked.",
    fix="name the container mlserver",
)
def server_container(document: Document) -> Hits:
    """A container of a Server that is meant for MLServer is named `mlserver`.

    Source: operator/config/serverconfigs/mlserver.yaml.
    """
    for container in document["spec"]["podSpec"]["containers"]:
        ours = any(name.startswith(("MLSERVER_", "TEMPO_")) for name, _ in variables(container))
        image = container["image"].text
        if container["name"].text not in _CONTAINERS and (not image or "mlserver" in image or ours):
            yield container["name"], f"container {container['name'].text!r} is none of the server's"


@rule(
    "seldon2-server-env",
    "warning",
    "Server",
    consequence="The agent beside MLServer goes by these, and no longer finds it, or its models.",
    fix="remove it",
)
def server_env(document: Document) -> Hits:
    """A Server leaves MLServer's port and its folder of models as they are.

    Source: operator/config/serverconfigs/mlserver.yaml.
    """
    for container in document["spec"]["podSpec"]["containers"]:
        for name, entry in variables(container):
            if name in _SERVER_ENV:
                yield entry["name"], f"{name} is set by the server's configuration"


@rule(
    "seldon2-child-version",
    "warning",
    "Model",
    "Server",
    consequence="Such a name is the agent's own for one version: the next one has another.",
    fix="name the Model, without the number",
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
    fix="name a step of this Pipeline, or its own inputs: NAME.inputs",
)
def steps(document: Document) -> Hits:
    """A Pipeline has steps, each once; inputs, triggers and outputs are of steps it has.

    Source: operator/apis/mlops/v1alpha1/pipeline_types.go.
    """
    spec = document["spec"]
    names = [step["name"].text for step in spec["steps"]]
    if not names:
        yield spec["steps"], "it has no steps"
    for place, step in enumerate(spec["steps"]):
        if names[place] in names[:place] or not names[place]:
            yield step["name"], f"step {names[place]!r} is there twice, or has no name"
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
    consequence="Unless the cluster has it already, it never becomes ready.",
    fix="correct the name, or add the document",
)
def unknown_model(document: Document, run: Run) -> Hits:
    """Models and Pipelines that are named are in these files.

    Source: operator/apis/mlops/v1alpha1/{pipeline,experiment}_types.go.
    """
    for place, kind in _references(document):
        known = {each.name for each in run.of(kind)}
        if place.text and run.of("Model") and place.text not in known:
            yield place, f"there is no {kind} {place.text!r:.80}"


def _references(document: Document) -> Iterator[tuple[Place, str]]:
    spec = document["spec"]
    if document.kind == "Pipeline":
        yield from ((step["name"], "Model") for step in spec["steps"])
    elif document.kind == "Experiment":
        kind = "Pipeline" if spec["resourceType"].value == "pipeline" else "Model"
        yield from ((each["name"], kind) for each in (*spec["candidates"], spec["mirror"]))
    else:
        yield spec["explainer"]["modelRef"], "Model"
        yield spec["explainer"]["pipelineRef"], "Pipeline"


@rule(
    "seldon2-experiment",
    "error",
    "Experiment",
    consequence="The API server or the scheduler refuses it.",
    fix="candidates with names and whole weights, one of them the default",
)
def experiment(document: Document) -> Hits:
    """An Experiment has candidates, each once with a weight, and its default is one of them.

    Source: operator/apis/mlops/v1alpha1/experiment_types.go.
    """
    spec = document["spec"]
    names: list[str] = []
    for each in spec["candidates"]:
        if each["name"].text in names or not each["name"].text:
            yield each["name"], f"candidate {each['name'].text!r} is there twice, or has no name"
        names.append(each["name"].text)
        if each["weight"].number is None or each["weight"].number < 0:
            yield each["weight"], f"weight {each['weight'].value!r:.40} is no whole number"
    if not names and not spec["mirror"]:
        yield spec["candidates"], "it has no candidates"
    if spec["default"] and spec["default"].value not in names:
        yield spec["default"], f"the default {spec['default'].value!r:.80} is no candidate"
