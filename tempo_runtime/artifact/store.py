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
and not that the person who saved it meant well; for that a process can demand a digest or a signature
(`trust`).
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ParamSpec, TypeVar, overload

from tempo_runtime import __version__
from tempo_runtime._util import atomic_files, html, json_files
from tempo_runtime._util.atomic_files import DESCRIPTION
from tempo_runtime._util.printable import size
from tempo_runtime._util.private_copies import PrivateCopy
from tempo_runtime.artifact import columns as named_columns
from tempo_runtime.artifact import (
    declaration,
    earlier,
    importing,
    pickle_graph,
    pickle_imports,
    pickling,
    saved,
    state,
    summary,
    trust,
    verification,
)
from tempo_runtime.artifact.description import (
    FORMAT_VERSION,
    ChildDescription,
    Description,
    PipelineDescription,
)
from tempo_runtime.artifact.environment import LOCK, TARBALL, prepare
from tempo_runtime.artifact.model_environment import save_model
from tempo_runtime.authoring import module_sources, tempo_names
from tempo_runtime.authoring.decorators import Model, Pipeline, PipelineModels, describe
from tempo_runtime.errors import (
    ArtifactDamaged,
    ArtifactError,
    ArtifactIncompatible,
    ArtifactMissing,
    AuthoringError,
)
from tempo_runtime.protocol import example_values, json_schema
from tempo_runtime.protocol.columns import Columns
from tempo_runtime.settings import PipelineSettings, check_children

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

PIPELINE = "pipeline.dill"
MODEL_SETTINGS = declaration.MODEL_SETTINGS
EXAMPLE = named_columns.EXAMPLE
CODE = "code"  # folder of the author's code
# Describing the others; edited by people and rewritten by platforms; recorded at any time.
_UNCHECKED = (DESCRIPTION, MODEL_SETTINGS, EXAMPLE)
_loading = itertools.count()
logger = logging.getLogger(__name__)


@tempo_names.without_tempos("save")
def save(
    target: Any,
    folder: str | None = None,
    *,
    environment: str | None = "auto",
    sign: str | None = None,
    columns: Mapping[str, Columns] | None = None,
) -> str:
    """Write a pipeline's artifact, or pack the environment of a `Model`.

    Files that are already in the folder stay, and become part of it. A save that is interrupted
    leaves the old artifact whole.

    Args:
        target: A pipeline class, an instance of one, or a pipeline function. An instance is saved as
            it is, without what its load method made, because that runs again where it is loaded. A
            class is saved as a class; loading it makes an instance.
        folder: Where to; by default the pipeline's `local_folder`. Without either, a new folder for
            temporary files, which stays when this process ends, and is its `local_folder` from then on.
        environment: The Python environment that is packed into it. `"conda"`: the one that conda.yaml
            in the folder describes. `"venv"`: the packages in requirements.txt there or, without that
            file, the packages that the pipeline imports, in the versions of this process. `"auto"`:
            by the file that is there, and no environment if there is neither. None: no environment.
        sign: File of an Ed25519 private key, in PEM, to sign it with.
        columns: Argument -> the names of its columns, where its annotation does not have them. By default
            those that the artifact in the folder was saved with stay; `{}` leaves them out.

    Returns:
        The folder. A notebook shows what was saved there.

    Raises:
        AuthoringError: If the target is not a pipeline, a class that needs arguments, or a `Model`
            without a folder; or if an argument does not exist, or cannot have the named columns.
        ArtifactError: If something cannot be carried in an artifact, or the key cannot be used.
        EnvironmentFailed: If the environment cannot be made.

    Example:
        >>> from tempo_runtime import model, save
        >>> @model("double")
        ... def double(value: int) -> int:
        ...     return 2 * value
        >>> save(double, "artifacts/double")
        'artifacts/double'
    """
    if isinstance(target, Model) and not isinstance(target, Pipeline):
        if sign is not None:
            raise AuthoringError(
                f"{target} is not a pipeline, so it cannot be signed; sign its pipeline"
            )
        if columns:
            raise AuthoringError(
                f"{target} is not a pipeline, so the columns of its arguments cannot be named"
            )
        return save_model(target, folder, environment)
    pipeline = describe(target)
    if folder or pipeline.details.home:
        return write(compose(target, folder), environment, sign, columns=columns)
    folder = tempfile.mkdtemp(prefix=f"{pipeline.details.name}-")
    try:
        write(compose(target, folder), environment, sign, columns=columns)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    pipeline.remember(folder)
    logger.warning(
        "pipeline %r has no local_folder, so it is saved in %s, which this machine may remove when it "
        "starts again; give it a local_folder to keep it",
        pipeline.details.name,
        folder,
    )
    return folder


