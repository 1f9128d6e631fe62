"""Whose file is it: the author's, or an installed package's?

An environment made elsewhere has the packages that are installed here, so these never travel; it has
nothing of the author's, so all of that does. Names of folders alone do not tell: packages are also
installed by `pip install --target`, layered by `uv run --with`, linked from a cache, or imported from a
wheel. The evidence is the record that an installer leaves beside the files it wrote.

An editable install leaves no such record beside the sources: they are the author's.
"""

from __future__ import annotations

import csv
import functools
import os
import sysconfig
import zipfile
from collections.abc import Iterator

# Debian's folder, and everyone else's. Distributions and conda strip the records of some packages in
# them, so there the name must do.
_PACKAGES = ("site-packages", "dist-packages")


def is_installed(path: str) -> bool:
    """Tell whether a file belongs to the standard library or an installed package.

    Args:
        path: The file, or a member of a zip file that is imported from (`lib.whl/package/module.py`).
    """
    # A package may be linked into an environment from a cache, or an environment into a project.
    return any(map(_is_installed, {os.path.abspath(path), os.path.realpath(path)}))


def holds_packages(folder: str) -> bool:
    """Tell whether an entry of `sys.path` holds packages that an installer put there."""
    folder = os.path.abspath(folder)
    return not _folders_of(folder).isdisjoint(_PACKAGES) or bool(_recorded(folder, _stamp(folder)))


def _is_installed(path: str) -> bool:
    if path.startswith(_standard_library()) or not _folders_of(path).isdisjoint(_PACKAGES):
        return True
    folder = os.path.dirname(path)
    while folder != os.path.dirname(folder):
        if path in _recorded(folder, _stamp(folder)):
            return True
        folder = os.path.dirname(folder)
    return False


def _folders_of(path: str) -> set[str]:
    return set(path.split(os.sep))


@functools.cache
def _standard_library() -> tuple[str, ...]:
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    linked = [os.path.realpath(folder) for folder in folders]
    return tuple(os.path.join(folder, "") for folder in (*folders, *linked))


def _stamp(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=4096)
def _recorded(folder: str, stamp: int) -> frozenset[str]:
    """List the files below a folder that installers recorded; `stamp` changes with the folder."""
    if os.path.isfile(folder):
        return frozenset(_in_archive(folder))
    try:
        names = os.listdir(folder)
    except OSError:
        return frozenset()
    return frozenset(
        os.path.normpath(os.path.join(folder, file))
        for name in names
        if name.endswith((".dist-info", ".egg-info"))
        for file in _record(os.path.join(folder, name))
    )


def _record(metadata: str) -> Iterator[str]:
    """List the files of one distribution, relative to the folder that its metadata is in."""
    try:
        if metadata.endswith(".dist-info"):
            with open(os.path.join(metadata, "RECORD"), encoding="utf-8", newline="") as file:
                yield from (row[0] for row in csv.reader(file) if row)
        else:
            # A build leaves an .egg-info in the source tree; only an installer writes this list.
            with open(os.path.join(metadata, "installed-files.txt"), encoding="utf-8") as file:
                home = os.path.basename(metadata)
                yield from (os.path.join(home, line.strip()) for line in file)
    except (OSError, UnicodeDecodeError, csv.Error):
        return


def _in_archive(path: str) -> Iterator[str]:
    """List the files of a wheel or an egg; nothing for the author's own zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return
    if any(f"{name}/".split("/")[0].endswith((".dist-info", "EGG-INFO")) for name in names):
        yield from (os.path.join(path, name) for name in names)
