"""The artefact: a folder that holds a pipeline, and that any MLServer can serve.

    pipeline.dill         the class or function, and what it was made with
    code/                 the author's own modules it needs
    tempo.json            what it is, and the SHA-256 of every file
    model-settings.json   what MLServer reads; yours to edit
    ...                   whatever the author put there (an explainer, a vocabulary)

A pickle is code: it runs when it is loaded. The digests show that a file is the one that was saved,
and not that whoever saved it meant well.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tempo_runtime import __version__, codec, pickling
from tempo_runtime.authoring import Model, Pipeline, PipelineModels, describe
from tempo_runtime.errors import (
    ArtifactDamaged,
    ArtifactError,
    ArtifactIncompatible,
    ArtifactMissing,
)
from tempo_runtime.signature import Signature

FORMAT_VERSION = 1
PIPELINE = "pipeline.dill"
MANIFEST = "tempo.json"
MODEL_SETTINGS = "model-settings.json"
CODE = "code"
IMPLEMENTATION = "tempo_runtime.TempoPipelineRuntime"
_NEXT = ".next"
# Edited by people and rewritten by platforms, or describing the others.
_UNCHECKED = (MANIFEST, MODEL_SETTINGS)
_loading = itertools.count()
logger = logging.getLogger(__name__)


def save(target: Any, folder: str | None = None) -> str:
    """Writes a pipeline's artefact.

    Files that are already in the folder stay, and become part of it. A save that is interrupted
    leaves the old artefact whole.

    Args:
        target: A pipeline class, an instance of one, or a pipeline function. Of an instance, the
            class and the constructor's arguments are saved; it is built again when it is loaded.
        folder: Where to; by default the pipeline's `local_folder`.

    Returns:
        The folder.

    Raises:
        AuthoringError: If the target is not a pipeline.
        ArtifactError: If there is no folder, or something cannot be carried in an artefact.
    """
    pipeline = describe(target)
    folder = folder or pipeline.details.local_folder
    if not folder:
        raise ArtifactError(
            f"{pipeline.details.name}: nowhere to save; give it a local_folder, or save a folder"
        )
    os.makedirs(folder, exist_ok=True)
    _finish_interrupted(folder)
    children = _children(pipeline, folder)
    try:
        data, sources = pickling.dump(_portable(pipeline, children))
    except ArtifactError as error:
        raise ArtifactError(
            f"pipeline {pipeline.details.name!r} cannot be saved: {error}"
        ) from error
    files = {PIPELINE: data}
    for path, source in sources.items():
        with open(source, "rb") as file:
            files[f"{CODE}/{path}"] = file.read()
    digests = {path: _digest(content) for path, content in files.items()}
    others = {path: _digest_file(folder, path) for path in _found(folder) if path not in files}
    stale = [path for path in others if path.startswith(f"{CODE}/")]
    kept = {path: digest for path, digest in others.items() if path not in stale}
    manifest = _manifest(pipeline, children, data, dict(sorted((kept | digests).items())))
    _commit(folder, files, manifest, stale)
    _write(folder, MODEL_SETTINGS, _json(_model_settings(pipeline, folder)))
    return folder


def load(folder: str) -> Any:
    """Loads a pipeline, to be called in this process.

    Returns:
        An instance of the pipeline class, or the pipeline function.

    Raises:
        ArtifactError: If there is none, if a file is not the one that was saved, or if this Python
            cannot read it.
    """
    pipeline, _ = open_folder(folder)
    return pipeline.build(None, os.path.abspath(folder))


def open_folder(folder: str) -> tuple[Pipeline, dict[str, Any]]:
    """Verifies an artefact and reads it, without building the pipeline.

    Returns:
        The pipeline, and `parameters.extra` of its model-settings.json.

    Raises:
        ArtifactError: As `load` does.
    """
    if os.path.isfile(folder):
        folder = os.path.dirname(folder)
    folder = os.path.abspath(folder)
    manifest = read_manifest(folder)
    contents = dict(_verified(folder, manifest["files"]))
    if PIPELINE not in contents:
        raise ArtifactDamaged(f"{folder}: {MANIFEST} names no {PIPELINE}; save the pipeline again")
    _warn_of_versions(manifest)
    prefix = f"{CODE}/"
    sources = {
        path.removeprefix(prefix): content
        for path, content in contents.items()
        if path.startswith(prefix)
    }
    modules = pickling.Modules(str(next(_loading)), os.path.join(folder, CODE), sources)
    try:
        pipeline, target = pickling.load(contents[PIPELINE], modules)
    except Exception as error:
        modules.forget()
        raise ArtifactError(
            f"{folder}: {PIPELINE} cannot be read: {type(error).__name__}: {error}; is a package it "
            f"needs missing here? It was saved with {_listed(manifest['packages'])}"
        ) from error
    if not isinstance(pipeline, Pipeline):
        raise ArtifactDamaged(f"{folder}: {PIPELINE} holds no pipeline")
    pipeline.target = target if target is not None else pipeline.target
    pipeline.declared = _moved(pipeline.declared, lambda path: os.path.join(folder, path))
    return pipeline, _extra(folder)


def read_manifest(folder: str) -> dict[str, Any]:
    """Reads tempo.json.

    Raises:
        ArtifactMissing: If there is none.
        ArtifactDamaged: If it is not what `save` writes.
        ArtifactIncompatible: If this version, or this Python, cannot read the artefact.
    """
    path = os.path.join(folder, MANIFEST)
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
        version = int(manifest["format_version"])
    except FileNotFoundError as error:
        raise ArtifactMissing(
            f"there is no artefact in {folder}: it has no {MANIFEST}; tempo_runtime.save writes one"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactDamaged(f"{path} is not what save writes ({error}); save again") from error
    if version > FORMAT_VERSION:
        raise ArtifactIncompatible(
            f"{folder} was saved by tempo_runtime {manifest.get('tempo_runtime')} in format {version}; "
            f"this is {__version__}, which reads up to {FORMAT_VERSION}: upgrade tempo_runtime"
        )
    python = ".".join(map(str, sys.version_info[:2]))
    if manifest.get("python") != python:
        raise ArtifactIncompatible(
            f"{folder} was saved by Python {manifest.get('python')}, and this is {python}: a pickle "
            "holds bytecode; save it again with this Python, or serve it with that one"
        )
    if not isinstance(manifest.get("files"), dict) or not isinstance(
        manifest.get("packages"), dict
    ):
        raise ArtifactDamaged(f"{path} is not what save writes; save again")
    return manifest  # type: ignore[no-any-return]


# -- what is written -------------------------------------------------------------------------------


def _portable(pipeline: Pipeline, children: dict[str, Any]) -> tuple[Pipeline, Any]:
    """The pipeline without this machine's paths, and its class, which it cannot hold itself."""
    own = pipeline.copy()
    own._details = replace(pipeline.details, local_folder=None)
    own.declared = _moved(pipeline.declared, lambda path: path, children)
    return own, (None if pipeline.predict_name is None else pipeline.target)