@dataclass(frozen=True)
class PendingArtifact:
    """What `save` would write for a pipeline, without the environment.

    Attributes:
        pipeline: The pipeline.
        folder: Its artifact's folder.
        committed: The description that is there; None if it is missing or damaged.
        declared: The declaration of the pipeline, as tempo.json has it; without digests of its children.
        ours: Path -> content, of the pickle and the code that travels.
        sources: Path of that code -> file on this machine.
        modules: Names of all modules that it imports.
        others: Path -> digest, of the files in the folder that `save` did not write.
        left: Files of the existing artifact that do not belong to this one.
        warnings: What may be missing where it runs.
    """

    pipeline: Pipeline
    folder: str
    committed: Description | None
    declared: PipelineDescription
    ours: Mapping[str, bytes]
    sources: Mapping[str, str]
    modules: set[str]
    others: Mapping[str, str]
    left: tuple[str, ...]
    warnings: list[str]

    @cached_property
    def source(self) -> str:
        """The digest of what it is made from: see `declaration.source`."""
        code = {path: atomic_files.sha256(content) for path, content in self.ours.items()}
        return declaration.source(self.declared, self.ours[PIPELINE], code)

    def child_digests(self) -> Iterator[tuple[str, str]]:
        """Yield the alias and the digest of each child that has files on this machine.

        Raises:
            ArtifactError: If a file of a child cannot be read.
        """
        for alias, model in self.pipeline.declared.items():
            place = model.details.home
            if not place or not os.path.exists(place):
                continue
            if os.path.isfile(os.path.join(place, DESCRIPTION)):
                yield alias, read_description(place, to_run=False).digest
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
        try:
            if self.committed is None or pickle_graph.parts(self.ours[PIPELINE]) > 1:
                return False
            old = atomic_files.read(self.folder, PIPELINE)
            if self.committed.format_version < 2:
                return earlier.holds_state(old)
            return pickle_graph.parts(old) > 1
        except (OSError, ArtifactDamaged):
            return False


def compose(target: Any, folder: str | None = None) -> PendingArtifact:
    """Make what `save` would write, and write nothing.

    Args:
        target: As `save` takes it.
        folder: Its folder; by default the pipeline's `local_folder`, which it then must have.

    Raises:
        AuthoringError, ArtifactError: As `save` does.
    """
    pipeline = describe(target).held(target)
    folder = folder or pipeline.details.home
    assert folder
    committed = None
    with suppress(ArtifactError):  # one that is damaged is replaced
        committed = read_description(folder, to_run=False)
    if os.path.isdir(folder):
        atomic_files.finish_interrupted(folder, committed.files if committed else {})
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
    declared = declaration.describe(pipeline, folder)
    for alias, place in folders.items():
        inside = (names for path, names in code.unpickled.items() if place and _is_in(path, place))
        if modules := set().union(*inside):
            declared.children[alias] = declared.children[alias].model_copy(
                update={"modules": sorted(modules)}
            )
    return PendingArtifact(
        pipeline,
        folder,
        committed,
        declared,
        ours,
        sources,
        code.names,
        others,
        left,
        code.warnings,
    )


