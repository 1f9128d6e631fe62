"""Rules for Seldon Core 2. Sources are files of SeldonIO/seldon-core, branch v2."""

from __future__ import annotations

import re

from tempo_runtime.deploy.lint.document import SETTINGS, Document, Run
from tempo_runtime.deploy.lint.rules import Hits, across, rule

# operator/config/serverconfigs/mlserver.yaml and triton.yaml
_CAPABILITIES = frozenset(
    {
        "mlserver",
        "alibi-detect",
        "alibi-explain",
        "huggingface",
        "lightgbm",
        "mlflow",
        "python",
        "sklearn",
        "spark-mlib",
        "xgboost",
        "triton",
        "dali",
        "fil",
        "onnx",
        "openvino",
        "pytorch",
        "tensorflow",
        "tensorrt",
    }
)
_KEPT = frozenset(
    {
        "name",
        "inputs",
        "outputs",
        "platform",
        "versions",
        "parallel_workers",
        "implementation",
        "parameters",
    }
)


@rule(
    "seldon2-storage",
    "error",
    "Model",
    consequence="the API refuses it",
    fix="set storageUri to where the artefact was uploaded",
)
def _storage(document: Document) -> Hits:
    """A model has an artefact to download.

    Source: operator/apis/mlops/v1alpha1/model_types.go
    """
    if not document["spec"]["storageUri"].text:
        yield document["spec"]["storageUri"], "there is no storageUri"


@rule(
    "seldon2-parameters",
    "error",
    "Model",
    consequence="the API refuses it",
    fix="put the value in quotes; JSON is text too",
)
def _parameters(document: Document) -> Hits:
    """Values of parameters are text.

    Source: operator/apis/mlops/v1alpha1/model_types.go
    """
    for parameter in document["spec"]["parameters"]:
        value = parameter["value"]
        if value and not isinstance(value.value, str):
            yield value, f"{parameter['name'].text} is {value.value!r}"


@rule(
    "seldon2-explainer",
    "error",
    "Model",
    consequence="the API refuses it",
    fix="keep one of the two",
)
def _explainer(document: Document) -> Hits:
    """A model is not an explainer and a language model at once.

    Source: operator/apis/mlops/v1alpha1/model_types.go
    """
    spec = document["spec"]
    if spec["explainer"] and spec["llm"]:
        yield spec["llm"], "explainer and llm are both set"


@across(
    "seldon2-requirements",
    "warning",
    "Model",
    consequence="no Server takes the model, and it stays unscheduled",
    fix="add it to extraCapabilities of a Server, or name what a Server has",
)
def _requirements(document: Document, run: Run) -> Hits:
    """What a model requires a Server has."""
    known = set(_CAPABILITIES)
    for server in run.of("Server"):
        for name in ("capabilities", "extraCapabilities"):
            known |= {each.text for each in server["spec"][name]}
    for required in document["spec"]["requirements"]:
        if required.text not in known:
            yield required, f"{required.value!r} is required"


@rule(
    "seldon2-name",
    "warning",
    "Model",
    consequence="the runtime calls it NAME_VERSION, which is taken apart at the last '_N'",
    fix="another name",
)
def _name(document: Document) -> Hits:
    """A name does not look like a name with a version."""
    if re.search(r"[-_]v?\d+_\d+$", document.name):
        yield document["metadata"]["name"], f"the name is {document.name!r}"


@rule(
    "seldon2-dropped",
    "warning",
    SETTINGS,
    consequence="Seldon Core 2's agent drops it",
    fix="put settings of ours under parameters.extra; set the others on the Server",
)
def _dropped(document: Document) -> Hits:
    """A model-settings.json has what Seldon Core 2 keeps.

    Source: scheduler/pkg/agent/repository/mlserver/mlserver.go
    """
    for name, place in document.root.items():
        if name not in _KEPT:
            yield place, f"{name} is set"


@across(
    "seldon2-steps",
    "error",
    "Pipeline",
    consequence="the scheduler refuses the Pipeline",
    fix="name a step of it, or the Pipeline's own inputs",
)
def _steps(document: Document, run: Run) -> Hits:
    """Steps take their inputs from steps there are.

    Source: operator/apis/mlops/v1alpha1/pipeline_types.go
    """
    spec = document["spec"]
    known = {step["name"].text for step in spec["steps"]} | {document.name}
    named = [given for step in spec["steps"] for given in step["inputs"]]
    for given in [*named, *spec["output"]["steps"]]:
        if given.text.partition(".")[0] not in known:
            yield given, f"there is no step {given.text!r}"


@rule(
    "seldon2-candidates",
    "error",
    "Experiment",
    consequence="the scheduler refuses the Experiment",
    fix="name candidates with their weights, and one of them as the default",
)
def _candidates(document: Document) -> Hits:
    """An experiment's default is one of its candidates.

    Source: operator/apis/mlops/v1alpha1/experiment_types.go
    """
    spec = document["spec"]
    names = [each["name"].text for each in spec["candidates"]]
    if spec["default"].text and spec["default"].text not in names:
        yield spec["default"], f"{spec['default'].text!r} is none of {', '.join(names)}"
    for candidate in spec["candidates"]:
        if candidate["weight"].number is None:
            yield candidate["name"], f"{candidate['name'].text!r} has no weight"
