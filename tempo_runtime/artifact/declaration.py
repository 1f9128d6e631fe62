"""What an artifact's files say of a pipeline: tempo.json, and model-settings.json."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from tempo_runtime import __version__
from tempo_runtime.artifact import pickle_graph
from tempo_runtime.artifact.description import FORMAT_VERSION
from tempo_runtime.artifact.environment import TARBALL
from tempo_runtime.authoring.decorators import Pipeline
from tempo_runtime.protocol import codec, example_values
from tempo_runtime.protocol.signature import Signature

DECLARED = ("name", "description", "uri", "signature", "children")
IMPLEMENTATION = "tempo_runtime.TempoPipelineRuntime"
WITH_CODE = "tempo_runtime.execution.with_code.ModelWithCode"
CODE = "tempo_code"  # in parameters.extra of such a model: whose code, and which runtime serves it
_TARBALL = "environment_tarball"
_LISTED = 6  # files that a line names


def children(pipeline: Pipeline, folder: str) -> dict[str, Any]:
    """Return the models it calls, by their names in it; folders relative to its own."""
    described = {}
    for alias, model in pipeline.declared.items():
        details = model.details
        described[alias] = {
            "name": details.name,
            "platform": details.platform.value,
            "uri": details.uri,
            "folder": os.path.relpath(details.home, folder) if details.home else None,
        }
    return described


def manifest(
    pipeline: Pipeline,
    imported: dict[str, str],
    calls: dict[str, Any],
    digests: dict[str, str],
) -> dict[str, Any]:
    """tempo.json.

    Args:
        pipeline: The pipeline.
        imported: `packages` of what it imports.
        calls: Its `children`.
        digests: Path of each file -> its SHA-256.
    """
    return {
        "format_version": FORMAT_VERSION,
        "tempo_runtime": __version__,
        "python": python(),
        **declaration(pipeline, calls),
        "example": example_values.values(pipeline.signature),
        "packages": imported,
        "files": digests,
    }


def python() -> str:
    """Return the version of this Python, as far as an artifact depends on it."""
    return ".".join(map(str, sys.version_info[:2]))


def declaration(pipeline: Pipeline, calls: dict[str, Any]) -> dict[str, Any]:
    """Return the part of tempo.json that the author declared."""
    details = pipeline.details
    signature = {**metadata(pipeline.signature), "streams": pipeline.signature.streams}
    described = (details.name, details.description, details.uri, signature, calls)
    return dict(zip(DECLARED, described))


def source(declared: Mapping[str, Any], pickle: bytes, code: Mapping[str, str]) -> str:
    """Compute the digest of an artifact's source, which is the same in every process.

    Args:
        declared: Its `declaration`, as tempo.json has it.
        pickle: Its pickle, of which the content counts and not the bytes.
        code: Path -> SHA-256, of the files; those in `code` count.
    """
    content = {
        "declared": {part: declared.get(part) for part in DECLARED},
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

    # A mapping's outputs get their names with each answer.
    outputs = () if signature.form == "mapping" else signature.outputs
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
        parameters.setdefault(_TARBALL, f"./{TARBALL}")
    elif parameters.get(_TARBALL) == f"./{TARBALL}":
        del parameters[_TARBALL]
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
    found = {}
    for package in importlib.metadata.distributions():
        # As `packages_distributions` does from Python 3.11 on; before, it reads the first only.
        owned = (package.read_text("top_level.txt") or "").split() or {
            file.parts[0].removesuffix(".py")
            for file in package.files or ()
            if file.suffix == ".py"
        }
        if not tops.isdisjoint(owned):
            found[package.metadata["Name"]] = package.version
    return dict(sorted(found.items()))