def write(
    composed: PendingArtifact,
    environment: str | None,
    sign: str | None = None,
    demands: trust.TrustPolicy | None = None,
    *,
    columns: Mapping[str, Columns] | None = None,
) -> str:
    """Write what was composed.

    Args:
        composed: What `compose` made.
        environment: As `save` takes it.
        sign: Likewise.
        demands: What the artifact has to show, or it is not written.
        columns: As `save` takes it.

    Returns:
        The folder.

    Raises:
        ArtifactError, AuthoringError, EnvironmentFailed: As `save` does.
        ArtifactUntrusted: If it does not show what is demanded.
    """
    pipeline, folder, ours = composed.pipeline, composed.folder, dict(composed.ours)
    named = named_columns.given_or_kept(columns, pipeline.signature, folder, composed.committed)
    signature = pipeline.signature.with_columns(named)
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
    packages, children = declaration.packages(composed.modules), dict(composed.declared.children)
    packed = prepare(folder, environment, packages, children)
    if packed is not None:
        ours[LOCK] = packed.lock
    # Files that the previous save packed, and this one does not.
    was_packed = composed.committed is not None and composed.committed.environment is not None
    dropped = (TARBALL, LOCK) if packed is None and was_packed else ()
    stale = [*composed.left, *(path for path in dropped if path in composed.others)]
    digests = {path: digest for path, digest in composed.others.items() if path not in stale}
    digests |= {path: atomic_files.sha256(content) for path, content in ours.items()}
    copied = {}
    if packed is not None and digests.get(TARBALL) != packed.digest:
        copied[TARBALL] = packed.tarball
        digests[TARBALL] = packed.digest
    for alias, digest in composed.child_digests():
        children[alias] = children[alias].model_copy(update={"digest": digest})
    content: dict[str, Any] = {
        **dict(composed.declared),
        "children": children,
        "format_version": FORMAT_VERSION,
        "tempo_runtime": __version__,
        "python": declaration.python(),
        "example": example_values.values(pipeline.signature),
        "schemas": json_schema.of(signature, pipeline.predict_of(None)),
        "packages": packages,
        "files": dict(sorted(digests.items())),
        "source": composed.source,
    }
    if packed is not None:
        content["environment"] = packed.described
    if named:
        content["columns"] = named_columns.described(named)
    description = Description(**content)
    if sign is not None:
        description = trust.signed(description, sign)
    if demands is not None:
        demands.check(folder, description)
    settings = declaration.model_settings(pipeline, _settings_of(folder), packed is not None)
    try:
        atomic_files.commit(folder, ours, _json(description.stored), stale, copied)
        atomic_files.write(folder, MODEL_SETTINGS, _json(settings))
    except OSError as error:
        raise ArtifactError(
            f"{folder} cannot be written: {error.strerror}; the artifact that was there is untouched"
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
        ArtifactError: If there is no artifact, if a file is not the one that was saved, if this Python
            cannot read it, or if it holds another pipeline than `as_`.
        ArtifactUntrusted: If it is not signed so, or not what the environment demands.
        SettingsError: If those settings name a child that it does not have.

    Example:
        >>> from tempo_runtime import load, model, save
        >>> @model("double")
        ... def double(value: int) -> int:
        ...     return 2 * value
        >>> loaded = load(save(double, "artifacts/double"), as_=double)
        >>> loaded(21)
        42
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
        folder: The folder to read its files from: its own, or a private copy of it.
        origin: Its own folder, where relative paths of children start.
        description: Its tempo.json.
        demands: The demands that it meets.
        contents: Path -> content, of the pickle and the author's code.
        copy: The object that keeps the private copy, if there is one.
        extra: `parameters.extra` of its model-settings.json, if that was checked as well.
    """

    folder: str
    origin: str
    description: Description
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
        ArtifactMissing, ArtifactDamaged, ArtifactIncompatible: As `read_description` does; and if a file
            is not the one that was saved.
        ArtifactUntrusted: If it does not meet the demands, or, if there are any, if a file or a
            setting that its description does not name could run or configure a server.
    """
    if os.path.isfile(folder):
        folder = os.path.dirname(folder)
    folder = os.path.abspath(folder)
    if demands is None:
        demands = trust.TrustPolicy.of_environment()
    description = read_description(folder, to_run=to_run)
    demands.check(folder, description)
    named, copy, extra = description.files, None, None
    if demands:
        verification.refuse_unnamed(folder, description)
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
        raise ArtifactDamaged(
            f"{folder}: {DESCRIPTION} names no {PIPELINE}; save the pipeline again"
        )
    return OpenedArtifact(place, folder, description, demands, contents, copy, extra)


def unpickle(opened: OpenedArtifact) -> tuple[Pipeline, dict[str, Any]]:
    """Read the pipeline of a checked artifact, without building it.

    Returns:
        The pipeline, and `parameters.extra` of its model-settings.json.

    Raises:
        ArtifactError: If this Python cannot read it.
    """
    folder, description, contents = opened.origin, opened.description, opened.contents
    _warn_of_versions(description)
    modules = _modules(opened)
    try:
        with saved.described(description):
            held = importing.load(contents[PIPELINE], modules)
        read = earlier.pipeline if description.format_version < 2 else declaration.held
        pipeline: Pipeline = read(held)
    except Exception as error:
        modules.forget()
        raise ArtifactError(
            f"{folder}: {PIPELINE} cannot be read: {type(error).__name__}: {error}; is a package it "
            f"needs missing here? It was saved with {_listed(description.packages)}"
        ) from error
    if description.format_version >= 2:
        if differences := declaration.differences(declaration.describe(pipeline), description):
            modules.forget()
            raise ArtifactError(
                f"{folder}: its code and its {DESCRIPTION} declare different things: "
                f"{', '.join(differences)}; if the code reads an environment variable there, set it as "
                "it was when the pipeline was saved, or save the pipeline again"
            )
        pipeline._details = replace(
            pipeline.details, uri=description.uri, description=description.description
        )
    pipeline.declared = _placed(pipeline.declared, opened, modules)
    pipeline.code, pipeline._release = modules, modules.forget
    # The checked bytes are used: the file may have changed since.
    return pipeline, extra_of(folder) if opened.extra is None else opened.extra


def code_sizes(folder: str, description: Description) -> dict[str, int]:
    """Return the path in `code` and the size of each file of the author's code in an artifact."""
    paths = [path for path in description.files if path.startswith(f"{CODE}/")]
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


@dataclass(frozen=True, repr=False)
class Inspected:
    """The content of an artifact, read without running any of it.

    Attributes:
        folder: Its folder.
        description: Its tempo.json.
        digest: Its digest.
        bytes: The size of all its files.
        code: Path -> size, of the files of the author's code.
        imports: Names that its pickle would look up.
    """

    folder: str
    description: Description
    digest: str
    bytes: int
    code: dict[str, int]
    imports: list[str]

    def rows(self) -> dict[str, str]:
        """Return its content for people: text by heading, which may be empty."""
        return summary.rows(self.description, self.code, self.imports, size(self.bytes))

    def __repr__(self) -> str:
        return f"<artifact {self.description.name!r} in {self.folder}, {self.digest}>"

    def _repr_html_(self) -> str:
        whole = html.paragraph("Every file is as it was saved.")
        return summary.picture(self.description.name, self.folder, self.rows(), whole)


def inspect(folder: str, *, verify: str | None = None) -> Inspected:
    """Read what is in an artifact and check its files, without running any of its code.

    A notebook shows the result as a table.

    Args:
        folder: The artifact.
        verify: File of the Ed25519 public key, in PEM, that must match its signature, and those of its
            children on this machine.

    Returns:
        What is in it.

    Raises:
        ArtifactError: If it is not an artifact, or a file is not the one that was saved.
        ArtifactUntrusted: If it, or a child, is not signed so.

    Example:
        >>> from tempo_runtime import inspect, model, save
        >>> @model("double")
        ... def double(value: int) -> int:
        ...     return 2 * value
        >>> inspect(save(double, "artifacts/double")).description.name
        'double'
    """
    demands = trust.TrustPolicy() if verify is None else trust.TrustPolicy(keys=(verify,))
    opened = verify_folder(folder, demands)
    verify_children(opened)
    description = opened.description
    return Inspected(
        folder,
        description,
        description.digest,
        sum(os.path.getsize(os.path.join(opened.folder, path)) for path in description.files),
        code_sizes(opened.folder, description),
        pickle_imports.imports(opened.contents[PIPELINE]),
    )


def verify_children(opened: OpenedArtifact, entered: frozenset[str] = frozenset()) -> None:
    """Check an artifact's children on this machine, and their children in turn.

    Args:
        opened: The artifact. Without demands on it, nothing is checked.
        entered: Folders that were checked already.

    Raises:
        ArtifactError: As `verify_folder` does.
    """
    for child in opened.description.children.values() if opened.demands else ():
        place = os.path.normpath(os.path.join(opened.origin, child.folder or ""))
        if not child.folder or not os.path.exists(place) or place in entered:
            continue
        demands = demands_of_child(opened, child)
        if os.path.isfile(os.path.join(place, DESCRIPTION)):
            verify_children(verify_folder(place, demands, to_run=False), entered | {place})
        else:
            verification.copy_model(place, demands)


def read_description(folder: str, *, to_run: bool = True) -> Description:
    """Read an artifact's tempo.json.

    Args:
        folder: The artifact.
        to_run: Whether this Python is to run it; one that only carries it may be any.

    Raises:
        ArtifactMissing: If there is no artifact.
        ArtifactDamaged: If it is not what `save` writes.
        ArtifactIncompatible: If this version, or this Python, cannot read the artifact.
    """
    try:
        description = Description.read(os.path.join(folder, DESCRIPTION))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactMissing(
            f"there is no artifact in {folder}: it has no {DESCRIPTION}; tempo_runtime.save writes one"
        ) from error
    if to_run and description.python != declaration.python():
        raise ArtifactIncompatible(
            f"{folder} was saved by Python {description.python}, and this is {declaration.python()}: a "
            "pickle holds bytecode; save it again with this Python, or serve it with that one"
        )
    return description


def extra_of(folder: str) -> dict[str, Any]:
    """Return `parameters.extra` of an artifact's model-settings.json; empty without that file.

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
        child = opened.description.children.get(alias)
        folder = child and child.folder
        placed[alias] = model.reference(
            os.path.normpath(os.path.join(opened.origin, folder)) if folder else None
        )
        placed[alias].demands = opened.demands
        if child is not None:
            placed[alias]._details = replace(placed[alias].details, uri=child.uri or "")
            placed[alias].demands = demands_of_child(opened, child)
            placed[alias].code = modules if child.modules else None
    return PipelineModels(**placed)


def demands_of_child(opened: OpenedArtifact, child: ChildDescription) -> trust.TrustPolicy:
    """Return the demands on a child of an artifact.

    The child's digest is in the artifact's tempo.json, or follows from the files named there if the child
    lies in the artifact's folder. Otherwise the child must meet the artifact's own demands.

    Args:
        opened: The artifact.
        child: The child in its description.
    """
    digest = child.digest
    if not digest and opened.demands:
        digest = _digest_inside(opened, os.path.normpath(child.folder or ".."))
    return opened.demands.of_child(opened.origin, digest)


def _digest_inside(opened: OpenedArtifact, path: str) -> str | None:
    """Return the digest of a child in the artifact's own folder, if its files are named there."""
    named, prefix = opened.description.files, os.path.join(path, "")
    if path in named:
        return trust.digest_of_files({os.path.basename(path): named[path]})
    inside = {
        file.removeprefix(prefix): digest
        for file, digest in named.items()
        if file.startswith(prefix)
    }
    if DESCRIPTION in inside:
        return read_description(os.path.join(opened.folder, path), to_run=False).digest
    return trust.digest_of_files(inside) if inside else None


def _pickles(places: list[str]) -> dict[str, set[tuple[str, str]]]:
    """Return the names that pickles in the artifact's folder and its models' folders look up."""
    found = {}
    for place in places:
        if place != places[0] and os.path.isfile(os.path.join(place, DESCRIPTION)):
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


def _warn_of_versions(description: Description) -> None:
    other = {}
    for name, version in description.packages.items():
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            here = "nothing"
        if here != version:
            other[name] = f"{version} (here {here})"
    if other:
        logger.warning("%r was saved with %s", description.name, _listed(other))


def _listed(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items()) or "no packages"
