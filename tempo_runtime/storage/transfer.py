"""What uploads and downloads have in common."""

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
    """What an upload or a download did.

    Attributes:
        folder: The folder on this machine.
        uri: The other one.
        sent: Files that were transferred; those that were there already were not.
        size: Their bytes.
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
    """Files of an artifact, by its tempo.json."""
    if description is None:
        return set()
    return {*description.files, store.MODEL_SETTINGS, store.EXAMPLE, DESCRIPTION}


def check(folder: str, named: Mapping[str, str]) -> None:
    """Compare all files with the digests that tempo.json has."""
    for _ in atomic_files.verified(folder, named, lambda path: False):
        pass


def parted(entries: Mapping[str, Entry]) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Files in their places, and those of a set that is on its way there."""
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
    """Refuse what did not arrive as it left."""
    wrong = sorted(set(paths) - same)
    if wrong:
        raise StorageError(
            f"{wrong[0]} is not the same here and at {remote.uri}; do it again, and let no one else "
            "change it meanwhile"
        )
