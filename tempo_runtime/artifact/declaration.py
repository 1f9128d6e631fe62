"""A pipeline's declaration in its artifact's files: tempo.json, and model-settings.json.

`describe` writes a pipeline's declaration as tempo.json has it, and `pipeline` makes the pipeline from
it. JSON holds all of a declaration but the Python types of a signature: those are in the pickle.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tempo_runtime.artifact import pickle_graph
from tempo_runtime.artifact.description import (
    ChildDescription,
    ConstructorDescription,
    ModelDescription,
    PipelineDescription,
    SignatureDescription,
    ValueDescription,
    known_insights,
    known_state,
)
from tempo_runtime.artifact.environment import TARBALL
from tempo_runtime.authoring import decorators
from tempo_runtime.authoring.details import ModelDetails, ModelFramework
from tempo_runtime.authoring.models import Pipeline, PipelineModels, model_of
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.signature import Signature, TensorSpec
from tempo_runtime.settings import Batching, InsightsOptions, StateOptions

DECLARED = tuple(PipelineDescription.model_fields)
IMPLEMENTATION = "tempo_runtime.TempoPipelineRuntime"
WITH_CODE = "tempo_runtime.execution.with_code.ModelWithCode"
CODE = "tempo_code"  # in parameters.extra of such a model: whose code, and which runtime serves it
TARBALL_PARAMETER = "environment_tarball"
MODEL_SETTINGS = "model-settings.json"
_LISTED = 6  # files that a line names

Types = tuple[tuple[Any, ...], tuple[Any, ...], Any]
"""The parts of a signature that JSON cannot hold: types of inputs and outputs, and the container."""


# -- from what the author declared to tempo.json ---------------------------------------------------


def describe(pipeline: Pipeline, folder: str | None = None) -> PipelineDescription:
    """Describe a pipeline as its author declared it.

    Args:
        pipeline: The pipeline.
        folder: Its artifact, where the folders of its children start; None to leave them out.
    """
    kind: Any = "function"
    if pipeline.predict_name is not None:
        kind = "class" if pipeline.instance is None else "instance"
    return PipelineDescription(
        **_described(pipeline.details),
        constructor=ConstructorDescription(
            kind=kind, predict=pipeline.predict_name, load=pipeline.load_name
        ),
        children={
            alias: describe_child(model.details, folder)
            for alias, model in pipeline.declared.items()
        },
    )


def describe_child(details: ModelDetails, folder: str | None) -> ChildDescription:
    """Describe a model that a pipeline calls; see `describe`."""
    place = os.path.relpath(details.home, folder) if folder and details.home else None
    return ChildDescription(**_described(details), folder=place)


def describe_model(details: ModelDetails) -> ModelDescription:
    """Describe a model, without its folder."""
    return ModelDescription(**_described(details))


def describe_signature(signature: Signature) -> SignatureDescription:
    """Describe a signature: as V2 metadata, and for Python."""
    return SignatureDescription.model_validate(
        {
            **metadata(signature),
            "streams": signature.streams,
            "python": {
                "inputs": list(map(_value, signature.inputs)),
                "outputs": list(map(_value, signature.outputs)),
                "form": signature.form,
            },
        }
    )


def types_of(signature: Signature | None) -> Types | None:
    """Return the parts of a signature that JSON cannot hold."""
    if signature is None:
        return None
    inputs, outputs = (
        tuple(spec.hint for spec in specs) for specs in (signature.inputs, signature.outputs)
    )
    return inputs, outputs, signature.container


def pipeline_types(pipeline: Pipeline) -> dict[str, Any]:
    """Return the parts of a pipeline's declaration that JSON cannot hold."""
    return {
        "signature": types_of(pipeline.signature),
        "children": {
            alias: types_of(model.details.signature) for alias, model in pipeline.declared.items()
        },
    }


def _described(details: ModelDetails) -> dict[str, Any]:
    return {
        "name": details.name,
        "platform": details.platform.value,
        "uri": details.uri,
        "description": details.description,
        "signature": describe_signature(details.signature) if details.signature else None,
        "batching": details.batching.model_dump() if details.batching else None,
        "insights": _insights(details.insights),
        "state": _state(details.state),
        "output": details.output,
    }


def _value(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "kind": spec.kind,
        "dtype": None if spec.dtype is None else spec.dtype.str,
        "shape": None if spec.shape is None else list(spec.shape),
        "has_default": spec.has_default,
        "nullable": spec.nullable,
    }


# -- from tempo.json to what the author declared ---------------------------------------------------


def pipeline(described: PipelineDescription, types: Mapping[str, Any], target: Any) -> Pipeline:
    """Make a pipeline from its declaration.

    Args:
        described: The declaration.
        types: What `pipeline_types` returned.
        target: The class or function.
    """
    assert described.constructor is not None
    children = {
        alias: model_of(details(child, types["children"].get(alias)))
        for alias, child in described.children.items()
    }
    constructor = described.constructor
    own = details(described, types["signature"])
    return Pipeline(own, PipelineModels(**children), target, constructor.predict, constructor.load)


