"""The Python environment that an artifact is served in, packed into it.

needs         the requirements, from conda.yaml, requirements.txt or the pipeline's imports
requirements  requirements files: names, and where packages come from
venv, conda   resolve, lock, make and pack it
cache         environments that were packed before, by lock
unpacked      using it where the artifact is served
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tempo_runtime import __version__
from tempo_runtime._util import atomic_files
from tempo_runtime._util.credentials import redacted, written_out
from tempo_runtime.artifact.description import ChildDescription
from tempo_runtime.artifact.environment import cache, conda, requirements, venv, wheel
from tempo_runtime.artifact.environment.cache import TARBALL
from tempo_runtime.artifact.environment.sources import (
    OURS,
    Needs,
    children_packages,
    of_folder,
    of_model,
    python,
)
from tempo_runtime.artifact.environment.unpacking import LOCK
from tempo_runtime.errors import EnvironmentFailed

__all__ = ["LOCK", "TARBALL", "Packed", "prepare"]

logger = logging.getLogger(__name__)

CHOICES = ("auto", "conda", "venv")
_FORMAT = "1"  # of what is packed from a lock: another one is another key of the cache
_INPUTS = "# made from: "


@dataclass(frozen=True)
class Packed:
    """A packed environment.

    Attributes:
        tarball: File of it, in the cache.
        digest: Its SHA-256.
        lock: Content of environment.lock.
        described: What tempo.json says of it.
    """

    tarball: str
    digest: str
    lock: bytes
    described: dict[str, Any]


def prepare(
    folder: str,
    wanted: str | None,
    packages: Mapping[str, str],
    children: Mapping[str, ChildDescription],
) -> Packed | None:
    """Pack the environment that an artifact needs, or take it from the cache.

    Args:
        folder: The artifact; its environment.lock holds, as long as what it was made from has not
            changed.
        wanted: `conda`, `venv`, `auto` for what the folder describes, or None for no environment.
        packages: Packages that the pipeline imports, with the versions here.
        children: The models it calls, as tempo.json has them.

    Returns:
        None for no environment.

    Raises:
        EnvironmentFailed: If it cannot be made.
    """
    if wanted is None:
        return None
    _check_choice(wanted)
    needs = of_folder(folder, wanted, {**packages, **children_packages(children)}, __version__)
    if needs is None:
        return None
    return _packed(folder, needs, serves_pipeline=True)


def prepare_model(folder: str, wanted: str, runtime: str) -> Packed:
    """Pack the environment of a model that is not a pipeline, or take it from the cache.

    Args:
        folder: The model's folder.
        wanted: `conda`, `venv` or `auto`.
        runtime: Module of the MLServer runtime that serves the model.

    Raises:
        EnvironmentFailed: If it cannot be made.
    """
    _check_choice(wanted)
    return _packed(folder, of_model(folder, wanted, runtime), serves_pipeline=False)


def _check_choice(wanted: str) -> None:
    if wanted not in CHOICES:
        raise EnvironmentFailed(
            f"environment is {wanted!r}; it is {', '.join(map(repr, CHOICES))} or None"
        )


def _packed(folder: str, needs: Needs, *, serves_pipeline: bool) -> Packed:
    if written_out(needs.text):
        logger.warning(
            "%s contains a password or a token, and is part of the artifact; write ${NAME} instead, "
            "and set that variable where you save",
            needs.source,
        )
    try:
        with cache.building() as building:
            return _prepare(folder, needs, building, serves_pipeline)
    except OSError as error:
        raise EnvironmentFailed(
            f"the environment cannot be packed in {cache.root()}: {error.strerror or error}; make room "
            f"there, or name another folder in {cache.VARIABLE}"
        ) from error


def _prepare(folder: str, needs: Needs, building: str, serves_pipeline: bool) -> Packed:
    wheels = os.path.join(building, "wheels")
    os.mkdir(wheels)
    ours, digest = "", ""  # only pipelines need this package
    if serves_pipeline:
        ours = wheel.build(wheels)
        digest = atomic_files.sha256_of(wheels, os.path.basename(ours))
    inputs = needs.digest(digest)
    prefix = os.path.join(building, "environment")
    lock = _read_lock(folder, inputs)
    made = False
    if lock is None:
        if needs.maker == "conda":
            conda.make(needs, ours, prefix)
            lock, made = conda.locked(prefix), True
        else:
            lock = venv.resolve(needs, wheels, building)
            lock = venv.only(OURS, digest, lock) if digest else lock
        lock = _head(needs, inputs) + lock
    version = python()
    if needs.maker == "conda":
        version = _same_minor(conda.python_of(lock), needs)
    interpreter = os.path.realpath(sys.executable) if needs.maker == "venv" else None
    key = hashlib.sha256("\n".join([_FORMAT, interpreter or "", lock]).encode()).hexdigest()
    found = cache.find(key)
    if found is None:
        if not made:
            _make(needs, lock, ours, wheels, prefix, building)
        extra = {LOCK: lock.encode()}
        (conda if needs.maker == "conda" else venv).pack(prefix, building, extra)
        found = cache.add(key, building)
    tarball, digest = found
    described = {"maker": needs.maker, "python": version, "interpreter": interpreter}
    return Packed(tarball, digest, lock.encode(), described)


def _make(needs: Needs, lock: str, ours: str, wheels: str, prefix: str, building: str) -> None:
    if needs.maker == "conda":
        conda.make_again(needs, lock, ours, prefix, building)
        return
    # Only this lock has credentials: the packed and saved files have none.
    asked = requirements.sources(needs.listed, needs.folder)
    lock = requirements.with_its_credentials(lock, needs.listed, needs.folder)
    locked = os.path.join(building, LOCK)
    with open(locked, "w", encoding="utf-8") as file:
        file.write("\n".join([*asked, lock]))
    venv.make(locked, wheels, prefix)


def _same_minor(found: str | None, needs: Needs) -> str:
    here = python()
    if found is None or found.split(".")[:2] != here.split(".")[:2]:
        minor = here.rpartition(".")[0]
        raise EnvironmentFailed(
            f"{needs.source} gives Python {found or 'none'}, and the pipeline is saved by {here}: a "
            f"pickle holds bytecode; write `python={minor}` there, or save with that Python"
        )
    return found


def _head(needs: Needs, inputs: str) -> str:
    return (
        f"# The content of {TARBALL}. Written by tempo_runtime, which resolves it again when\n"
        f"# {os.path.basename(needs.source)} changes, or when this file is removed.\n"
        f"{_INPUTS}{inputs}\n"
    )


def _read_lock(folder: str, inputs: str) -> str | None:
    try:
        lock = atomic_files.read(folder, LOCK).decode()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return redacted(lock, "") if f"{_INPUTS}{inputs}\n" in lock else None
