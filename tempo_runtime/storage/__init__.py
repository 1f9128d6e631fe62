"""Artefacts in object stores: `upload` and `download`, by rclone.

Both ways the old artefact stays whole until the new one is there. What replaces a file is first put into
the folder `.tempo-next` beside it, which is also what a transfer that was cut goes on from. Then
tempo.json is replaced, and with it the set; then files are moved to their places (see `files`). A file is
removed only where the old tempo.json says that it was part of the artefact.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tempo_runtime import artifact, files
from tempo_runtime.errors import ArtifactError, ArtifactMissing, StorageError
from tempo_runtime.files import MANIFEST, NEXT
from tempo_runtime.storage.remotes import Entry, Remote, remote_of

_ARRIVING = ".tempo-download"  # in the folder: what a download has so far


@dataclass(frozen=True)
class Transfer:
    """What an upload or a download did.

    Attributes:
        folder: The folder on this machine.
        uri: The other one.
        sent: Files that were transferred; those that were there already were not.
        size: Their bytes.
        removed: Files that are no longer part of the artefact.
    """

    folder: str
    uri: str
    sent: tuple[str, ...]
    size: int
    removed: tuple[str, ...]


def upload(
    target: Any, folder: str | None = None, *, uri: str | None = None, secret: str | None = None
) -> Transfer:
    """Uploads a model's folder, or a pipeline's artefact, to its URI.

    An artefact is checked first: one that is damaged is not sent. Files that are there already are not
    sent again, and an upload that was cut goes on where it was.

    Args:
        target: A `Model`; a pipeline class, an instance of one, or a pipeline function; or a folder.
        folder: Its folder; by default the target's `local_folder`.
        uri: Where to; by default the target's `uri`, or the one in the folder's tempo.json.
        secret: `NAME` or `NAMESPACE/NAME` of a Kubernetes secret with `RCLONE_CONFIG_*` for rclone.

    Returns:
        What was done.

    Raises:
        ArtifactDamaged: If a file is not the one that was saved.
        StorageError: If it cannot be uploaded. What was at the URI is still whole.
    """
    folder, uri = _ends(target, folder, uri)
    with _told(folder):
        manifest = _manifest(folder)
        if manifest:
            files.finish_interrupted(folder, manifest["files"])
            _check(folder, manifest["files"])
        paths = sorted(files.walk(folder))
        if not paths:
            raise StorageError(f"there is nothing to upload in {folder}; save there first")
        uri = uri or manifest.get("uri")
        if not uri:
            raise StorageError(f"{folder}: nowhere to upload it to; give it a uri")
        remote = remote_of(uri, _secret(secret))
        if remote.name:
            return _send(folder, remote, paths)
        done = _fetch(remote_of(f"file://{os.path.abspath(folder)}"), remote.path)
        return replace(done, folder=folder, uri=uri)


def download(target: Any, folder: str | None = None, *, secret: str | None = None) -> Transfer:
    """Downloads a model's folder, or a pipeline's artefact, from its URI.

    An artefact's files are compared with its tempo.json, and nothing of it is run. Files that are here
    already are not fetched again, and a download that was cut goes on where it was.

    Args:
        target: A URI; or a `Model`, a pipeline class, an instance of one, or a pipeline function.
        folder: Where to; by default the target's `local_folder`.
        secret: `NAME` or `NAMESPACE/NAME` of a Kubernetes secret with `RCLONE_CONFIG_*` for rclone.

    Returns:
        What was done.

    Raises:
        StorageError: If it cannot be downloaded. What was in the folder is still whole.
    """
    if isinstance(target, str):
        uri: str | None = target
    else:
        folder, uri = _ends(target, folder, None)
    if not folder:
        raise StorageError(f"{uri}: nowhere to download it to; give it a folder")
    if not uri:
        raise StorageError(f"{folder}: nowhere to download it from; give it a uri")
    with _told(folder):
        return _fetch(remote_of(uri, _secret(secret)), folder)


# -- to a remote -----------------------------------------------------------------------------------


def _send(folder: str, remote: Remote, paths: list[str]) -> Transfer:
    there, beside = _parted(remote.entries(first=True))
    old = _parts_there(remote) if MANIFEST in there else set()
    kept = remote.same(there, folder)
    changed = [path for path in paths if path not in kept and path != MANIFEST]
    # A file that replaces none goes to its place at once: the old tempo.json does not name it.
    under = f"{NEXT}/" if any(path in there for path in changed) else ""
    staged = remote.same(beside, folder, under) if under else set()
    missing = [path for path in changed if path not in staged]
    if missing:
        _copy_to(remote, folder, missing, under)
        there, beside = _parted(remote.entries())
        _expect(missing, remote.same(beside if under else there, folder, under), remote)
    if MANIFEST in paths and MANIFEST not in kept:
        source = os.path.join(folder, MANIFEST)
        remote.run("copyto", source, remote.at(MANIFEST), "--ignore-times")
        missing.append(MANIFEST)
    if under:
        ends = remote.at(NEXT), remote.at()
        remote.on("move", changed, *ends, "--ignore-times")
    removed = sorted(old & there.keys() - set(paths))
    left = [f"{NEXT}/{path}" for path in beside if not under or path not in changed]
    if removed or left:
        remote.on("delete", [*removed, *left], remote.at())
    if missing or under or removed:
        there, _ = _parted(remote.entries())
        _expect(paths, remote.same(there, folder), remote)
    return Transfer(folder, remote.uri, tuple(missing), _size(folder, missing), tuple(removed))


def _copy_to(remote: Remote, folder: str, paths: list[str], under: str) -> None:
    from tempo_runtime.progress import shown

    with (
        tempfile.TemporaryDirectory() as tree,
        shown(f"To {remote.uri}", _size(folder, paths), size=True) as more,
    ):
        for path in paths:
            link = os.path.join(tree, under + path)
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(os.path.abspath(os.path.join(folder, path)), link)
        what = ("copy", "--copy-links", "--ignore-times", tree, remote.at())
        remote.run(*what, progress=more)


def _parts_there(remote: Remote) -> set[str]:
    """What the tempo.json at a remote says is part of the artefact there."""
    try:
        return _parts(json.loads(remote.run("cat", remote.at(MANIFEST))))
    except (ValueError, TypeError):
        return set()


# -- from a remote ---------------------------------------------------------------------------------


def _fetch(remote: Remote, folder: str) -> Transfer:
    there, beside = _parted(remote.entries(first=True))
    if not there:
        raise StorageError(
            f"there is nothing at {remote.uri}: no such bucket or folder, or it is empty; upload it "
            "first, or correct the uri"
        )
    stage = os.path.join(folder, _ARRIVING)
    kept = remote.same(there, folder)
    wanted = {path: entry for path, entry in there.items() if path not in kept}
    if MANIFEST in there:  # an upload that is not quite finished has files there
        wanted |= {f"{NEXT}/{path}": entry for path, entry in beside.items()}
    arrived = remote.same(wanted, stage)
    missing = {path: entry for path, entry in wanted.items() if path not in arrived}
    _copy_from(remote, folder, missing)
    _expect(missing, remote.same(missing, stage), remote)

    old = _manifest(folder)
    named: dict[str, str] = {}
    if MANIFEST in there:
        where = folder if MANIFEST in kept else stage
        named = artifact.read_manifest(where, to_run=False)["files"]
        files.finish_interrupted(stage, named)
    files.finish_interrupted(folder, old.get("files", {}))
    os.rename(stage, os.path.join(folder, NEXT))
    try:
        _check(folder, named)
    except ArtifactError as error:
        shutil.rmtree(os.path.join(folder, NEXT))
        raise StorageError(
            f"what is at {remote.uri} is no whole artefact ({error}); upload it again, or wait for the "
            "upload to end"
        ) from error
    new = {*there, *named}
    removed = sorted(_parts(old) & set(files.walk(folder)) - new)
    files.adopt(folder, new & set(files.walk(os.path.join(folder, NEXT))), removed)
    size = sum(entry.size for entry in missing.values())
    return Transfer(folder, remote.uri, tuple(missing), size, tuple(removed))


def _copy_from(remote: Remote, folder: str, missing: Mapping[str, Entry]) -> None:
    from tempo_runtime.progress import shown

    stage = os.path.join(folder, _ARRIVING)
    size = sum(entry.size for entry in missing.values())
    os.makedirs(stage, exist_ok=True)
    if not missing:
        return
    try:
        free = shutil.disk_usage(folder).free
        if size > free:
            raise StorageError(
                f"{remote.uri}: it needs {size:,} bytes, and {folder} has {free:,} left; "
                "make room, and do it again"
            )
        with shown(f"From {remote.uri}", size, size=True) as more:
            ends = remote.at(), stage
            remote.on("copy", missing, *ends, "--ignore-times", progress=more)
    except BaseException:
        for empty in (stage, folder):  # what has arrived stays, to go on from
            with contextlib.suppress(OSError):
                os.rmdir(empty)
        raise


# -- both ways -------------------------------------------------------------------------------------


def _ends(target: Any, folder: str | None, uri: str | None) -> tuple[str, str | None]:
    """The folder, and the URI if there is one yet."""
    if isinstance(target, (str, os.PathLike)):
        return folder or os.fspath(target), uri
    get_tempo = getattr(target, "get_tempo", None)
    if get_tempo is None:
        raise StorageError(f"{target!r:.80} is neither a Model, nor a pipeline, nor a folder")
    details = get_tempo().details
    folder = folder or details.local_folder
    if not folder:
        raise StorageError(f"{details.name}: it has no folder; give it a local_folder, or name one")
    return folder, uri or details.uri


def _manifest(folder: str) -> dict[str, Any]:
    """A folder's tempo.json; empty where there is none."""
    try:
        return artifact.read_manifest(folder, to_run=False)
    except ArtifactMissing:
        return {}