def details(
    described: ModelDescription | PipelineDescription,
    types: Types | None,
    local_folder: str | None = None,
) -> ModelDetails:
    """Make the details of a model from its declaration.

    Args:
        described: The declaration.
        types: What `types_of` returned.
        local_folder: Its folder.
    """
    known = described.signature if types is not None else None
    return ModelDetails(
        described.name,
        ModelFramework(described.platform),
        local_folder,
        described.uri or "",
        described.description,
        signature(known, types) if known is not None and types is not None else None,
        batching_of(described),
        insights_of(described),
        state_of(described),
        described.output,
    )


def _insights(options: InsightsOptions | None) -> dict[str, Any] | None:
    return None if options is None else options.model_dump(mode="json", exclude_unset=True)


def insights_of(described: ModelDescription | PipelineDescription) -> InsightsOptions | None:
    """Return how requests to a model are logged, by its declaration; None if the settings decide."""
    stated = described.insights
    return None if stated is None else InsightsOptions(**known_insights(stated))


def _state(options: StateOptions | None) -> dict[str, Any] | None:
    return None if options is None else options.model_dump(mode="json", exclude_unset=True)


def state_of(described: ModelDescription | PipelineDescription) -> StateOptions | None:
    """Return the options of a pipeline's state, by its declaration; None if it does not have one."""
    return None if described.state is None else StateOptions(**known_state(described.state))


def batching_of(described: ModelDescription | PipelineDescription) -> Batching | None:
    """Return how calls of a model are put together, by its declaration; None if they are not."""
    stated = described.batching
    return None if stated is None else Batching(**stated.model_dump(exclude_unset=True))


def signature(described: SignatureDescription, types: Types) -> Signature:
    """Make a signature from its declaration.

    Args:
        described: The declaration.
        types: What `types_of` returned.
    """
    assert described.python is not None
    inputs, outputs, container = types
    return Signature(
        _specs(described.python.inputs, inputs),
        _specs(described.python.outputs, outputs),
        described.python.form,
        container,
        described.streams,
    )


def _specs(values: Sequence[ValueDescription], hints: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            value.name,
            value.kind,
            hint,
            None if value.dtype is None else np.dtype(value.dtype),
            None if value.shape is None else tuple(value.shape),
            value.has_default,
            value.nullable,
        )
        for value, hint in zip(values, hints, strict=True)
    )


def differences(code: PipelineDescription, stored: PipelineDescription) -> list[str]:
    """List in words how the declaration in an artifact's code differs from that in its tempo.json.

    Where a model is uploaded to, and its description for people, are those of tempo.json.

    Args:
        code: The declaration in the code.
        stored: The one in tempo.json.
    """
    parts = []
    if code.name != stored.name:
        parts.append(f"the name ({code.name!r}, and {stored.name!r} in tempo.json)")
    if code.platform != stored.platform:
        parts.append("the platform")
    if _constructor(code) != _constructor(stored):
        parts.append("the predict or load method")
    if _python(code.signature) != _python(stored.signature):
        parts.append("the signature")
    if code.children.keys() != stored.children.keys():
        parts.append("the children")
    for alias in code.children.keys() & stored.children.keys():
        one, other = code.children[alias], stored.children[alias]
        same = one.name == other.name and one.platform == other.platform
        if not same or _python(one.signature) != _python(other.signature):
            parts.append(f"the child {alias!r}")
    return parts


def _constructor(described: PipelineDescription) -> tuple[str | None, str | None]:
    assert described.constructor is not None
    return described.constructor.predict, described.constructor.load


def _python(described: SignatureDescription | None) -> tuple[Any, bool] | None:
    """Return the part of a signature that code depends on; servers of later versions may say more."""
    return None if described is None else (described.python, described.streams)


def held(unpickled: Any) -> Pipeline:
    """Return the pipeline of a pickle of format 2.

    Args:
        unpickled: The unpickled object: a class, and an instance of it if it holds one; or a function
            pipeline, and what it keeps in its context.

    Raises:
        TypeError, ValueError, AuthoringError: If it is something else.
    """
    target, *more = unpickled
    made = decorators.describe(target)
    if made.predict_name is None:
        made._loaded = False
        vars(vars(made)["context"]).update(more[0] if more else {})
        return made
    copy = made.copy()
    copy.saved = more[0] if more else None
    return copy


# --------------------------------------------------------------------------------------------------


def python() -> str:
    """Return the version of this Python, as far as an artifact depends on it."""
    return ".".join(map(str, sys.version_info[:2]))


def source(declared: PipelineDescription, pickle: bytes, code: Mapping[str, str]) -> str:
    """Compute the digest of an artifact's source, which is the same in every process.

    Args:
        declared: Its declaration.
        pickle: Its pickle, of which the content counts and not the bytes.
        code: Path -> SHA-256, of the files; those in `code` count.
    """
    content = {
        "declared": declared.model_dump(mode="json", include=set(DECLARED)),
        "pickle": pickle_graph.digest(pickle),
        "code": {path: digest for path, digest in code.items() if path.startswith("code/")},
    }
    written = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return f"sha256:{hashlib.sha256(written).hexdigest()}"


