"""A set of files that changes as one, each known by its SHA-256.

The description lists them. A reader never sees a mixture of two sets: until a file of a new set is in
its place it is taken from the folder `.tempo-next`, and only files that the description lists are taken.
It is so wherever the folder is: on a disk, or in an object store.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import BinaryIO

from tempo_runtime.errors import ArtifactDamaged

DESCRIPTION = "tempo.json"
NEXT = ".tempo-next"  # in the folder: the files of a set that is being written, or received


def commit(
    folder: str,
    files: Mapping[str, bytes],
    description: bytes,
    stale: Iterable[str],
    copied: Mapping[str, str] | None = None,
) -> None:
    """Put all files in place together, and remove those that are stale.

    `copied` are files to be copied: path in the folder -> where it is now.

    Each is first written into `.tempo-next`. Replacing the description is what makes them the set: from
    then on `verified` takes a file from there, until it is moved to its place.
    """
    copied = copied or {}
    try:
        for path, source in copied.items():
            _copy(source, _next(folder, path))
        for path, content in files.items():
            _write_next(folder, path, content)
        write(folder, DESCRIPTION, description)
    except BaseException:  # no space, as a rule: what was written is in its way
        shutil.rmtree(os.path.join(folder, NEXT), ignore_errors=True)
        raise
    _move(folder, (*copied, *files), stale)


def adopt(folder: str, paths: Collection[str], stale: Iterable[str]) -> None:
    """Do the same with files that are in `.tempo-next` already, maybe the description among them."""
    if DESCRIPTION in paths:
        _move_one(folder, DESCRIPTION)
    _move(folder, [path for path in paths if path != DESCRIPTION], stale)


def finish_interrupted(folder: str, files: Mapping[str, str]) -> None:
    """Move what an interrupted commit had made valid to its place, and remove the rest.

    Args:
        folder: The folder.
        files: Path -> digest, as the description has them.
    """
    beside = os.path.join(folder, NEXT)
    valid = [path for path in walk(beside) if sha256_of(beside, path) == files.get(path)]
    _move(folder, valid, ())


def _move(folder: str, paths: Iterable[str], stale: Iterable[str]) -> None:
    for path in paths:
        _move_one(folder, path)
    for path in stale:
        os.remove(os.path.join(folder, path))
    shutil.rmtree(os.path.join(folder, NEXT), ignore_errors=True)


def _move_one(folder: str, path: str) -> None:
    place = os.path.join(folder, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    os.replace(os.path.join(folder, NEXT, path), place)


def verified(
    folder: str, files: Mapping[str, str], ours: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """Check every file, and give the path and content of those that are ours.

    Args:
        folder: The folder.
        files: Path -> digest, as the description has them.
        ours: Whether a path is of a file to be read.

    Raises:
        ArtifactDamaged: If a file is missing, or does not have its digest in the description.
    """
    for path, digest in files.items():
        for place in (f"{NEXT}/{path}", path):
            try:
                # What is executed is read once: the bytes that were checked are the ones that run.
                content = read(folder, place) if ours(path) else b""
                found = sha256(content) if ours(path) else sha256_of(folder, place)
            except OSError:
                found = ""
            if found == digest:
                break
        else:
            raise ArtifactDamaged(_damage(folder, path, found, digest))
        if ours(path):
            yield path, content


def copy_verified(folder: str, digests: Mapping[str, str], target: str) -> None:
    """Copy files, and check each copy while it is made.

    Args:
        folder: The folder.
        digests: Path -> digest, as the description has them.
        target: An empty folder.

    Raises:
        ArtifactDamaged: If a file is missing, or does not have its digest in the description.
        OSError: If the copies cannot be written.
    """
    for path, digest in digests.items():
        place = os.path.join(target, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        found = ""
        for source in (path, f"{NEXT}/{path}"):
            try:
                opened = _open(os.path.join(folder, source))
            except OSError:
                continue
            found = _copy_hashed(opened, place)
            if found == digest:
                break
        else:
            raise ArtifactDamaged(_damage(folder, path, found, digest))


def copy_all(place: str, target: str) -> dict[str, str]:
    """Copy a folder's files, or a single file, without hidden files and bytecode.

    Args:
        place: The folder or file.
        target: An empty folder.

    Returns:
        Path -> digest, of the copied files.

    Raises:
        OSError: If a file cannot be read.
    """
    digests = {}
    for path, source in _sources(place):
        copied = os.path.join(target, path)
        os.makedirs(os.path.dirname(copied), exist_ok=True)
        digests[path] = _copy_hashed(_open(source), copied)
    return digests


def digests(place: str) -> dict[str, str]:
    """Return path -> digest of a folder's files, or of a single file, as `copy_all` does."""
    return {path: sha256_of("", source) for path, source in _sources(place)}


