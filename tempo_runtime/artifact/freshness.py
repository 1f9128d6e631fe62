"""Whether an artifact is still what its pipeline would be saved as.

Servers run an artifact, but the author tried an object. Before an object is deployed, it is composed as
`save` does and compared with its artifact: the author's modules, code that is saved by value, state, the
declaration, and the files in its folder. A folder, or an object that was loaded from one, is used as it
is.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, get_args

from tempo_runtime._util import atomic_files
from tempo_runtime.artifact import declaration, pickle_graph, store, trust
from tempo_runtime.artifact.description import (
    FORMAT_VERSION,
    Description,
    PipelineDescription,
)
from tempo_runtime.artifact.store import PendingArtifact
from tempo_runtime.authoring.models import Pipeline
from tempo_runtime.errors import (
    ArtifactDamaged,
    ArtifactError,
    ArtifactUntrusted,
    AuthoringError,
    SettingsError,
)
from tempo_runtime.settings import PipelineSettings

Stale = Literal["save", "refuse"]
_OF_DECLARATION = {"declared_types", "declaration"}  # in a pickle; see `saved`
_REQUIREMENTS = ("conda.yaml", "requirements.txt")
logger = logging.getLogger(__name__)


def ensure(model: Any, stale: Stale = "save", environ: Mapping[str, str] = os.environ) -> None:
    """Bring a pipeline's artifact, and those of the pipelines it calls, up to date with memory.

    Where there is no artifact yet, whatever opens it says so.

    Args:
        model: A pipeline class, an instance of one, a pipeline function, or anything else, which is
            left as it is.
        stale: What to do with an artifact whose pipeline has changed since: `save` it again, or
            `refuse` it.
        environ: The environment, which says where children are and what is demanded of an artifact.

    Raises:
        ArtifactError: If it is refused, with what has changed; or cannot be saved again.
        SettingsError: If `stale` is something else.
    """
    if stale not in get_args(Stale):
        raise SettingsError(f"stale is {stale!r}; it must be 'save' or 'refuse'")
    found = _stale(model, environ)
    if stale == "refuse" and found:
        every = "; ".join(told for _, told in found)
        raise ArtifactError(f"{every}: save it again, or give the folder to use it as it is")
    for composed, told in found:
        _save(composed, told, environ)
        logger.warning("%s; saved it again", told)


def sources(model: Any, environ: Mapping[str, str] = os.environ) -> list[str]:
    """List the author's files that a pipeline and the pipelines it calls are made from.

    Args:
        model: As `ensure` takes it.
        environ: The environment, which says where children are.
    """
    files: set[str] = set()
    for pipeline in _pipelines(model, environ, set()):
        try:
            files.update(_composed(pipeline).sources.values())
        except AuthoringError:
            if pipeline is model:
                raise
            continue  # as in `_stale`
    return sorted(files)


def check_uploaded(model: Any) -> None:
    """Refuse a pipeline whose artifact is stale: what was uploaded is stale as well.

    Args:
        model: As `ensure` takes it.

    Raises:
        ArtifactError: With what has changed.
    """
    if found := _stale(model, {}):
        every = "; ".join(told for _, told in found)
        commands = " and ".join(_uploading(composed.pipeline) for composed, _ in found)
        raise ArtifactError(
            f"{every}, so the uploaded artifact is out of date: do {commands} first, which saves it "
            "again, or give the folder to use it as it is"
        )


def _stale(model: Any, environ: Mapping[str, str]) -> list[tuple[PendingArtifact, str]]:
    """List the pipelines whose artifacts are stale, each with the changes; children first."""
    found = []
    for pipeline in _pipelines(model, environ, set()):
        try:
            composed = _composed(pipeline)
        except AuthoringError:
            if pipeline is model:
                raise
            continue  # a class that needs arguments: its artifact is that of an instance
        reasons = changes(composed)
        if reasons:
            folder = min(composed.folder, os.path.relpath(composed.folder), key=len)
            found.append((composed, f"{', '.join(reasons)} changed since {folder} was saved"))
    return found


def _uploading(pipeline: Pipeline) -> str:
    """Return the command or the call that uploads a pipeline."""
    code = inspect.unwrap(pipeline.target)
    module, name = code.__module__, code.__qualname__
    if module == "__main__" or "." in name:
        return f"upload({name.rpartition('.')[2]})"
    return f"`tempo-runtime upload {module}:{name}`"


def changes(composed: PendingArtifact) -> list[str]:
    """List in words how an artifact differs from what would be saved now; empty if it does not."""
    old = composed.committed
    if old is None:
        return [atomic_files.DESCRIPTION]
    reasons = list(_changed_files(composed, old))
    if old.format_version < FORMAT_VERSION:
        return [*reasons, "the format of artifacts"]
    declared = composed.declared
    parts = [
        f"the {part}"
        for part in declaration.DECLARED
        if part != "constructor" and _part(old, part) != _part(declared, part)
    ]
    reasons += parts
    if old.signed:  # its signature covers the models that it calls
        reasons += _changed_children(composed, old)
    if old.python != declaration.python():
        reasons.append("Python")
    if not reasons and _source(composed, old) == composed.source:
        return []
    try:
        pickle = atomic_files.read(composed.folder, store.PIPELINE)
        name = pickle_graph.difference(pickle, composed.ours[store.PIPELINE])
    except (OSError, ArtifactDamaged):
        name = store.PIPELINE
    if name is None:
        return reasons
    if not _OF_DECLARATION.isdisjoint(name.split(".")):
        return reasons if parts else [*reasons, "the declaration"]
    return [*reasons, name or "the instance's state"]


def _pipelines(model: Any, environ: Mapping[str, str], entered: set[str]) -> Iterator[Any]:
    """Yield this process's pipelines that are deployed from their folders, children first."""
    get_tempo = getattr(model, "get_tempo", None)
    pipeline = get_tempo() if get_tempo is not None else None
    if not isinstance(pipeline, Pipeline) or pipeline.is_loaded:
        return
    folder = pipeline.details.local_folder
    if not folder or not os.path.isfile(os.path.join(folder, atomic_files.DESCRIPTION)):
        return
    if os.path.realpath(folder) in entered:
        return
    entered.add(os.path.realpath(folder))
    settings = PipelineSettings.read(store.extra_of(folder), environ)
    for alias, child in pipeline.declared.items():
        placed = settings.child(alias)
        if not placed.uri and (placed.transport == "in_process" or not placed.url):
            yield from _pipelines(child, environ, entered)
    yield model