def _children(pipeline: Pipeline, folder: str) -> dict[str, Any]:
    described = {}
    for alias, model in pipeline.declared.items():
        details = model.details
        described[alias] = {
            "name": details.name,
            "platform": details.platform.value,
            "uri": details.uri,
            "folder": os.path.relpath(details.local_folder, folder)
            if details.local_folder
            else None,
        }
    return described


def _moved(
    declared: PipelineModels, move: Any, children: dict[str, Any] | None = None
) -> PipelineModels:
    moved: dict[str, Model] = {}
    for alias, model in declared.items():
        moved[alias] = model.reference()
        path = model.details.local_folder if children is None else children[alias]["folder"]
        moved[alias]._details = replace(
            model.details, local_folder=os.path.normpath(move(path)) if path else None
        )
    return PipelineModels(**moved)


def _manifest(
    pipeline: Pipeline, children: dict[str, Any], data: bytes, files: dict[str, str]
) -> dict[str, Any]:
    details = pipeline.details
    return {
        "format_version": FORMAT_VERSION,
        "tempo_runtime": __version__,
        "python": ".".join(map(str, sys.version_info[:2])),
        "name": details.name,
        "description": details.description,
        "uri": details.uri,
        "signature": {**metadata(pipeline.signature), "streams": pipeline.signature.streams},
        "children": children,
        "packages": _packages({module for module, _ in pickling.references(data)}),
        "files": files,
    }


def metadata(signature: Signature) -> dict[str, list[dict[str, Any]]]:
    """Inputs and outputs as V2 metadata tensors."""

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


