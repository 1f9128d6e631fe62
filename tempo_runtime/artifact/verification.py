"""Use only the bytes of an artifact that were checked.

If there are demands on an artifact (`trust.Demands`), nothing in its folder is opened after the check:
anybody who can write there could replace a file in between. The files that its description names are
copied into a folder of this process while their digests are computed, and everything is read from that
copy. Files that the description does not name are not copied, and are refused if they could be imported
or configure a server.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tempo_runtime._util import atomic_files
from tempo_runtime._util.printable import shortened
from tempo_runtime._util.private_copies import PrivateCopy, cannot_copy
from tempo_runtime.artifact.description import Description
from tempo_runtime.artifact.trust import TrustPolicy, digest_of_files
from tempo_runtime.errors import ArtifactMissing, ArtifactUntrusted

_IMPORTABLE = (".py", ".pyc", ".pyd", ".so", ".pth")
_CONFIGURING = ("settings.json",)
CODE_SETTINGS = ("implementation", "uri")
"""Settings of a child that choose what code runs."""


def copy_named(folder: str, digests: Mapping[str, str]) -> PrivateCopy:
    """Copy the files that a description names, and check each copy.

    Args:
        folder: The artifact.
        digests: Path -> SHA-256, as its description has them.

    Raises:
        ArtifactDamaged: If a file is missing, or is not the one that was saved.
        ArtifactError: If there is no room for the copies.
    """
    copy = PrivateCopy(folder)
    try:
        atomic_files.copy_verified(folder, digests, copy.folder)
    except OSError as error:
        raise cannot_copy(folder, tempfile.gettempdir(), error) from error
    return copy


def copy_model(place: str, demands: TrustPolicy) -> PrivateCopy:
    """Copy a model that is not a pipeline, and check the copy.

    Args:
        place: Its folder, or its only file.
        demands: The demands on it.

    Raises:
        ArtifactMissing: If it cannot be read.
        ArtifactError: If there is no room for the copy.
        ArtifactUntrusted: If it does not meet them.
    """
    copy = PrivateCopy(place)
    try:
        digests = atomic_files.copy_all(place, copy.folder)
    except OSError as error:
        # If writing failed, the error names a file of the copy, or none.
        if not str(error.filename or "").startswith(place):
            raise cannot_copy(place, tempfile.gettempdir(), error) from error
        raise ArtifactMissing(f"{error.filename} cannot be read: {error.strerror}") from error
    demands.check_files(place, digest_of_files(digests))
    return copy


def digest_of_model(place: str) -> str | None:
    """Return the digest of a model that is not a pipeline; None if there are no files.

    Args:
        place: Its folder, or its only file.

    Raises:
        OSError: If a file cannot be read.
    """
    digests = atomic_files.digests(place)
    return digest_of_files(digests) if digests else None


def refuse_unnamed(folder: str, description: Description) -> None:
    """Refuse files that could be imported, or configure a server, and that the description does not name.

    Folders of children are left out: their files are checked when the child is opened.

    Args:
        folder: The artifact.
        description: Its tempo.json.

    Raises:
        ArtifactUntrusted: If there is one; the message has the path of the first.
    """
    children = {os.path.normpath(child.folder or "..") for child in description.children.values()}
    for path in _reachable(folder, children):
        if path in description.files:
            continue
        if path.endswith(_IMPORTABLE) or os.path.basename(path) in _CONFIGURING:
            raise ArtifactUntrusted(
                f"{shortened(os.path.join(folder, path), 300)} could run or configure a server, and "
                f"{atomic_files.DESCRIPTION} does not name it; remove it, or save the pipeline again if "
                "it belongs to it"
            )


def _reachable(folder: str, left_out: Collection[str]) -> Iterator[str]:
    """Yield the files that an import would find in a folder, also through links to other folders."""
    entered = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        inside = os.path.relpath(root, folder)
        entered.add(os.path.realpath(root))
        paths = {name: os.path.normpath(os.path.join(inside, name)) for name in (*folders, *names)}
        folders[:] = sorted(
            name
            for name in folders
            if atomic_files.belongs(name)
            and paths[name] not in left_out
            and os.path.realpath(os.path.join(root, name)) not in entered
        )
        for name in sorted(filter(atomic_files.belongs, names)):
            if paths[name] not in left_out:
                yield paths[name]


def refuse_unsigned_settings(folder: str, models: Mapping[str, Any]) -> None:
    """Refuse settings of model-settings.json that choose code, because no signature covers that file.

    Args:
        folder: The artifact, for messages.
        models: Settings of its children, by alias, from `parameters.extra.models`.

    Raises:
        ArtifactUntrusted: If there is one; the message names the first.
    """
    for alias, settings in models.items():
        for name in CODE_SETTINGS:
            if getattr(settings, name) is not None:
                variable = variable_of(alias, name)
                raise ArtifactUntrusted(
                    f"{folder}: model-settings.json sets `{name}` of the child {alias!r}, which chooses "
                    "the code that runs, and no signature covers that file; set the environment variable "
                    f"{variable} instead"
                )


def variable_of(alias: str, setting: str) -> str:
    """Return the environment variable of a child's setting."""
    return f"TEMPO_RUNTIME_MODELS__{alias.upper()}__{setting.upper()}"


def refuse_outside(uri: str, folder: str, name: str) -> None:
    """Refuse a model whose settings name files outside the folder that was checked.

    Args:
        uri: Where its files are, by its settings.
        folder: The private copy of its folder.
        name: Its name, for messages.

    Raises:
        ArtifactUntrusted: If they are outside.
    """
    if os.path.commonpath([folder, os.path.abspath(uri)]) != folder:
        raise ArtifactUntrusted(
            f"{name}: its model-settings.json says that its files are in {uri}, which no digest covers; "
            "move them into its folder"
        )
