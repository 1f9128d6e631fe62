"""Transfer files from a folder on this machine to a remote."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Mapping

from tempo_runtime._util.atomic_files import DESCRIPTION, NEXT, belongs
from tempo_runtime.artifact.description import Description
from tempo_runtime.errors import ArtifactError, StorageError
from tempo_runtime.storage.remotes import Entry, Remote
from tempo_runtime.storage.transfer import Transfer, expect, parted, parts


def send(folder: str, remote: Remote, paths: list[str]) -> Transfer:
    """Give a remote these files of a folder, tempo.json after all other new files.

    Args:
        folder: The folder.
        remote: The destination.
        paths: Its files.

    Raises:
        StorageError: If that fails.
    """
    there, beside = parted(remote.entries(first=True))
    old = description_at(remote) if DESCRIPTION in there else None
    if old is not None and beside:
        _finish_interrupted(remote, old, beside, folder)
        there, beside = parted(remote.entries())
    kept = remote.same(there, folder)
    changed = [path for path in paths if path not in kept and path != DESCRIPTION]
    # New files go directly to their places, because the old tempo.json does not name them.
    under = f"{NEXT}/" if any(path in there for path in changed) else ""
    staged = remote.same(beside, folder, under) if under else set()
    missing = [path for path in changed if path not in staged]
    if missing:
        _copy_to(remote, folder, missing, under)
        there, beside = parted(remote.entries())
        expect(missing, remote.same(beside if under else there, folder, under), remote)
    if DESCRIPTION in paths and DESCRIPTION not in kept:
        source = os.path.join(folder, DESCRIPTION)
        remote.run("copyto", source, remote.at(DESCRIPTION), "--ignore-times")
        missing.append(DESCRIPTION)
    if under:
        ends = remote.at(NEXT), remote.at()
        remote.on("move", changed, *ends, "--ignore-times")
    removed = sorted(parts(old) & there.keys() - set(paths))
    left = [f"{NEXT}/{path}" for path in beside if not under or path not in changed]
    if removed or left:
        remote.on("delete", [*removed, *left], remote.at())
    if missing or under or removed:
        there, _ = parted(remote.entries())
        expect(paths, remote.same(there, folder), remote)
    return Transfer(folder, remote.uri, tuple(missing), _size(folder, missing), tuple(removed))


def check_links(folder: str) -> None:
    """Refuse links that are broken or lead to folders or out of the folder: only its files are sent.

    Args:
        folder: The folder.

    Raises:
        StorageError: If there is such a link.
    """
    root = os.path.realpath(folder)
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if belongs(name)]
        for name in (*folders, *filter(belongs, names)):
            path = os.path.join(place, name)
            if not os.path.islink(path):
                continue
            end = os.path.realpath(path)
            why = ""
            if os.path.commonpath((root, end)) != root:
                why = "which is not in the folder"
            elif not os.path.isfile(end):
                why = "which is a folder" if os.path.isdir(end) else "which does not exist"
            if why:
                raise StorageError(
                    f"{path} is a link to {end}, {why}; replace the link with a copy, or remove it"
                )


def description_at(remote: Remote) -> Description | None:
    """Return the tempo.json at a remote; None if there is no valid one.

    Args:
        remote: The possible location of an artifact.

    Raises:
        StorageError: If it cannot be read.
    """
    content = remote.run("cat", remote.at(DESCRIPTION))
    with contextlib.suppress(ArtifactError):
        return Description.parse(content, remote.uri)
    return None


def _copy_to(remote: Remote, folder: str, paths: list[str], under: str) -> None:
    from tempo_runtime._util.progress import shown

    with (
        tempfile.TemporaryDirectory() as tree,
        shown(f"Uploading to {remote.uri}", _size(folder, paths), size=True) as more,
    ):
        for path in paths:
            link = os.path.join(tree, under + path)
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(os.path.abspath(os.path.join(folder, path)), link)
        what = ("copy", "--copy-links", "--ignore-times", tree, remote.at())
        remote.run(*what, progress=more)


def _finish_interrupted(
    remote: Remote, old: Description, beside: Mapping[str, Entry], folder: str
) -> None:
    """Move the files of an interrupted upload to their places, if the tempo.json there names them.

    They are part of that artifact, and the files that are sent now would overwrite them.
    """
    # Sent by the interrupted upload that this one resumes.
    known = remote.same(beside, folder, f"{NEXT}/")
    doubtful = {f"{NEXT}/{path}": path for path in beside if path in old.files.keys() - known}
    digests = remote.read_digests(doubtful, "sha256")
    valid = [doubtful[at] for at in digests if digests[at] == old.files[doubtful[at]]]
    if valid:
        remote.on("move", valid, remote.at(NEXT), remote.at(), "--ignore-times")


def _size(folder: str, paths: Iterable[str]) -> int:
    return sum(os.path.getsize(os.path.join(folder, path)) for path in paths)
