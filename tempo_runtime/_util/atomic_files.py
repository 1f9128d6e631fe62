"""Replace a set of files as a whole; each file is identified by its SHA-256.

The description lists the files and their digests. A reader never sees a mixture of two sets: while the
files of a new set are not in place yet, it reads them from the folder `.tempo-next`, and it only accepts
files that the description lists. This works on a disk and in an object store.
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
NEXT = ".tempo-next"  # subfolder for the files of a set that is being written or received


def commit(
    folder: str,
    files: Mapping[str, bytes],
    description: bytes,
    stale: Iterable[str],
    copied: Mapping[str, str] | None = None,
) -> None:
    """Put all files in place together, and remove stale ones.

    All files are first written to `.tempo-next`. The new set becomes valid when the description is
    replaced: from then on `verified` reads the files from there, until they are moved to their places.

    Args:
        folder: The folder.
        files: Path in the folder -> content.
        description: Content of the description.
        stale: Paths of files to remove.
        copied: Path in the folder -> path of a file to copy there.
    """
    copied = copied or {}
    try:
        for path, source in copied.items():
            _copy(source, _next(folder, path))
        for path, content in files.items():
            _write_next(folder, path, content)
        write(folder, DESCRIPTION, description)
    except BaseException:  # usually the disk is full, so free the space again
        shutil.rmtree(os.path.join(folder, NEXT), ignore_errors=True)
        raise
    _move(folder, (*copied, *files), stale)


def adopt(folder: str, paths: Collection[str], stale: Iterable[str]) -> None:
    """Commit files that are already in `.tempo-next`, possibly with the description."""
    if DESCRIPTION in paths:
        _move_one(folder, DESCRIPTION)
    _move(folder, [path for path in paths if path != DESCRIPTION], stale)


def finish_interrupted(folder: str, files: Mapping[str, str]) -> None:
    """Finish an interrupted commit: move valid files to their places, and remove the rest.

    Args:
        folder: The folder.
        files: Path -> digest, from the description.
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
    """Verify all files, and yield the path and content of those to read.

    Args:
        folder: The folder.
        files: Path -> digest, from the description.
        ours: Whether to read the file with this path.

    Raises:
        ArtifactDamaged: If a file is missing, or does not have its digest in the description.
    """
    for path, digest in files.items():
        for place in (f"{NEXT}/{path}", path):
            try:
                # Files to execute are read only once, so that the verified bytes are the ones that run.
                content = read(folder, place) if ours(path) else b""
                actual = sha256(content) if ours(path) else sha256_of(folder, place)
            except OSError:
                actual = ""
            if actual == digest:
                break
        else:
            raise ArtifactDamaged(_damage(folder, path, actual, digest))
        if ours(path):
            yield path, content


def copy_verified(folder: str, digests: Mapping[str, str], target: str) -> None:
    """Copy files, and verify each copy while it is written.

    Args:
        folder: The folder.
        digests: Path -> digest, from the description.
        target: An empty folder.

    Raises:
        ArtifactDamaged: If a file is missing, or does not have its digest in the description.
        OSError: If the copies cannot be written.
    """
    for path, digest in digests.items():
        place = os.path.join(target, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        actual = ""
        for source in (path, f"{NEXT}/{path}"):
            try:
                opened = _open(os.path.join(folder, source))
            except OSError:
                continue
            actual = _copy_hashed(opened, place)
            if actual == digest:
                break
        else:
            raise ArtifactDamaged(_damage(folder, path, actual, digest))


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
    """Return the digests that `copy_all` returns, without copying."""
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


def _damage(folder: str, path: str, actual: str, digest: str) -> str:
    try:
        with _open(os.path.join(folder, path)) as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "is missing" if gone else f"cannot be read: {error.strerror}"
        return f"{folder}: {path} {reason}; copy the whole folder, or save the pipeline again"
    return (
        f"{folder}: {path} ({size} bytes) is not the file that was saved: its SHA-256 is "
        f"{actual[:12]}..., but {DESCRIPTION} has {digest[:12]}...; copy the whole folder again, "
        "or save the pipeline again if you changed the file"
    )


def walk(folder: str) -> Iterator[str]:
    """Yield the paths of a folder's files, without hidden files and bytecode."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _belongs(name)]
        for name in names:
            if _belongs(name):
                yield os.path.relpath(os.path.join(root, name), folder).replace(os.sep, "/")


def belongs(path: str) -> bool:
    """Return whether `walk` yields a file with this path."""
    *folders, name = path.split("/")
    return all(map(_belongs, folders)) and _belongs(name)


def _belongs(name: str) -> bool:
    return name[:1] not in ("", ".") and name != "__pycache__"


def write(folder: str, path: str, content: bytes) -> None:
    """Write a file atomically: afterwards it is complete, or unchanged."""
    try:
        _write_next(folder, path, content)
        _move_one(folder, path)
    finally:
        with contextlib.suppress(OSError):
            os.remove(os.path.join(folder, NEXT, path))
        with contextlib.suppress(OSError):  # it may contain other files
            os.rmdir(os.path.join(folder, NEXT))


def _next(folder: str, path: str) -> str:
    """Return the path to which a file is written first."""
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
    """Open a regular file; opening a pipe would wait for a writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
    return open(descriptor, "rb")


def sha256(content: bytes) -> str:
    """Return the digest of a file's content."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(folder: str, path: str) -> str:
    """Return the digest of a file of any size."""
    return digest_of(folder, path, "sha256")


def digest_of(folder: str, path: str, kind: str) -> str:
    """Return a file's digest by an algorithm of hashlib, for comparisons without security."""
    digest = hashlib.new(kind, usedforsecurity=False)
    with _open(os.path.join(folder, path)) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
