"""Remove superseded artifacts from storage.

Artifacts whose paths contain their digests stay next to each other until someone removes them. Only
files that `upload` put there are removed: those that an artifact's own tempo.json lists, and finally
tempo.json itself, so that an interrupted removal can be repeated.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from dataclasses import replace

from tempo_runtime._util.atomic_files import DESCRIPTION, NEXT
from tempo_runtime.artifact import trust
from tempo_runtime.errors import StorageError
from tempo_runtime.storage.remotes import Remote
from tempo_runtime.storage.sending import description_at
from tempo_runtime.storage.transfer import parted, parts


def superseded(remote: Remote, newest: int, kept: Collection[str]) -> list[str]:
    """Return the URIs of an artifact's earlier uploads that may be removed, the oldest first.

    Args:
        remote: The latest upload, at a URI that ends with its digest. It stays.
        newest: Number of uploads that stay, including this one.
        kept: Digests of other uploads that stay.

    Raises:
        StorageError: If the storage cannot be listed.
    """
    uri, own_digest = trust.digest_in(remote.uri)
    parent, name = _split(remote)
    beside = {}
    for folder in _folders(parent):
        place, digest = trust.digest_in(folder)
        if digest and digest != own_digest and place == name:
            beside[f"{folder}/{DESCRIPTION}"] = digest
    if not beside:
        return []
    listed = ("--recursive", "--files-only", "--format=tp", "--time-format=unixnano")
    lines = parent.on("lsf", beside, parent.at(), *listed).decode().splitlines()
    dated = [(int(time), path) for time, _, path in (line.partition(";") for line in lines)]
    older = sorted(dated)[: max(0, len(dated) - (newest - 1))]
    return [f"{uri}@{beside[path]}" for _, path in older if beside[path] not in kept]


def remove(remote: Remote) -> None:
    """Remove an artifact, and its folder if nothing else is in it.

    Args:
        remote: The artifact, at a URI that ends with its digest.

    Raises:
        StorageError: If it cannot be removed, or is not the artifact that its URI names.
    """
    description = description_at(remote)
    _, digest = trust.digest_in(remote.uri)
    if description is None or description.digest != digest:
        raise StorageError(
            f"{remote.uri} is not the artifact with the digest in its URI, so nothing was removed; check "
            "it, and remove it by hand"
        )
    there, beside = parted(remote.entries())
    files = sorted(parts(description) & there.keys() - {DESCRIPTION})
    if files or beside:
        remote.on("delete", [*files, *(f"{NEXT}/{path}" for path in beside)], remote.at())
    remote.run("deletefile", remote.at(DESCRIPTION))
    with contextlib.suppress(StorageError):  # an object store has no folders
        remote.run("rmdirs", remote.at())


def _split(remote: Remote) -> tuple[Remote, str]:
    """Return the folder that contains an artifact, and its name there without the digest."""
    path, digest = trust.digest_in(remote.path)
    parent, slash, name = path.rpartition("/")
    if not (slash and digest):
        raise StorageError(
            f"{remote.uri}: only artifacts whose path contains their digest can be pruned; upload with "
            "the option `digest`"
        )
    return replace(remote, path=parent), name


def _folders(remote: Remote) -> list[str]:
    what = ("lsjson", remote.at(), "--dirs-only", "--no-modtime", "--no-mimetype")
    return [str(entry["Path"]) for entry in json.loads(remote.run(*what))]
