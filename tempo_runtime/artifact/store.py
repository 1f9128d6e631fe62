"""The artifact: a folder that holds a pipeline, and that any MLServer can serve.

    pipeline.dill         the class or function, and what it was made with
    code/                 the author's own modules it needs
    tempo.json            what it is, and the SHA-256 of every file
    environment.tar.gz    the Python environment it is served in, if one was asked for
    environment.lock      what that holds
    example.json          a request and its answer, for `tempo-runtime check`
    model-settings.json   what MLServer reads; yours to edit
    ...                   whatever the author put there (an explainer, a vocabulary)

A pickle is code: it runs when it is loaded. The digests show that a file is the one that was saved,
and not that whoever saved it meant well; for that a process can demand a digest or a signature
(`trust`).
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ParamSpec, TypeVar, overload

from tempo_runtime._util import atomic_files, json_files
from tempo_runtime._util.atomic_files import MANIFEST
from tempo_runtime._util.private_copies import PrivateCopy
from tempo_runtime.artifact import (
    declaration,
    description,
    importing,
    pickle_graph,
    pickle_imports,
    pickling,
    state,
    trust,
    verification,
)
from tempo_runtime.artifact.environment import LOCK, TARBALL, prepare
from tempo_runtime.authoring import module_sources
from tempo_runtime.authoring.decorators import Pipeline, PipelineModels, describe
from tempo_runtime.errors import (
    ArtifactDamaged,
    ArtifactError,
    ArtifactIncompatible,
    ArtifactMissing,
)
from tempo_runtime.settings import PipelineSettings, check_children

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

PIPELINE = "pipeline.dill"
MODEL_SETTINGS = "model-settings.json"
EXAMPLE = "example.json"
CODE = "code"  # folder of the author's code
# Describing the others; edited by people and rewritten by platforms; recorded at any time.
_UNCHECKED = (MANIFEST, MODEL_SETTINGS, EXAMPLE)
_PARTS_OF_A_CLASS = 2  # its Pipeline and itself; an instance has a third
_loading = itertools.count()
logger = logging.getLogger(__name__)


def save(
    target: Any,
    folder: str | None = None,
    *,
    environment: str | None = "auto",
    sign: str | None = None,
) -> str:
    """Write a pipeline's artifact.

    Files that are already in the folder stay, and become part of it. A save that is interrupted
    leaves the old artifact whole.

    Args:
        target: A pipeline class, an instance of one, or a pipeline function. An instance is saved as
            it is, without what its load method made, because that runs again where it is loaded. A
            class is saved as a class; loading it makes an instance.
        folder: Where to; by default the pipeline's `local_folder`.
        environment: The Python environment that is packed into it. `"conda"`: what conda.yaml in
            the folder describes. `"venv"`: what requirements.txt there asks for, or, where there is
            none, the packages that the pipeline imports, in the versions of this process.
            `"auto"`: as the one of these files that is there says; none where there is neither.
            None: none.
        sign: File of an Ed25519 private key, in PEM, to sign it with.

    Returns:
        The folder.

    Raises:
        AuthoringError: If the target is not a pipeline, or a class that needs arguments.
        ArtifactError: If there is no folder, something cannot be carried in an artifact, or the key
            cannot be used.
        EnvironmentFailed: If the environment cannot be made.
    """
    return write(compose(target, folder), environment, sign)


@dataclass(frozen=True)
class PendingArtifact:
    """What `save` would write for a pipeline, without the environment.

    Attributes:
        pipeline: The pipeline.
        folder: Its artifact's folder.
        committed: The tempo.json that is there; of none, its `files` are empty.
        ours: Path -> content, of the pickle and the code that travels.
        sources: Path of that code -> file on this machine.
        modules: Names of all modules that it imports.
        children: The models it calls, as tempo.json has them.
        others: Path -> digest, of the files in the folder that `save` did not write.
        left: Files of the existing artifact that do not belong to this one.
        warnings: What may be missing where it runs.
    """

    pipeline: Pipeline
    folder: str
    committed: Mapping[str, Any]
    ours: Mapping[str, bytes]
    sources: Mapping[str, str]
    modules: set[str]
    children: Mapping[str, Any]
    others: Mapping[str, str]
    left: tuple[str, ...]
    warnings: list[str]

    @cached_property
    def source(self) -> str:
        """The digest of what it is made from: see `declaration.source`."""
        code = {path: atomic_files.sha256(content) for path, content in self.ours.items()}
        declared = declaration.declaration(self.pipeline, dict(self.children))
        return declaration.source(declared, self.ours[PIPELINE], code)

    def child_digests(self) -> Iterator[tuple[str, str]]:
        """Yield the alias and the digest of each child that has files on this machine.

        Raises:
            ArtifactError: If a file of a child cannot be read.
        """
        for alias, model in self.pipeline.declared.items():
            place = model.details.home
            if not place or not os.path.exists(place):
                continue
            if os.path.isfile(os.path.join(place, MANIFEST)):
                yield alias, trust.digest_of(read_manifest(place, to_run=False))
                continue
            try:
                digest = verification.digest_of_model(place)
            except OSError as error:
                raise ArtifactError(
                    f"pipeline {self.pipeline.details.name!r} cannot be saved: {error.filename} of its "
                    f"child {alias!r} cannot be read: {error.strerror}"
                ) from error
            if digest is not None:
                yield alias, digest

    @property
    def loses_state(self) -> bool:
        """Whether the artifact that is there holds an instance, and this is its class."""
        new = self.ours[PIPELINE]
        try:
            held = pickle_graph.parts(new)
            if held > _PARTS_OF_A_CLASS:
                return False
            old = atomic_files.read(self.folder, PIPELINE)
            if pickle_graph.parts(old) != held:
                return pickle_graph.parts(old) > held
            given = self.pipeline.arguments != ((), {})
            return not given and (pickle_graph.difference(old, new) or "").startswith("arguments")
        except (OSError, ArtifactDamaged):
            return False


def compose(target: Any, folder: str | None = None) -> PendingArtifact:
    """Make what `save` would write, and write nothing.

    Args:
        target: As `save` takes it.
        folder: Likewise.

    Raises:
        AuthoringError, ArtifactError: As `save` does.
    """
    pipeline = describe(target).held(target)
    folder = folder or pipeline.details.home
    if not folder:
        raise ArtifactError(
            f"{pipeline.details.name}: nowhere to save; give it a local_folder, or save a folder"
        )
    try:
        committed = read_manifest(folder, to_run=False)
    except ArtifactError:
        committed = {"files": {}}
    if os.path.isdir(folder):
        atomic_files.finish_interrupted(folder, committed["files"])
    try:
        folders = {alias: model.details.home for alias, model in pipeline.declared.items()}
        places = [folder, *filter(None, folders.values())]
        data, code = pickling.dump(state.contents(pipeline), places, _pickles(places))
        module_sources.check(
            {path: file for path, file in code.paths.items() if os.path.isfile(file)}
        )
    except ArtifactError as error:
        raise ArtifactError(
            f"pipeline {pipeline.details.name!r} cannot be saved: {error}"
        ) from error
    sources = {f"{CODE}/{path}": file for path, file in code.paths.items()}
    ours = {PIPELINE: data} | {f"{CODE}/{path}": text for path, text in code.files.items()}
    there = [path for path in atomic_files.walk(folder) if path not in (*_UNCHECKED, *ours)]
    left = tuple(path for path in there if _is_ours(path))
    others = {path: atomic_files.sha256_of(folder, path) for path in there if path not in left}
    children = declaration.children(pipeline, folder)
    for alias, place in folders.items():
        inside = (names for path, names in code.unpickled.items() if place and _is_in(path, place))
        if modules := set().union(*inside):
            children[alias]["modules"] = sorted(modules)
    return PendingArtifact(
        pipeline,
        folder,
        committed,
        ours,
        sources,
        code.names,
        children,
        others,
        left,
        code.warnings,
    )


def write(
    composed: PendingArtifact,
    environment: str | None,
    sign: str | None = None,
    demands: trust.TrustPolicy | None = None,
) -> str:
    """Write what was composed.

    Args:
        composed: What `compose` made.
        environment: As `save` takes it.
        sign: Likewise.
        demands: What the artifact has to show, or it is not written.

    Returns:
        The folder.

    Raises:
        ArtifactError, EnvironmentFailed: As `save` does.
        ArtifactUntrusted: If it does not show what is demanded.
    """
    pipeline, folder, ours = composed.pipeline, composed.folder, dict(composed.ours)
    os.makedirs(folder, exist_ok=True)
    prefix = f"{CODE}/"
    code = {p.removeprefix(prefix): len(ours[p]) for p in sorted(ours) if p.startswith(prefix)}
    logger.info("%s: your code: %s", pipeline.details.name, declaration.code(code))
    for warning in composed.warnings:
        logger.warning("pipeline %r: %s", pipeline.details.name, warning)
    if composed.loses_state:
        logger.warning(
            "pipeline %r: %s holds an instance, and saving its class over it drops the instance's state; "
            "save the instance to keep it",
            pipeline.details.name,
            folder,
        )
    packages, children = declaration.packages(composed.modules), dict(composed.children)
    packed = prepare(folder, environment, packages, children)
    if packed is not None:
        ours[LOCK] = packed.lock
    # What the save before packed, and this one does not.
    dropped = (TARBALL, LOCK) if packed is None and composed.committed.get("environment") else ()
    stale = [*composed.left, *(path for path in dropped if path in composed.others)]
    digests = {path: digest for path, digest in composed.others.items() if path not in stale}
    digests |= {path: atomic_files.sha256(content) for path, content in ours.items()}
    copied = {}
    if packed is not None and digests.get(TARBALL) != packed.digest:
        copied[TARBALL] = packed.tarball
        digests[TARBALL] = packed.digest
    for alias, digest in composed.child_digests():
        children[alias] = {**children[alias], trust.CHILD_DIGEST: digest}
    manifest = declaration.manifest(pipeline, packages, children, dict(sorted(digests.items())))
    manifest["source"] = composed.source
    if packed is not None:
        manifest["environment"] = packed.described
    if sign is not None:
        manifest = trust.signed(manifest, sign)
    if demands is not None:
        demands.check(folder, manifest)
    settings = declaration.model_settings(pipeline, _settings_of(folder), packed is not None)
    try:
        atomic_files.commit(folder, ours, _json(manifest), stale, copied)
        atomic_files.write(folder, MODEL_SETTINGS, _json(settings))
    except OSError as error:
        raise ArtifactError(
            f"{folder} cannot be written: {error.strerror}; what was saved there before is untouched"
        ) from error
    return folder


@overload
def load(folder: str, *, as_: type[T], verify: str | None = None) -> T: ...


@overload
def load(folder: str, *, as_: Pipeline[P, R], verify: str | None = None) -> Pipeline[P, R]: ...


@overload
def load(folder: str, *, verify: str | None = None) -> Any: ...


def load(folder: str, *, as_: Any = None, verify: str | None = None) -> Any:
    """Load a pipeline, to be called in this process.

    What `parameters.extra` of its model-settings.json says holds for its calls, as it would in a
    server; the environment wins.

    Args:
        folder: Its artifact.
        as_: The pipeline class, or the pipeline function, that is expected: an artifact of another one
            is refused, and type checkers know what is returned. The artifact brings its own code, so
            the class that it holds is another object, of the same module and name.
        verify: File of the Ed25519 public key, in PEM, that must match its signature.

    Returns:
        An instance of the pipeline class, or the pipeline function.

    Raises:
        ArtifactError: If there is none, if a file is not the one that was saved, if this Python cannot
            read it, or if it holds another pipeline than `as_`.
        ArtifactUntrusted: If it is not signed so, or not what the environment demands.
        SettingsError: If those settings name a child that it does not have.
    """
    demands = trust.TrustPolicy.of_environment()
    if verify is not None:
        demands = demands.and_(trust.TrustPolicy(keys=(verify,)))
    opened = verify_folder(folder, demands)
    pipeline, extra = unpickle(opened)
    if as_ is not None:
        _check_expected(pipeline, as_, folder)
    check_children(extra, [alias for alias, _ in pipeline.declared.items()])
    pipeline.extra = extra
    pipeline.demands = demands
    return pipeline.build(None, opened.folder)


def _check_expected(pipeline: Pipeline, expected: Any, folder: str) -> None:
    """Refuse a pipeline that is not of the class, or not the function, that is expected."""
    if isinstance(expected, Pipeline):
        expected = expected.target
    if any(
        _is_same(kind, expected) for kind in getattr(pipeline.target, "__mro__", [pipeline.target])
    ):
        return
    pipeline.release()
    raise ArtifactError(
        f"{folder} holds {_full_name(pipeline.target)}, not {_full_name(expected)}; load the folder that "
        "holds it, or leave out as_"
    )


def _is_same(held: Any, expected: Any) -> bool:
    """Compare by name: the code that an artifact brings is imported once more, as other objects."""
    modules = {importing.written_in(held), importing.written_in(expected)}
    # A script's own module is `__main__` where it was saved, and has another name where it is imported.
    same_module = len(modules) == 1 or "__main__" in modules
    return same_module and bool(held.__qualname__ == expected.__qualname__)


def _full_name(target: Any) -> str:
    return f"{importing.written_in(target)}.{target.__qualname__}"


@dataclass(frozen=True)
class OpenedArtifact:
    """An artifact whose files were checked.

    Attributes:
        folder: Where its files are to be read: its own folder, or a private copy of it.
        origin: Its own folder, where relative paths of children start.
        description: Its tempo.json.
        demands: The demands that it meets.
        contents: Path -> content, of the pickle and the author's code.
        copy: The object that keeps the private copy, if there is one.
        extra: `parameters.extra` of its model-settings.json, if that was checked as well.
    """

    folder: str
    origin: str
    description: dict[str, Any]
    demands: trust.TrustPolicy
    contents: Mapping[str, bytes]
    copy: PrivateCopy | None = None
    extra: dict[str, Any] | None = None


def verify_folder(
    folder: str, demands: trust.TrustPolicy | None = None, *, to_run: bool = True
) -> OpenedArtifact:
    """Check an artifact before using any of it. None of its code runs.

    Args:
        folder: Its folder, or a file in it.
        demands: The demands on it; None for the environment's.
        to_run: Whether this Python will run it; a Python that only copies it may be any version.

    Raises:
        ArtifactMissing, ArtifactDamaged, ArtifactIncompatible: As `read_manifest` does; and if a file is
            not the one that was saved.
        ArtifactUntrusted: If it does not meet the demands, or, if there are any, if a file or a
            setting that its description does not name could run or configure a server.
    """
    if os.path.isfile(folder):
        folder = os.path.dirname(folder)
    folder = os.path.abspath(folder)
    if demands is None:
        demands = trust.TrustPolicy.of_environment()
    manifest = read_manifest(folder, to_run=to_run)
    demands.check(folder, manifest)
    named, copy, extra = manifest["files"], None, None
    if demands:
        verification.refuse_unnamed(folder, manifest)
        if demands.is_external:
            extra = extra_of(folder)
            stated = PipelineSettings.read(extra, {}).models
            verification.refuse_unsigned_settings(folder, stated)
        copy = verification.copy_named(folder, named)
    elif os.path.isdir(os.path.join(folder, atomic_files.NEXT)):
        # After an interrupted save the valid file may be there, and another file in its place.
        copy = verification.copy_named(folder, named)
    place = folder if copy is None else copy.folder
    contents = dict(atomic_files.verified(place, named, _is_ours))
    if PIPELINE not in contents:
        raise ArtifactDamaged(f"{folder}: {MANIFEST} names no {PIPELINE}; save the pipeline again")
    return OpenedArtifact(place, folder, manifest, demands, contents, copy, extra)


def unpickle(opened: OpenedArtifact) -> tuple[Pipeline, dict[str, Any]]:
    """Read the pipeline of a checked artifact, without building it.

    Returns:
        The pipeline, and `parameters.extra` of its model-settings.json.

    Raises:
        ArtifactError: If this Python cannot read it.
    """
    folder, manifest, contents = opened.origin, opened.description, opened.contents
    _warn_of_versions(manifest)
    modules = _modules(opened)
    try:
        pipeline, target, *given = importing.load(contents[PIPELINE], modules)
        if not isinstance(pipeline, Pipeline):
            raise TypeError("it holds no pipeline")
    except Exception as error:
        modules.forget()
        raise ArtifactError(
            f"{folder}: {PIPELINE} cannot be read: {type(error).__name__}: {error}; is a package it "
            f"needs missing here? It was saved with {_listed(manifest['packages'])}"
        ) from error
    if target is not None:
        pipeline.target = target
        pipeline.saved = given[0] if given else None
    else:
        pipeline._loaded = False
        vars(vars(pipeline)["context"]).update(given[0] if given else {})
    pipeline.declared = _placed(pipeline.declared, opened, modules)
    pipeline.code, pipeline._release = modules, modules.forget
    # What was checked is not read again: the file may be another by now.
    return pipeline, extra_of(folder) if opened.extra is None else opened.extra


def code_sizes(folder: str, manifest: dict[str, Any]) -> dict[str, int]:
    """Return the path in `code` and the size of each file of the author's code in an artifact."""
    paths = [path for path in manifest["files"] if path.startswith(f"{CODE}/")]
    return {
        path.removeprefix(f"{CODE}/"): os.path.getsize(os.path.join(folder, path)) for path in paths
    }


