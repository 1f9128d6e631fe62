"""Create folders that only this user can use: their files are trusted, and may be secret."""

from __future__ import annotations

import errno
import os
import stat

_PRIVATE = 0o700


def made(folder: str | os.PathLike[str]) -> str:
    """Create a folder that only this user can read and write, or remove others' access to it.

    Returns:
        The path of the folder.

    Raises:
        PermissionError: If it belongs to another user, or is a link.
        OSError: If it cannot be created.
    """
    os.makedirs(folder, _PRIVATE, exist_ok=True)
    check(folder)
    if stat.S_IMODE(os.stat(folder).st_mode) & ~_PRIVATE:
        os.chmod(folder, _PRIVATE)
    return os.fspath(folder)


def check(path: str | os.PathLike[str]) -> None:
    """Refuse a link, and a file or folder of another user.

    Raises:
        PermissionError: If it is refused.
        OSError: If its owner cannot be read.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        raise PermissionError(errno.EPERM, "it is a link", os.fspath(path))
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to another user", os.fspath(path))
