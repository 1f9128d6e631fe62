"""What an artefact's environment is made from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tempo_runtime.errors import EnvironmentFailed

CONDA_YAML = "conda.yaml"
REQUIREMENTS = "requirements.txt"
Maker = Literal["conda", "venv"]
_MLSERVER = "mlserver"
_DILL = "dill"
_OURS = "tempo-runtime"
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True)
class Needs:
    """What an environment is made from.

    Attributes:
        maker: Whether conda makes it, or it is a virtual environment.
        source: Where that is said, for messages.
        text: What is said there.
        added: Requirements that are added: what serves the artefact, where it is not named.
    """

    maker: Maker
    source: str
    text: str
    added: tuple[str, ...]

    def digest(self, wheel: str) -> str:
        """What decides about the result, as one number.

        Args:
            wheel: SHA-256 of this package's wheel.
        """
        decisive = [self.maker, self.text, self.added, wheel, python(), sysconfig.get_platform()]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def of_folder(folder: str, wanted: str, packages: Mapping[str, str], version: str) -> Needs | None:
    """What an artefact's folder says that it needs.

    Args:
        folder: The folder.
        wanted: `conda`, `venv`, or `auto` for what is described there.
        packages: Packages that the pipeline imports, with the versions here: what a virtual
            environment is made of where the folder has no requirements.txt.
        version: Of this package.

    Returns:
        None where `auto` finds nothing described.

    Raises:
        EnvironmentFailed: If what is there cannot be read.
    """
    conda, requirements = (os.path.join(folder, name) for name in (CONDA_YAML, REQUIREMENTS))
    if wanted == "auto":
        described = [path for path in (conda, requirements) if os.path.exists(path)]
        if len(described) > 1:
            raise EnvironmentFailed(
                f"{folder} has both {CONDA_YAML} and {REQUIREMENTS}; say which: environment='conda' "
                "or environment='venv', or None for neither"
            )
        if not described:
            return None
        wanted = "conda" if described == [conda] else "venv"
    if wanted == "conda":
        text = _read(conda, "environment='conda' makes what it describes")
        return Needs("conda", conda, text, _added(names_in_conda_yaml(text, conda), version))
    if os.path.exists(requirements):
        text = _read(requirements, "")
        named = names_in_requirements(text, requirements)
        return Needs("venv", requirements, text, _added(named, version))
    lines = [f"{name}=={found}" for name, found in packages.items()]
    named = {canonicalize_name(name) for name in packages}
    return Needs(
        "venv", "what the pipeline imports", "\n".join(lines) + "\n", _added(named, version)
    )


def names_in_requirements(text: str, source: str) -> set[str]:
    """Normalized names of the packages in a requirements.txt, but for those of files it includes.

    Raises:
        EnvironmentFailed: If a line is none of pip's, or of what cannot travel.
    """
    names: set[str] = set()
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), 1):
        stripped = _COMMENT.sub("", line).strip()
        if stripped.startswith(("-e", "--editable")):
            raise EnvironmentFailed(
                f"{source}, line {number}: an editable package stays on this machine; name it without "
                f"{stripped.split()[0]}"
            )
        if not stripped or stripped.startswith("-"):
            continue
        try:
            requirement = Requirement(re.split(r"\s--hash", stripped)[0].strip())
        except InvalidRequirement as error:
            if os.sep in stripped.split()[0]:  # a path or a URL: pip knows its name
                continue
            raise EnvironmentFailed(
                f"{source}, line {number}: {stripped!r} is no requirement: {error}".split("\n")[0]
            ) from error
        names.add(canonicalize_name(requirement.name))
    return names


def names_in_conda_yaml(text: str, source: str) -> set[str]:
    """Normalized names of the packages in a conda.yaml, pip's among them.

    Raises:
        EnvironmentFailed: If it is not one.
    """
    import yaml

    try:
        content = yaml.safe_load(text)
        dependencies = content["dependencies"]
        plain = [entry for entry in dependencies if isinstance(entry, str)]
        ours = [line for entry in dependencies if isinstance(entry, dict) for line in entry["pip"]]
    except yaml.YAMLError as error:
        raise EnvironmentFailed(
            f"{source} is not YAML: {' '.join(str(error).split())}; correct it"
        ) from error
    except (TypeError, KeyError) as error:
        raise EnvironmentFailed(
            f"{source} describes no environment: it needs a list of `dependencies`, in it packages "
            "and perhaps `pip:` with a list of requirements"
        ) from error
    names = {re.split(r"[\s=<>!~\[]", entry.rpartition("::")[2].strip())[0] for entry in plain}
    return {canonicalize_name(name) for name in names} | names_in_requirements(
        "\n".join(map(str, ours)), source
    )


def python() -> str:
    """The version of this Python, which an environment's is to be."""
    return platform.python_version()


def children_packages(children: Mapping[str, Any]) -> dict[str, str]:
    """The MLServer runtimes, with the versions here, of children that may run in the pipeline's process.

    Args:
        children: As tempo.json has them.
    """
    found = {}
    for child in children.values():
        name = f"mlserver-{child['platform']}"
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _added(named: set[str], version: str) -> tuple[str, ...]:
    added = [
        f"{name}=={importlib.metadata.version(name)}"
        for name in (_MLSERVER, _DILL)  # what serves it, and what wrote its pickle
        if name not in named
    ]
    # Always: an artefact is read by the version that wrote it, and another one named there is told.
    added.append(f"{_OURS}=={version}")
    return tuple(added)


def _read(path: str, why: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError as error:
        raise EnvironmentFailed(f"there is no {path}; {why}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EnvironmentFailed(f"{path} cannot be read: {reason}") from error