def code_of(folder: str, demands: trust.TrustPolicy | None = None) -> importing.Modules:
    """Return an artifact's modules, for unpickling a model that uses them.

    Args:
        folder: The artifact.
        demands: The demands on it; None for the environment's.

    Raises:
        ArtifactError: As `load` does.
    """
    return _modules(verify_folder(folder, demands))


def _modules(opened: OpenedArtifact) -> importing.Modules:
    prefix = f"{CODE}/"
    sources = {
        path.removeprefix(prefix): content
        for path, content in opened.contents.items()
        if path.startswith(prefix)
    }
    place = os.path.join(opened.folder, CODE)
    modules = importing.Modules(str(next(_loading)), place, sources)
    modules.copy = opened.copy
    return modules


def inspect(folder: str, demands: trust.TrustPolicy | None = None) -> dict[str, Any]:
    """Check an artifact's files and return its tempo.json, without running any of its code.

    Args:
        folder: The artifact.
        demands: The demands on it and on its children on this machine; None for none.

    Returns:
        tempo.json, and beside it `digest`; `bytes`, the size of all files; `code`, the files of the
        author's code and their sizes; and `imports`, the names that its pickle would look up.

    Raises:
        ArtifactError: If it is not an artifact, or a file is not the one that was saved.
        ArtifactUntrusted: If it, or a child, does not meet the demands.
    """
    opened = verify_folder(folder, demands or trust.TrustPolicy())
    verify_children(opened)
    manifest = opened.description
    size = sum(os.path.getsize(os.path.join(opened.folder, path)) for path in manifest["files"])
    found = {
        "digest": trust.digest_of(manifest),
        "bytes": size,
        "code": code_sizes(opened.folder, manifest),
        "imports": pickle_imports.imports(opened.contents[PIPELINE]),
    }
    return {**manifest, **found}


