"""Results and checks that uploads and downloads share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tempo_runtime._util import atomic_files
from tempo_runtime._util.atomic_files import DESCRIPTION, NEXT
from tempo_runtime.artifact import store
from tempo_runtime.artifact.description import Description
from tempo_runtime.errors import StorageError
from tempo_runtime.storage.remotes import Entry, Remote


@dataclass(frozen=True)
class Transfer:
    """The result of an upload or a download.

    Attributes:
        folder: The folder on this machine.
        uri: The URI of the remote.
        sent: Files that were transferred, without those that were already there.
        size: Size of the transferred files in bytes.
        removed: Files that are no longer part of the artifact.
        pruned: URIs of earlier uploads that were removed.
    """

    folder: str
    uri: str
    sent: tuple[str, ...]
    size: int
    removed: tuple[str, ...]
    pruned: tuple[str, ...] = ()


def parts(description: Description | None) -> set[str]:
    """Return the files of an artifact according to its tempo.json."""
    if description is None:
        return set()
    return {*description.files, store.MODEL_SETTINGS, store.EXAMPLE, DESCRIPTION}


def check(folder: str, named: Mapping[str, str]) -> None:
    """Compare all files with their digests in tempo.json."""
    for _ in atomic_files.verified(folder, named, lambda path: False):
        pass


def parted(entries: Mapping[str, Entry]) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Split files into those in their places, and those of a new set in `.tempo-next`."""
    prefix = f"{NEXT}/"
    beside = {
        path.removeprefix(prefix): entry
        for path, entry in entries.items()
        if path.startswith(prefix)
    }
    parts = entries, beside
    there, beside = (
        {p: entry for p, entry in part.items() if atomic_files.belongs(p)} for part in parts
    )
    return there, beside


def expect(paths: Iterable[str], same: set[str], remote: Remote) -> None:
    """Refuse files that differ after the transfer."""
    wrong = sorted(set(paths) - same)
    if wrong:
        raise StorageError(
            f"{wrong[0]} is not the same here and at {remote.uri}; try again while nobody else changes it"
        )
