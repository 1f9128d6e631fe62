"""An environment where an artifact is used: unpacked, and whether this process is in it.

MLServer ignores `environment_tarball` where it has no parallel workers, and gives a worker the server's
own packages behind those of its environment. Both are silent, and end in other versions than those the
artifact was saved with. Here they are reported, or corrected.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterable

from tempo_runtime._util import atomic_files
from tempo_runtime._util.printable import shortened
from tempo_runtime.artifact.description import Description
from tempo_runtime.artifact.environment import archive, tools
from tempo_runtime.artifact.environment.cache import TARBALL
from tempo_runtime.errors import EnvironmentFailed

LOCK = "environment.lock"
_PACKAGES = ("site-packages", "dist-packages")
logger = logging.getLogger(__name__)


def unpack(tarball: str, prefix: str) -> str:
    """Unpack an environment and make it fit to this machine.

    Args:
        tarball: environment.tar.gz of an artifact that is trusted: a program in it is run.
        prefix: Folder to unpack to.

    Returns:
        Its Python.

    Raises:
        EnvironmentFailed: If it cannot be unpacked, or there is no Python for it here.
    """
    try:
        archive.extract(tarball, prefix)
    except (OSError, ValueError, tarfile.TarError, EOFError, zlib.error, OverflowError) as error:
        reason = shortened(getattr(error, "strerror", None) or error, 200)
        raise EnvironmentFailed(
            f"{tarball} cannot be unpacked to {prefix}: {reason}; copy the artifact again, or save "
            "it again"
        ) from error
    fit = os.path.join(prefix, "bin", "conda-unpack")
    if os.path.exists(fit):
        path = os.path.join(prefix, "bin") + os.pathsep + os.environ.get("PATH", os.defpath)
        environ = {**os.environ, "PATH": path}
        done = subprocess.run([fit], env=environ, capture_output=True, check=False)  # noqa: S603
        if done.returncode != 0:
            said = tools.in_one_line((done.stdout + done.stderr).decode(errors="replace"))
            raise EnvironmentFailed(f"{tarball} does not fit to this machine: {said}")
    return os.path.join(prefix, "bin", "python")


def settle(folder: str, description: Description, tarball: str | None) -> None:
    """Make sure that a process that loads an artifact is in the environment it is meant for.

    Args:
        folder: The artifact.
        description: Its tempo.json.
        tarball: `environment_tarball` of its model-settings.json.

    Raises:
        EnvironmentFailed: If the environment is demanded there, and this process is not in it.
    """
    if is_active(folder):
        sys.path[:] = [entry for entry in sys.path if not _is_foreign(entry)]
        return
    if tarball is None:
        return
    if description.environment and os.path.basename(tarball) == TARBALL:
        raise EnvironmentFailed(
            f"{folder} is meant for its packed environment ({TARBALL}), and this process ({sys.prefix}) "
            "is not in it: MLServer ignores environment_tarball without parallel workers. Set "
            "MLSERVER_PARALLEL_WORKERS=1 (or parallel_workers in settings.json), or unpack and activate "
            "it before MLServer starts; to do without it, remove parameters.environment_tarball from "
            "model-settings.json"
        )
    if strangers := foreign((*description.packages, "mlserver", "tempo_runtime")):
        logger.warning(
            "%s: environment_tarball lacks %s, which come from the server's own environment",
            folder,
            ", ".join(strangers),
        )


def is_active(folder: str) -> bool:
    """Return whether this process runs in the environment that an artifact was saved with."""
    try:
        return atomic_files.read(folder, LOCK) == atomic_files.read(sys.prefix, LOCK)
    except OSError:
        return False


def foreign(packages: Iterable[str]) -> list[str]:
    """Those of some packages that this process has from outside its own environment."""
    found = []
    for name in packages:
        try:
            place = str(importlib.metadata.distribution(name).locate_file(""))
        except importlib.metadata.PackageNotFoundError:
            continue
        if _is_foreign(place):
            found.append(name)
    return sorted(set(found))


def _is_foreign(entry: str) -> bool:
    inside = os.path.realpath(entry).startswith(os.path.realpath(sys.prefix) + os.sep)
    return os.path.basename(os.path.normpath(entry)) in _PACKAGES and not inside