def verify_children(opened: OpenedArtifact, entered: frozenset[str] = frozenset()) -> None:
    """Check an artifact's children on this machine, and their children in turn.

    Args:
        opened: The artifact. Without demands on it, nothing is checked.
        entered: Folders that were checked already.

    Raises:
        ArtifactError: As `verify_folder` does.
    """
    for child in opened.description["children"].values() if opened.demands else ():
        place = os.path.normpath(os.path.join(opened.origin, child.get("folder") or ""))
        if not child.get("folder") or not os.path.exists(place) or place in entered:
            continue
        demands = demands_of_child(opened, child)
        if os.path.isfile(os.path.join(place, MANIFEST)):
            verify_children(verify_folder(place, demands, to_run=False), entered | {place})
        else:
            verification.copy_model(place, demands)


def is_other_model(folder: str) -> bool:
    """Return whether a folder holds a model that MLServer serves, and that `save` did not write."""
    named, ours = (os.path.isfile(os.path.join(folder, f)) for f in (MODEL_SETTINGS, MANIFEST))
    return named and not ours


def read_manifest(folder: str, *, to_run: bool = True) -> dict[str, Any]:
    """Read tempo.json.

    Args:
        folder: The artifact.
        to_run: Whether this Python is to run it; one that only carries it may be any.

    Raises:
        ArtifactMissing: If there is none.
        ArtifactDamaged: If it is not what `save` writes.
        ArtifactIncompatible: If this version, or this Python, cannot read the artifact.
    """
    try:
        manifest = description.read(os.path.join(folder, MANIFEST))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactMissing(
            f"there is no artifact in {folder}: it has no {MANIFEST}; tempo_runtime.save writes one"
        ) from error
    python = ".".join(map(str, sys.version_info[:2]))
    if to_run and manifest.get("python") != python:
        raise ArtifactIncompatible(
            f"{folder} was saved by Python {manifest.get('python')}, and this is {python}: a pickle "
            "holds bytecode; save it again with this Python, or serve it with that one"
        )
    return manifest


