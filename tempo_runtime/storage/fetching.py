"""Transfer files from a remote to a folder on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping

from tempo_runtime._util import atomic_files
from tempo_runtime._util.atomic_files import DESCRIPTION, NEXT
from tempo_runtime.artifact import store
from tempo_runtime.errors import ArtifactError, ArtifactMissing, ArtifactUntrusted, StorageError
from tempo_runtime.storage.remotes import Entry, Remote
from tempo_runtime.storage.transfer import Transfer, check, expect, parted, parts

_ARRIVING = ".tempo-download"  # in the folder, for the files that have arrived so far


def fetch(remote: Remote, folder: str, digest: str | None = None) -> Transfer:
    """Give a folder the files of a remote, all at the same time.

    Args:
        remote: The source.
        folder: The folder, which need not exist.
        digest: The digest that the artifact must have; None for any.

    Raises:
        StorageError: If that fails.
    """
    there, beside = parted(remote.entries(first=True))
    if not there:
        raise StorageError(
            f"there is nothing at {remote.uri}: no such bucket or folder, or it is empty; upload it "
            "first, or correct the uri"
        )
    old = None
    with contextlib.suppress(ArtifactError):  # a damaged artifact is also replaced
        old = store.read_description(folder, to_run=False)
    atomic_files.finish_interrupted(folder, old.files if old else {})
    stage = os.path.join(folder, _ARRIVING)
    kept = remote.same(there, folder)
    wanted = {path: entry for path, entry in there.items() if path not in kept}
    if DESCRIPTION in there:  # an upload that has not quite finished has files there
        wanted |= {f"{NEXT}/{path}": entry for path, entry in beside.items()}
    arrived = remote.same(wanted, stage)
    missing = {path: entry for path, entry in wanted.items() if path not in arrived}
    _copy_from(remote, folder, missing)
    expect(missing, remote.same(missing, stage), remote)
    named: dict[str, str] = {}
    with _whole(remote, stage):
        if digest is not None and DESCRIPTION not in there:
            raise ArtifactMissing(f"its URI has a digest, but it has no {DESCRIPTION}")
        if DESCRIPTION in there:
            where = folder if DESCRIPTION in kept else stage
            description = store.read_description(where, to_run=False)
            named = description.files
            if digest not in (None, description.digest):
                raise ArtifactUntrusted(
                    f"it has the digest {description.digest}, not the one in its URI"
                )
            atomic_files.finish_interrupted(stage, named)
    final = os.path.join(folder, NEXT)
    os.rename(stage, final)
    with _whole(remote, final):
        check(folder, named)
    new = {*there, *named}
    removed = sorted(parts(old) & set(atomic_files.walk(folder)) - new)
    atomic_files.adopt(folder, new & set(atomic_files.walk(final)), removed)
    size = sum(entry.size for entry in missing.values())
    return Transfer(folder, remote.uri, tuple(missing), size, tuple(removed))


def _copy_from(remote: Remote, folder: str, missing: Mapping[str, Entry]) -> None:
    from tempo_runtime._util.progress import shown

    stage = os.path.join(folder, _ARRIVING)
    size = sum(entry.size for entry in missing.values())
    os.makedirs(stage, exist_ok=True)
    if not missing:
        return
    try:
        free = shutil.disk_usage(folder).free
        if size > free:
            raise StorageError(
                f"{remote.uri}: it needs {size:,} bytes, but {folder} has {free:,} left; "
                "make room, and try again"
            )
        with shown(f"Downloading {remote.uri}", size, size=True) as more:
            ends = remote.at(), stage
            remote.on("copy", missing, *ends, "--ignore-times", progress=more)
    except BaseException:
        for empty in (
            stage,
            folder,
        ):  # files that have arrived stay, so that the download can resume
            with contextlib.suppress(OSError):
                os.rmdir(empty)
        raise


@contextlib.contextmanager
def _whole(remote: Remote, arrived: str) -> Iterator[None]:
    """Refuse and remove a download that is not a complete artifact."""
    try:
        yield
    except ArtifactError as error:
        shutil.rmtree(arrived)
        raise StorageError(
            f"{remote.uri} is not a complete artifact ({error}); upload it again, or wait until the "
            "upload has ended"
        ) from error
