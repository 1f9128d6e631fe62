"""Whether an artefact is still what its pipeline would be saved as.

What is deployed is an artefact, and what was tried is an object. Before an object is deployed, it is
composed as `save` does it and compared with its artefact: the author's modules, code that is saved by
value, state, what was declared, and the files in its folder. A folder is what it is, and so is an object
that was loaded from one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, get_args

from tempo_runtime import artifact, describing, files, picklegraph, trust
from tempo_runtime.artifact import Composed
from tempo_runtime.errors import ArtifactDamaged, ArtifactError, ArtifactUntrusted, SettingsError
from tempo_runtime.models import Pipeline
from tempo_runtime.settings import PipelineSettings

Stale = Literal["save", "refuse"]
_REQUIREMENTS = ("conda.yaml", "requirements.txt")
# What a Pipeline's state calls them.
_WORDS = {"arguments": "the arguments of its constructor"}
logger = logging.getLogger(__name__)


def ensure(model: Any, stale: Stale = "save", environ: Mapping[str, str] = os.environ) -> None:
    """Has a pipeline's artefact, and those of the pipelines it calls, be what they are in memory.

    Where there is no artefact yet, whatever opens it says so.

    Args:
        model: A pipeline class, an instance of one, a pipeline function, or anything else, which is
            left as it is.
        stale: What is done with an artefact whose pipeline has changed since: `save` it anew, or
            `refuse` it.
        environ: The environment, which says where children are and what is demanded of an artefact.

    Raises:
        ArtifactError: If it is refused, with what has changed; or cannot be saved anew.
        SettingsError: If `stale` is something else.
    """
    if stale not in get_args(Stale):
        raise SettingsError(f"stale is {stale!r}; it is 'save' or 'refuse'")
    for pipeline in _pipelines(model, environ, set()):
        composed = _composed(pipeline)
        reasons = changes(composed)
        if not reasons:
            continue
        folder = min(composed.folder, os.path.relpath(composed.folder), key=len)
        told = f"{', '.join(reasons)} changed since {folder} was saved"
        if stale == "refuse":
            raise ArtifactError(f"{told}; save it again, or deploy the folder as it is")
        _save(composed, told, environ)
        logger.warning("%s; saved it anew", told)


def changes(composed: Composed) -> list[str]:
    """What differs between an artefact and what would be saved now, in words; nothing if it is the same."""
    old = composed.committed
    reasons = list(_changed_files(composed))
    declared = describing.declaration(composed.pipeline, dict(composed.children))
    reasons += [f"its {part}" for part in describing.DECLARED if old.get(part) != declared[part]]
    if old.get("python") != describing.python():
        reasons.append("Python")
    if not reasons and _source(composed) == composed.source:
        return []
    try:
        pickle = files.read(composed.folder, artifact.PIPELINE)
        name = picklegraph.difference(pickle, composed.ours[artifact.PIPELINE])
    except (OSError, ArtifactDamaged):
        name = artifact.PIPELINE
    if name is not None:
        top, _, rest = name.partition(".")
        reasons.append(_WORDS.get(top, name) if name else "its state")
    return reasons


def _pipelines(model: Any, environ: Mapping[str, str], entered: set[str]) -> Iterator[Any]:
    """Pipelines of this process that are deployed from their folders, children first."""
    get_tempo = getattr(model, "get_tempo", None)
    pipeline = get_tempo() if get_tempo is not None else None
    if not isinstance(pipeline, Pipeline) or pipeline.is_loaded:
        return
    folder = pipeline.details.local_folder
    if not folder or not os.path.isfile(os.path.join(folder, files.MANIFEST)):
        return
    if os.path.realpath(folder) in entered:
        return
    entered.add(os.path.realpath(folder))
    settings = PipelineSettings.read(artifact.extra_of(folder), environ)
    for alias, child in pipeline.declared.items():
        placed = settings.child(alias)
        if not placed.uri and (placed.transport == "in_process" or not placed.url):
            yield from _pipelines(child, environ, entered)
    yield model


def _composed(pipeline: Any) -> Composed:
    folder = pipeline.get_tempo().details.local_folder
    try:
        return artifact.compose(pipeline)
    except ArtifactError as error:
        raise ArtifactError(
            f"{error}. Whether {folder} is still what it would be saved as cannot be told: deploy that "
            "folder to have it as it is"
        ) from error


def _source(composed: Composed) -> str | None:
    """The digest of what the artefact in the folder was saved from; None if it cannot be told."""
    old = composed.committed
    if "source" in old:
        return str(old["source"])
    with suppress(OSError, ArtifactDamaged):  # saved before this was recorded
        pickle = files.read(composed.folder, artifact.PIPELINE)
        return describing.source(old, pickle, old["files"])
    return None


def _changed_files(composed: Composed) -> Iterator[str]:
    """Files that are new, gone or changed; of the code that travels, as their author knows them."""
    old, folder = composed.committed["files"], composed.folder
    new = {path: files.sha256(content) for path, content in composed.ours.items()}
    new |= composed.others
    for path in sorted({*old, *new}):
        if path == artifact.PIPELINE:
            continue
        if path in composed.sources and old.get(path) == new[path]:
            # What is in the artefact may have been damaged since.
            with suppress(FileNotFoundError):
                if files.sha256_of(folder, path) == old[path]:
                    continue
        if old.get(path) != new.get(path) or path in composed.sources:
            place = composed.sources.get(path) or path.removeprefix(f"{artifact.CODE}/")
            yield min(place, os.path.relpath(place), key=len) if os.path.isabs(place) else place


def _save(composed: Composed, told: str, environ: Mapping[str, str]) -> None:
    if trust.is_signed(composed.committed):
        raise ArtifactError(
            f"{told}; it is signed, and only its key signs another: save(..., sign=KEY), or deploy the "
            "folder as it is"
        )
    demands = trust.Demands.of_environment(environ)
    try:
        artifact.write(composed, _environment(composed), demands=demands)
    except ArtifactUntrusted as error:
        raise ArtifactUntrusted(f"{told}, and it is not saved anew: {error}") from error


def _environment(composed: Composed) -> str | None:
    """How the artefact's environment was made; None where there was to be none."""
    packed = composed.committed.get("environment")
    if packed:
        return str(packed["maker"])
    # With its requirements it was saved without an environment: so its author wanted it.
    return None if any(name in composed.committed["files"] for name in _REQUIREMENTS) else "auto"