def extra_of(folder: str) -> dict[str, Any]:
    """Return `parameters.extra` of an artifact's model-settings.json; empty if there is none.

    Raises:
        ArtifactDamaged: If it is damaged.
    """
    path = os.path.join(folder, MODEL_SETTINGS)
    try:
        found = json_files.read_object(path)
    except FileNotFoundError:
        return {}
    for name in ("parameters", "extra"):
        found = found.get(name) or {}
        if not isinstance(found, dict):
            raise ArtifactDamaged(f"{path}: `{name}` is not a JSON object; correct it")
    return found


# -- what is written -------------------------------------------------------------------------------


def _placed(
    declared: PipelineModels, opened: OpenedArtifact, modules: importing.Modules
) -> PipelineModels:
    """Return the models a pipeline calls, where tempo.json says they are."""
    placed = {}
    for alias, model in declared.items():
        child = opened.description["children"].get(alias, {})
        path = child.get("folder")
        placed[alias] = model.reference(
            os.path.normpath(os.path.join(opened.origin, path)) if path else None
        )
        placed[alias].demands = demands_of_child(opened, child)
        if child.get("modules"):
            placed[alias].code = modules
    return PipelineModels(**placed)


def demands_of_child(opened: OpenedArtifact, child: Mapping[str, Any]) -> trust.TrustPolicy:
    """Return the demands on a child of an artifact.

    The child's digest is in the artifact's tempo.json, or follows from the files named there if the child
    lies in the artifact's folder. Otherwise the child must meet the artifact's own demands.

    Args:
        opened: The artifact.
        child: The child's entry in its tempo.json.
    """
    path = os.path.normpath(child.get("folder") or "..")
    prefix = os.path.join(path, "")
    if not child.get(trust.CHILD_DIGEST) and opened.demands:
        named = opened.description["files"]
        inside = {
            each.removeprefix(prefix): digest
            for each, digest in named.items()
            if each.startswith(prefix)
        }
        if path in named:
            inside = {os.path.basename(path): named[path]}
        digest = trust.digest_of_files(inside) if inside else None
        if MANIFEST in inside:
            digest = trust.digest_of(read_manifest(os.path.join(opened.folder, path), to_run=False))
        child = {**child, trust.CHILD_DIGEST: digest}
    return opened.demands.of_child(opened.origin, child)


def _pickles(places: list[str]) -> dict[str, set[tuple[str, str]]]:
    """Return the names that pickles in the artifact's folder and its models' folders look up."""
    found = {}
    for place in places:
        if place != places[0] and os.path.isfile(os.path.join(place, MANIFEST)):
            continue  # a pipeline, whose code is in its own artifact
        for path in atomic_files.walk(place) if os.path.isdir(place) else [""]:
            whole = os.path.join(place, path) if path else place
            if (
                path != TARBALL
                and not _is_ours(path)
                and (names := pickle_imports.looked_up(whole))
            ):
                found[whole] = names
    return found


def _is_in(path: str, place: str) -> bool:
    inner, outer = os.path.abspath(path), os.path.abspath(place)
    return inner == outer or inner.startswith(os.path.join(outer, ""))


def _settings_of(folder: str) -> dict[str, Any]:
    try:
        return json_files.read_object(os.path.join(folder, MODEL_SETTINGS), "correct or remove it")
    except FileNotFoundError:
        return {}


def _is_ours(path: str) -> bool:
    """Return whether save made a file, and made it to be executed."""
    return path == PIPELINE or path.startswith(f"{CODE}/")


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


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