def _parts(manifest: Mapping[str, Any]) -> set[str]:
    """Files of an artefact, by its tempo.json."""
    named = manifest.get("files")
    if not isinstance(named, dict):
        return set()
    return {*named, artifact.MODEL_SETTINGS, MANIFEST}


def _check(folder: str, named: Mapping[str, str]) -> None:
    """Compares all files with the digests that tempo.json has."""
    for _ in files.verified(folder, named, lambda path: False):
        pass


def _parted(entries: Mapping[str, Entry]) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Files in their places, and those of a set that is on its way there."""
    prefix = f"{NEXT}/"
    beside = {
        path.removeprefix(prefix): entry
        for path, entry in entries.items()
        if path.startswith(prefix)
    }
    parts = entries, beside
    there, beside = ({p: entry for p, entry in part.items() if files.belongs(p)} for part in parts)
    return there, beside


def _expect(paths: Iterable[str], same: set[str], remote: Remote) -> None:
    """Refuses what did not arrive as it left."""
    wrong = sorted(set(paths) - same)
    if wrong:
        raise StorageError(
            f"{wrong[0]} is not the same here and at {remote.uri}; do it again, and let no one else "
            "change it meanwhile"
        )


def _secret(secret: str | None) -> dict[str, str]:
    if secret is None:
        return {}
    from tempo_runtime.storage.cluster import secret_settings

    return secret_settings(secret)


def _size(folder: str, paths: Iterable[str]) -> int:
    return sum(os.path.getsize(os.path.join(folder, path)) for path in paths)


@contextlib.contextmanager
def _told(folder: str) -> Iterator[None]:
    """A disk that does not do what it should is told in one line."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: {error.strerror}; nothing was replaced, make it usable and "
            "do it again"
        ) from error
