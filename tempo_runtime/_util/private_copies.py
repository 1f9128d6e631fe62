"""Copies of files in a folder that only this user can open: what is checked there is what is opened."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from pathlib import Path

from tempo_runtime.errors import ArtifactError

_PREFIX = "tempo-verified-"
_LOCK = ".lock"
_VARIABLES = ("TMPDIR", "TEMP", "TMP")
_USUAL = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - those that Python tries
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
            raise cannot_copy(origin, temporary, error) from error
        is_file = os.path.isfile(origin)
        self.place = os.path.join(self.folder, os.path.basename(origin)) if is_file else self.folder
        _copies[self.folder] = self
        self.remove = weakref.finalize(self, _remove, root, lock, os.getpid())


def origin_of(folder: str) -> str:
    """Return the folder that a private copy was made of; any other folder is returned as it is."""
    copy = _copies.get(folder)
    return copy.origin if copy is not None else folder


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


def cannot_copy(origin: str, temporary: str, error: OSError) -> ArtifactError:
    """Return the error for a copy that failed, with the remedy."""
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
