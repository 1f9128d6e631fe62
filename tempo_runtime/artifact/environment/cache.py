"""Keep packed environments that were made before, by lock.

The cache is private to its user: its files go into artifacts, and may come from a private index.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

from tempo_runtime._util import atomic_files, private_folders

TARBALL = "environment.tar.gz"
VARIABLE = "TEMPO_RUNTIME_CACHE"
_DIGEST = "sha256"
_BUILDING = "building-"
_KEPT = 10  # environments; each is some 50 to 500 MB


def root() -> str:
    """Return where they are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    cache = os.environ.get(VARIABLE) or os.path.join(base, "tempo_runtime")
    return os.path.join(cache, "environments")


def find(key: str) -> tuple[str, str] | None:
    """Return a packed environment and its SHA-256, if there is one of that key."""
    folder = os.path.join(root(), key)
    tarball = os.path.join(folder, TARBALL)
    try:
        digest = atomic_files.read(folder, _DIGEST).decode()
        os.utime(folder)  # those used last are kept
    except FileNotFoundError:
        return None
    return (tarball, digest) if os.path.isfile(tarball) else None


def add(key: str, building: str) -> tuple[str, str]:
    """Take over the tarball in a folder of `building`.

    Returns:
        Where it is now, and its SHA-256.
    """
    digest = atomic_files.sha256_of(building, TARBALL)
    entry = os.path.join(building, "entry")
    os.mkdir(entry, 0o700)
    os.replace(os.path.join(building, TARBALL), os.path.join(entry, TARBALL))
    atomic_files.write(entry, _DIGEST, digest.encode())
    for name in (TARBALL, _DIGEST):
        os.chmod(os.path.join(entry, name), 0o600)
    place = os.path.join(root(), key)
    shutil.rmtree(place, ignore_errors=True)
    try:
        os.rename(entry, place)
    except OSError:  # another process was faster, with the same
        if find(key) is None:
            raise
    _forget_oldest()
    return os.path.join(place, TARBALL), digest


@contextlib.contextmanager
def building() -> Iterator[str]:
    """Give a folder to make an environment in, and remove it when the block ends.

    One that a killed process left is removed too.
    """
    private_folders.made(root())
    for name in os.listdir(root()):
        if name.startswith(_BUILDING) and not _alive(name):
            shutil.rmtree(os.path.join(root(), name), ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"{_BUILDING}{os.getpid()}-", dir=root())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(name: str) -> bool:
    try:
        os.kill(int(name.removeprefix(_BUILDING).partition("-")[0]), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def _forget_oldest() -> None:
    entries = [entry for entry in os.scandir(root()) if not entry.name.startswith(_BUILDING)]
    entries.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in entries[_KEPT:]:
        shutil.rmtree(entry.path, ignore_errors=True)
