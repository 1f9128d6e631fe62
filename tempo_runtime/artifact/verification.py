"""Use only the bytes of an artifact that were checked.

If there are demands on an artifact (`trust.Demands`), nothing in its folder is opened after the check:
anybody who can write there could replace a file in between. The files that its description names are
copied into a folder of this process while their digests are computed, and everything is read from that
copy. Files that the description does not name are not copied, and are refused if they could be imported
or configure a server.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tempo_runtime._util import atomic_files
from tempo_runtime._util.printable import shortened
from tempo_runtime.artifact.trust import Demands, digest_of_files
from tempo_runtime.errors import ArtifactError, ArtifactMissing, ArtifactUntrusted

_PREFIX = "tempo-verified-"
_LOCK = ".lock"
_VARIABLES = ("TMPDIR", "TEMP", "TMP")
_USUAL = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - those that Python tries
_IMPORTABLE = (".py", ".pyc", ".pyd", ".so", ".pth")
_CONFIGURING = ("settings.json",)
CODE_SETTINGS = ("implementation", "uri")
"""Settings of a child that choose what code runs."""
_copies: weakref.WeakValueDictionary[str, PrivateCopy] = weakref.WeakValueDictionary()


class PrivateCopy:
    """Files that were checked while they were copied into a folder that only this user can open.

    The folder is removed when the object is no longer referenced, or when the process ends. A process
    that was killed leaves its copies; the next one removes them.

    Args:
        origin: The folder, or the single file, that they were copied from.

    Raises:
        ArtifactError: If there is no folder to copy them to.

    Attributes:
        folder: Where the copies are.
        place: The path that replaces the origin: the same folder, or the single file in it.
        origin: See above.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        temporary = _temporary(origin)
        _remove_abandoned(temporary)
        try:
            made = tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=temporary)
            # Locked until the process ends, in whatever way, and before another process can look for it.
            lock = os.open(os.path.join(made, _LOCK), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            root = os.path.join(temporary, os.path.basename(made)[1:])
            os.rename(made, root)
            self.folder = os.path.join(root, "files")
            os.mkdir(self.folder)
        except OSError as error:
            raise _cannot_copy(origin, temporary, error) from error
        is_file = os.path.isfile(origin)
        self.place = os.path.join(self.folder, os.path.basename(origin)) if is_file else self.folder
        _copies[self.folder] = self
        self.remove = weakref.finalize(self, _remove, root, lock, os.getpid())


def origin_of(folder: str) -> str:
    """Return the folder that a private copy was made of; any other folder is returned as it is."""
    copy = _copies.get(folder)
    return copy.origin if copy is not None else folder


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
        raise _cannot_copy(folder, tempfile.gettempdir(), error) from error
    return copy


def copy_model(place: str, demands: Demands) -> PrivateCopy:
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
            raise _cannot_copy(place, tempfile.gettempdir(), error) from error
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


def refuse_unnamed(folder: str, description: Mapping[str, Any]) -> None:
    """Refuse files that could be imported, or configure a server, and that the description does not name.

    Folders of children are left out: their files are checked when the child is opened.

    Args:
        folder: The artifact.
        description: Its tempo.json.

    Raises:
        ArtifactUntrusted: If there is one; the message has the path of the first.
    """
    children = {
        os.path.normpath(entry.get("folder") or "..") for entry in description["children"].values()
    }
    for path in _reachable(folder, children):
        if path in description["files"]:
            continue
        if path.endswith(_IMPORTABLE) or os.path.basename(path) in _CONFIGURING:
            raise ArtifactUntrusted(
                f"{shortened(os.path.join(folder, path), 300)} could run or configure a server, and "
                f"{atomic_files.MANIFEST} does not name it; remove it, or save the pipeline again if it belongs "
                "to it"
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


def _temporary(origin: str) -> str:
    """Return the folder for private copies, which nobody may write to who can write to the original."""
    remedy = "set TMPDIR to a folder that only you can write to"
    try:
        found = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{origin} must be copied to be checked, but no temporary folder can be written to; {remedy}"
        ) from error
    # Python's last resort, whatever that folder is.
    known = {*_USUAL, *(os.path.abspath(os.environ.get(name) or os.sep) for name in _VARIABLES)}
    is_last_resort = found == os.getcwd() and found not in known
    place = os.path.join(os.path.realpath(found), "")
    if is_last_resort or place.startswith(os.path.join(os.path.realpath(origin), "")):
        raise ArtifactError(
            f"{origin} would be copied to {found} to be checked, where others may change the copy; "
            f"{remedy}"
        )
    return found


def _cannot_copy(origin: str, temporary: str, error: OSError) -> ArtifactError:
    return ArtifactError(
        f"{origin} cannot be copied to {temporary}, as it must be to be checked: {error.strerror}; make "
        "room there, or set TMPDIR to another folder"
    )


def _remove(root: str, lock: int, process: int) -> None:
    if process == os.getpid():  # a fork inherits the object, and the files are not its own
        shutil.rmtree(root, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(temporary: str) -> None:
    """Remove the copies of processes of this user that were killed."""
    for root in Path(temporary).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if root.is_symlink() or root.stat().st_uid != os.getuid():
                continue
            lock = os.open(root / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)
            finally:
                os.close(lock)