def metadata(signature: Signature) -> dict[str, list[dict[str, Any]]]:
    """Return inputs and outputs as V2 metadata tensors."""

    def tensors(specs: Any) -> list[dict[str, Any]]:
        found = []
        for spec in specs:
            datatype, shape, parameters = codec.describe(spec)
            found.append(
                {"name": spec.name, "datatype": datatype, "shape": shape, "parameters": parameters}
            )
        return found

    # The outputs of a mapping, and the number of those of a list, are known with each answer.
    outputs = () if signature.form in ("mapping", "list") else signature.outputs
    return {"inputs": tensors(signature.inputs), "outputs": tensors(outputs)}


def model_settings(pipeline: Pipeline, settings: dict[str, Any], packed: bool) -> dict[str, Any]:
    """model-settings.json: ours, and what its owner added to it.

    Args:
        pipeline: The pipeline.
        settings: What is there.
        packed: Whether the artifact has an environment.
    """
    settings |= {"name": pipeline.details.name, "implementation": IMPLEMENTATION}
    settings |= {"platform": "tempo", **metadata(pipeline.signature)}
    parameters = {"uri": ".", "extra": {}} | settings.get("parameters", {})
    if packed:
        parameters.setdefault(TARBALL_PARAMETER, f"./{TARBALL}")
    elif parameters.get(TARBALL_PARAMETER) == f"./{TARBALL}":
        del parameters[TARBALL_PARAMETER]
    settings["parameters"] = parameters
    return settings


def with_code(
    settings: Mapping[str, Any], folder: str, digest: str | None = None
) -> dict[str, Any]:
    """Make the model-settings.json of a model that is unpickled with an artifact's code.

    Args:
        settings: The settings that MLServer would read.
        folder: The artifact.
        digest: The digest that the artifact must have; None for any.
    """
    return _wrapped(settings, {"artifact": folder, "artifact_digest": digest})


def with_copy(settings: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Make the model-settings.json of a model that is opened in a checked copy.

    Args:
        settings: The settings that MLServer would read, with `expected_digest` in `parameters.extra`; or
            the result of `with_code`.
        place: The folder or file that has this digest.
    """
    return _wrapped(settings, {"place": place})


def with_runtimes(settings: Mapping[str, Any], runtimes: Mapping[str, str]) -> dict[str, Any]:
    """Make the model-settings.json of a model whose runtime is replaced.

    Args:
        settings: The settings that MLServer would read, or the result of `with_code` or `with_copy`.
        runtimes: The runtimes that replace others, by those.
    """
    implementation = str(settings.get("implementation"))
    if implementation in runtimes:
        return {**settings, "implementation": runtimes[implementation]}
    if implementation != WITH_CODE:
        return dict(settings)
    parameters = settings["parameters"]
    stated = with_runtimes(parameters["extra"][CODE], runtimes)
    extra = {**parameters["extra"], CODE: stated}
    return {**settings, "parameters": {**parameters, "extra": extra}}


def _wrapped(settings: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    parameters = settings["parameters"]
    extra = parameters.get("extra") or {}
    own = {"implementation": settings["implementation"]}
    if settings["implementation"] == WITH_CODE:
        own = extra[CODE]
    parameters = {**parameters, "extra": {**extra, CODE: {**own, **stated}}}
    return {**settings, "implementation": WITH_CODE, "parameters": parameters}


def code(found: Mapping[str, int]) -> str:
    """Describe the files of the author's code in a line for people.

    Args:
        found: Their paths and sizes.
    """
    if not found:
        return "no files"
    listed = ", ".join(list(found)[:_LISTED]) + (", ..." if len(found) > _LISTED else "")
    count = f"{len(found)} file{'s' * (len(found) > 1)}"
    return f"{count}, {sum(found.values()):,} bytes: {listed}"


def packages(modules: set[str]) -> dict[str, str]:
    """Name and version of the installed packages that these modules come from."""
    tops = {module.partition(".")[0] for module in modules} - {"tempo_runtime"}
    return dict(
        sorted(
            (package.metadata["Name"], package.version)
            for package in importlib.metadata.distributions()
            if not tops.isdisjoint(_modules_of(package))
        )
    )


def _modules_of(package: importlib.metadata.Distribution) -> set[str]:
    """Name the top-level modules of an installed package.

    `importlib.metadata.packages_distributions` finds them likewise, from Python 3.11 on. It makes a path
    of each line of each record, which takes eight times as long as the lines take.
    """
    if listed := (package.read_text("top_level.txt") or "").split():
        return set(listed)
    record = package.read_text("RECORD")
    if record is None:  # an egg
        files = [file.as_posix() for file in package.files or ()]
    else:  # a name that has a comma is in quotes, and no module can have it
        files = [line.partition(",")[0] for line in record.splitlines()]
    return {file.partition("/")[0].removesuffix(".py") for file in files if file.endswith(".py")}