def _composed(pipeline: Any) -> PendingArtifact:
    folder = pipeline.get_tempo().details.local_folder
    try:
        return store.compose(pipeline)
    except ArtifactError as error:
        raise ArtifactError(
            f"{error}. So it cannot be compared with {folder}: deploy that folder to use the "
            "artifact as it is"
        ) from error


def _source(composed: PendingArtifact, old: Description) -> str | None:
    """Return the digest of the source that an artifact was saved from; None if unknown."""
    if old.source is not None:
        return old.source
    with suppress(OSError, ArtifactDamaged):  # saved before this was recorded
        pickle = atomic_files.read(composed.folder, store.PIPELINE)
        return declaration.source(old, pickle, old.files)
    return None


def _changed_files(composed: PendingArtifact, description: Description) -> Iterator[str]:
    """Yield files that are new, gone or changed; files of code by their path on this machine."""
    old, folder = description.files, composed.folder
    new = {path: atomic_files.sha256(content) for path, content in composed.ours.items()}
    new |= composed.others
    for path in sorted({*old, *new}):
        # Of the pickle the content counts, which is compared apart from this.
        same = path == store.PIPELINE or old.get(path) == new.get(path)
        if same and (path not in composed.ours or _is_whole(folder, path, old.get(path))):
            continue
        place = composed.sources.get(path) or path.removeprefix(f"{store.CODE}/")
        yield min(place, os.path.relpath(place), key=len) if os.path.isabs(place) else place


def _part(declared: PipelineDescription, part: str) -> Any:
    """Return a part of the author's declaration, without the digests of children."""
    return declared.model_dump(include={part}, exclude={"children": {"__all__": {"digest"}}})


def _changed_children(composed: PendingArtifact, old: Description) -> Iterator[str]:
    """Yield the children whose files have changed since the artifact was saved."""
    for alias, digest in composed.child_digests():
        known = old.children.get(alias)
        if known is None or known.digest != digest:
            yield f"the child {alias!r}"


def _is_whole(folder: str, path: str, digest: str | None) -> bool:
    """Tell whether a file of the artifact is still the one that was saved."""
    with suppress(OSError):
        return atomic_files.sha256_of(folder, path) == digest
    return False


def _save(composed: PendingArtifact, told: str, environ: Mapping[str, str]) -> None:
    old = composed.committed
    if old is not None and old.signed:
        raise ArtifactError(
            f"{told}; the artifact is signed, and saving it again needs the key: save(..., sign=KEY), or "
            "deploy the folder as it is"
        )
    if composed.loses_state:
        name = composed.pipeline.details.name
        raise ArtifactError(
            f"{told}: an instance was saved there, and its state would be lost, because the class of "
            f"{name!r} was given; give the instance, give the folder to use it as it is, or save the "
            "class over it"
        )
    demands = trust.TrustPolicy.of_environment({**os.environ, **environ})
    environment = _environment(composed)
    if demands:
        # Anybody who can write to the folder can add requirements, and installing packages runs code.
        if (old is not None and old.environment) or _has_requirements(composed):
            raise ArtifactUntrusted(
                f"{told}, but it is not saved again: that would install packages that files in its "
                "folder name, before anything is checked; save it yourself, or deploy the folder as it is"
            )
        environment = None
    try:
        store.write(composed, environment, demands=demands)
    except ArtifactUntrusted as error:
        raise ArtifactUntrusted(f"{told}, but it is not saved again: {error}") from error


def _environment(composed: PendingArtifact) -> str | None:
    """Return how the artifact's environment was made; None if it should have none."""
    old = composed.committed
    packed = None if old is None else old.environment
    if packed is not None and not _has_requirements(composed):
        return packed.maker  # asked for by name: nothing in the folder says so
    # With its requirements it was saved without an environment: so its author wanted it.
    left_out = not packed and old is not None and not old.files.keys().isdisjoint(_REQUIREMENTS)
    return None if left_out else "auto"


def _has_requirements(composed: PendingArtifact) -> bool:
    return not composed.others.keys().isdisjoint(_REQUIREMENTS)
