"""A set of files that changes as one, each known by its SHA-256.

The manifest lists them. A reader never sees a mixture of two sets: until a file of a new set is in
its place it is taken from beside it, and nothing is taken that the manifest does not say.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping

from tempo_runtime.errors import ArtifactDamaged

MANIFEST = "tempo.json"
_NEXT = ".tempo-next"  # a file of a set that is being written


def commit(
    folder: str,
    files: Mapping[str, bytes],
    manifest: bytes,
    stale: list[str],
    copied: Mapping[str, str] | None = None,
) -> None:
    """Puts all files in place together, and removes those that are stale.

    `copied` are files to be copied: path in the folder -> where it is now.

    Each is first written beside its place. Replacing the manifest is what makes them the set: from
    then on `verified` takes a file from beside its place, until it is moved there.
    """
    copied = copied or {}
    try:
        for path, source in copied.items():
            _copy(source, os.path.join(folder, path + _NEXT))
        for path, content in files.items():
            write(folder, path + _NEXT, content)
        write(folder, MANIFEST, manifest)
    except BaseException:  # no space, as a rule: what was written is in its way
        for path in (*copied, *files, MANIFEST):
            with contextlib.suppress(OSError):
                os.remove(os.path.join(folder, path + _NEXT))
        raise
    for path in (*copied, *files):
        os.replace(os.path.join(folder, path + _NEXT), os.path.join(folder, path))
    for path in stale:
        os.remove(os.path.join(folder, path))


def finish_interrupted(folder: str, files: Mapping[str, str]) -> None:
    """Moves what an interrupted commit had made valid to its place, and removes the rest.

    Args:
        folder: The folder.
        files: Path -> digest, as the manifest has them.
    """
    for beside in [path for path in walk(folder) if path.endswith(_NEXT)]:
        path = beside.removesuffix(_NEXT)
        if sha256_of(folder, beside) == files.get(path):
            os.replace(os.path.join(folder, beside), os.path.join(folder, path))
        else:
            os.remove(os.path.join(folder, beside))


def verified(
    folder: str, files: Mapping[str, str], ours: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """Checks every file, and gives the path and content of those that are ours.

    Args:
        folder: The folder.
        files: Path -> digest, as the manifest has them.
        ours: Whether a path is of a file to be read.

    Raises:
        ArtifactDamaged: If one is missing, or is not the one that the manifest says.
    """
    for path, digest in files.items():
        for place in (path + _NEXT, path):
            try:
                # What is executed is read once: the bytes that were checked are the ones that run.
                content = read(folder, place) if ours(path) else b""
                found = sha256(content) if ours(path) else sha256_of(folder, place)
            except FileNotFoundError:
                found = ""
            if found == digest:
                break
        else:
            raise ArtifactDamaged(_damage(folder, path, found, digest))
        if ours(path):
            yield path, content


def _damage(folder: str, path: str, found: str, digest: str) -> str:
    if not found:
        return f"{folder}: {path} is missing; copy the whole folder, or save the pipeline again"
    size = os.path.getsize(os.path.join(folder, path))
    return (
        f"{folder}: {path} ({size} bytes) is not the file that was saved: its SHA-256 is "
        f"{found[:12]}..., and {MANIFEST} says {digest[:12]}...; copy the whole folder again, "
        "or save the pipeline again if you changed the file"
    )


def walk(folder: str) -> Iterator[str]:
    """Files of a folder, by their path in it; hidden ones and bytecode are left out."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and name != "__pycache__"]
        for name in names:
            if name[0] != ".":
                yield os.path.relpath(os.path.join(root, name), folder).replace(os.sep, "/")


def write(folder: str, path: str, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all."""
    place = os.path.join(folder, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    temporary = place if path.endswith(_NEXT) else place + _NEXT
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if temporary != place:
        os.replace(temporary, place)


def _copy(source: str, place: str) -> None:
    with open(source, "rb") as read, open(place, "wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
        written.flush()
        os.fsync(written.fileno())


def read(folder: str, path: str) -> bytes:
    """A file's content."""
    with open(os.path.join(folder, path), "rb") as file:
        return file.read()


def sha256(content: bytes) -> str:
    """The digest of a file's content."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(folder: str, path: str) -> str:
    """The digest of a file, however large."""
    digest = hashlib.sha256()
    with open(os.path.join(folder, path), "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