def _sources(place: str) -> list[tuple[str, str]]:
    if os.path.isfile(place):
        return [(os.path.basename(place), place)]
    return [(path, os.path.join(place, path)) for path in sorted(walk(place))]


def _copy_hashed(source: BinaryIO, place: str) -> str:
    """Copy an open file, and return the digest of the copy."""
    digest = hashlib.sha256()
    with source, open(place, "wb") as written:
        while block := source.read(1 << 20):
            digest.update(block)
            written.write(block)
    return digest.hexdigest()


def _damage(folder: str, path: str, found: str, digest: str) -> str:
    try:
        with _open(os.path.join(folder, path)) as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "is missing" if gone else f"cannot be read: {error.strerror}"
        return f"{folder}: {path} {reason}; copy the whole folder, or save the pipeline again"
    return (
        f"{folder}: {path} ({size} bytes) is not the file that was saved: its SHA-256 is "
        f"{found[:12]}..., and {DESCRIPTION} says {digest[:12]}...; copy the whole folder again, "
        "or save the pipeline again if you changed the file"
    )


def walk(folder: str) -> Iterator[str]:
    """Files of a folder, by their path in it; hidden ones and bytecode are left out."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _belongs(name)]
        for name in names:
            if _belongs(name):
                yield os.path.relpath(os.path.join(root, name), folder).replace(os.sep, "/")


def belongs(path: str) -> bool:
    """Return whether `walk` gives a file of that path."""
    *folders, name = path.split("/")
    return all(map(_belongs, folders)) and _belongs(name)


def _belongs(name: str) -> bool:
    return name[:1] not in ("", ".") and name != "__pycache__"


def write(folder: str, path: str, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    try:
        _write_next(folder, path, content)
        _move_one(folder, path)
    finally:
        with contextlib.suppress(OSError):
            os.remove(os.path.join(folder, NEXT, path))
        with contextlib.suppress(OSError):  # unless there are more
            os.rmdir(os.path.join(folder, NEXT))


def _next(folder: str, path: str) -> str:
    """Return where a file is written first."""
    place = os.path.join(folder, NEXT, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    return place


def _write_next(folder: str, path: str, content: bytes) -> None:
    with open(_next(folder, path), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _copy(source: str, place: str) -> None:
    with open(source, "rb") as read, open(place, "wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
        written.flush()
        os.fsync(written.fileno())


def read(folder: str, path: str) -> bytes:
    """Return a file's content."""
    with _open(os.path.join(folder, path)) as file:
        return file.read()


def _open(path: str) -> BinaryIO:
    """Open a regular file; opening a pipe would wait for its writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
    return open(descriptor, "rb")


def sha256(content: bytes) -> str:
    """Return the digest of a file's content."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(folder: str, path: str) -> str:
    """Return the digest of a file, however large."""
    return digest_of(folder, path, "sha256")


def digest_of(folder: str, path: str, kind: str) -> str:
    """Return a file's digest of a kind that hashlib has, for what is compared and not trusted."""
    digest = hashlib.new(kind, usedforsecurity=False)
    with _open(os.path.join(folder, path)) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