def _model_settings(pipeline: Pipeline, folder: str) -> dict[str, Any]:
    """model-settings.json: ours, and what its owner added to it."""
    try:
        with open(os.path.join(folder, MODEL_SETTINGS), encoding="utf-8") as file:
            settings: dict[str, Any] = json.load(file)
    except FileNotFoundError:
        settings = {}
    except ValueError as error:
        raise ArtifactError(
            f"{folder}/{MODEL_SETTINGS} is not JSON ({error}); correct or remove it"
        ) from error
    settings |= {"name": pipeline.details.name, "implementation": IMPLEMENTATION}
    settings |= {"platform": "tempo", **metadata(pipeline.signature)}
    settings["parameters"] = {"uri": ".", "extra": {}} | settings.get("parameters", {})
    return settings


def _packages(modules: set[str]) -> dict[str, str]:
    owners = importlib.metadata.packages_distributions()
    tops = {module.partition(".")[0] for module in modules} - {"tempo_runtime"}
    names = {name for top in tops for name in owners.get(top, ())}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


# -- files -----------------------------------------------------------------------------------------


def _commit(
    folder: str, files: dict[str, bytes], manifest: dict[str, Any], stale: list[str]
) -> None:
    """Puts all files in place together.

    Each is first written beside its place. Replacing tempo.json is what makes them the artefact:
    from then on `_verified` takes a file from beside its place, until it is moved there.
    """
    for path, content in files.items():
        _write(folder, path + _NEXT, content)
    _write(folder, MANIFEST, _json(manifest))
    for path in files:
        os.replace(os.path.join(folder, path + _NEXT), os.path.join(folder, path))
    for path in stale:
        os.remove(os.path.join(folder, path))


def _finish_interrupted(folder: str) -> None:
    """Moves files that an interrupted save had committed, and not moved, to their places."""
    try:
        files = read_manifest(folder)["files"]
    except ArtifactError:
        return
    for path, digest in files.items():
        beside = path + _NEXT
        if os.path.exists(os.path.join(folder, beside)) and _digest_file(folder, beside) == digest:
            os.replace(os.path.join(folder, beside), os.path.join(folder, path))


def _verified(folder: str, files: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Checks every file, and gives the contents of those that are ours."""
    for path, digest in files.items():
        if os.path.isabs(path) or ".." in path.split("/"):
            raise ArtifactDamaged(f"{folder}: {MANIFEST} names {path!r}, outside the artefact")
        beside = os.path.join(folder, path + _NEXT)
        if os.path.exists(beside) and _digest_file(folder, path + _NEXT) == digest:
            path_now = path + _NEXT
        else:
            path_now = path
        ours = path == PIPELINE or path.startswith(f"{CODE}/")
        try:
            # What is executed is read once: the bytes that were checked are the ones that run.
            content = _read(folder, path_now) if ours else b""
            found = _digest(content) if ours else _digest_file(folder, path_now)
        except FileNotFoundError as error:
            raise ArtifactDamaged(
                f"{folder}: {path} is missing; copy the whole folder, or save the pipeline again"
            ) from error
        if found != digest:
            size = os.path.getsize(os.path.join(folder, path_now))
            raise ArtifactDamaged(
                f"{folder}: {path} ({size} bytes) is not the file that was saved: its SHA-256 is "
                f"{found[:12]}..., and {MANIFEST} says {digest[:12]}...; copy the whole folder again, "
                "or save the pipeline again if you changed the file"
            )
        if ours:
            yield path, content


def _found(folder: str) -> Iterator[str]:
    """Files of the author's, by their path in the folder."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and name != "__pycache__"]
        for name in names:
            path = os.path.relpath(os.path.join(root, name), folder).replace(os.sep, "/")
            if name[0] != "." and not name.endswith(_NEXT) and path not in _UNCHECKED:
                yield path


def _write(folder: str, path: str, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all."""
    place = os.path.join(folder, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    temporary = place if path.endswith(_NEXT) else place + _NEXT
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if temporary != place:
        os.replace(temporary, place)


def _read(folder: str, path: str) -> bytes:
    with open(os.path.join(folder, path), "rb") as file:
        return file.read()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_file(folder: str, path: str) -> str:
    digest = hashlib.sha256()
    with open(os.path.join(folder, path), "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _extra(folder: str) -> dict[str, Any]:
    try:
        settings = json.loads(_read(folder, MODEL_SETTINGS))
        return (settings.get("parameters") or {}).get("extra") or {}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def _warn_of_versions(manifest: dict[str, Any]) -> None:
    other = {}
    for name, version in manifest["packages"].items():
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            here = "nothing"
        if here != version:
            other[name] = f"{version} (here {here})"
    if other:
        logger.warning("%r was saved with %s", manifest.get("name"), _listed(other))


def _listed(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items()) or "no packages"
