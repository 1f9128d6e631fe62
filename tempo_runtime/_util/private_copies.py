"""Copy files to a folder that only this user can open, so that nobody changes them after a check."""

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
_USUAL = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - Python tries these
_copies: weakref.WeakValueDictionary[str, PrivateCopy] = weakref.WeakValueDictionary()


class PrivateCopy:
    """A folder, which only this user can open, for copies of files that are verified while copied.

    The folder is removed when the object is no longer referenced, or when the process ends. A process
    that was killed leaves its copies; the next process removes them.

    Args:
        origin: The folder, or the single file, to copy.

    Raises:
        ArtifactError: If the folder for the copies cannot be created.

    Attributes:
        folder: Folder of the copies.
        place: Path that replaces the origin: this folder, or the single file in it.
        origin: See above.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        temporary = _temporary(origin)
        _remove_abandoned(temporary)
        try:
            hidden = tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=temporary)
            # Locked until the process ends in any way, and before other processes can find the folder.
            lock = os.open(
                os.path.join(hidden, _LOCK), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
            root = os.path.join(temporary, os.path.basename(hidden)[1:])
            os.rename(hidden, root)
            self.folder = os.path.join(root, "files")
            os.mkdir(self.folder)
        except OSError as error:
            raise cannot_copy(origin, temporary, error) from error
        is_file = os.path.isfile(origin)
        self.place = os.path.join(self.folder, os.path.basename(origin)) if is_file else self.folder
        _copies[self.folder] = self
        self.remove = weakref.finalize(self, _remove, root, lock, os.getpid())


def origin_of(folder: str) -> str:
    """Return the original of a private copy; return any other folder as it is."""
    copy = _copies.get(folder)
    return copy.origin if copy is not None else folder


def _temporary(origin: str) -> str:
    """Return the folder for private copies; users who can write to the original must not write to it."""
    remedy = "set TMPDIR to a folder that only you can write to"
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{origin} must be copied for verification, but there is no writable temporary folder; "
            f"{remedy}"
        ) from error
    # Python's last resort is the current folder, which may be any folder.
    known = {*_USUAL, *(os.path.abspath(os.environ.get(name) or os.sep) for name in _VARIABLES)}
    is_last_resort = temporary == os.getcwd() and temporary not in known
    resolved = os.path.join(os.path.realpath(temporary), "")
    if is_last_resort or resolved.startswith(os.path.join(os.path.realpath(origin), "")):
        raise ArtifactError(
            f"{origin} would be copied to {temporary} for verification, where others may change the "
            f"copy; {remedy}"
        )
    return temporary


def cannot_copy(origin: str, temporary: str, error: OSError) -> ArtifactError:
    """Return the error of a failed copy, with the remedy."""
    return ArtifactError(
        f"{origin} cannot be copied to {temporary} for verification: {error.strerror}; free some space "
        "there, or set TMPDIR to another folder"
    )


def _remove(root: str, lock: int, process: int) -> None:
    if process == os.getpid():  # a fork inherits the object, but does not own the files
        shutil.rmtree(root, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(temporary: str) -> None:
    """Remove the copies of this user's processes that were killed."""
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
