"""Unpack an archive that may be hostile: it cannot write outside its folder, nor fill the disk."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import Any

# How many times larger than its archive an environment may be: packages are three to six times.
_RATIO = 50
_SPARE = 64 * 2**20  # bytes that are always allowed: a small archive of zeros does no harm
_MEMBERS = 1_000_000


def extract(archive: str, folder: str) -> None:
    """Unpack a tar archive.

    Args:
        archive: The file, compressed or not.
        folder: Where to; created if it does not exist.

    Raises:
        ValueError: If a member leads out of the folder, is a device or a pipe, or if all members together
            are far larger than the archive.
        OSError, tarfile.TarError, EOFError: If it cannot be read, or unpacked.
    """
    root = os.path.realpath(folder)
    os.makedirs(root, exist_ok=True)
    most = os.path.getsize(archive) * _RATIO + _SPARE
    # Python's newer patch releases ask for a filter.
    filtered: Any = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
    with tarfile.open(archive) as tar:
        tar.extractall(root, _checked(tar, root, most), **filtered)  # noqa: S202 - checked one by one


def _checked(tar: tarfile.TarFile, root: str, most: int) -> Iterator[tarfile.TarInfo]:
    """Yield each member after checking it; the members before it have been written by then."""
    size = 0
    for number, member in enumerate(tar):
        _check(member, root)
        size += member.size if member.isreg() else 0
        if size > most or number >= _MEMBERS:
            raise ValueError(f"its files are more than {_RATIO} times as large as the archive")
        yield member


def _check(member: tarfile.TarInfo, root: str) -> None:
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise ValueError(f"{member.name!r} is neither a file nor a folder nor a link")
    place = os.path.join(root, member.name)
    # Follow the links that exist by now. If the last part is a link, it is replaced.
    if not _is_in(os.path.join(os.path.realpath(os.path.dirname(place)), ""), root):
        raise ValueError(f"{member.name!r} leads out of the folder")
    if os.path.isabs(member.name) or ".." in member.name.split("/"):
        raise ValueError(f"{member.name!r} leads out of the folder")
    if member.islnk() and not _is_in(os.path.realpath(os.path.join(root, member.linkname)), root):
        raise ValueError(f"{member.name!r} is a link to a file outside the folder")
    # An absolute link is allowed: an environment without Python links to the interpreter.
    if member.issym() and not os.path.isabs(member.linkname):
        target = os.path.join(os.path.dirname(place), member.linkname)
        if not _is_in(os.path.normpath(target), root):
            raise ValueError(f"{member.name!r} is a link that leads out of the folder")


def _is_in(path: str, root: str) -> bool:
    return os.path.join(path, "").startswith(os.path.join(root, ""))
