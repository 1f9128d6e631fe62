"""The files that an artifact's environment is made from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sysconfig
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from tempo_runtime._util.credentials import redacted
from tempo_runtime.artifact.description import ChildDescription
from tempo_runtime.artifact.environment import requirements
from tempo_runtime.errors import EnvironmentFailed

CONDA_YAML = "conda.yaml"
REQUIREMENTS = "requirements.txt"
Maker = Literal["conda", "venv"]
_MLSERVER = "mlserver"
_DILL = "dill"
_BREAKING = ("uvloop", "pandas")
OURS = "tempo-runtime"
_TEMPO = "mlops-tempo"
_NAME_AND_SPEC = re.compile(r"([^\s=<>!~\[]*)(.*)", re.DOTALL)
_RELEASE = re.compile(
    r"^={0,2}\s*(\d+(?:\.\d+)*)(?:\.\*)?(?:=.*)?$"
)  # `=3.7`, `==3.7.9`, `=3.7=h12_0`


@dataclass(frozen=True)
class Needs:
    """The requirements of an environment.

    Attributes:
        maker: Whether conda makes it, or it is a virtual environment.
        source: Where the requirements are written, for messages.
        text: The requirements as they are written there.
        listed: The requirements for pip and uv in it.
        added: Requirements that are added: the packages that serve the artifact, unless listed.
    """

    maker: Maker
    source: str
    text: str
    added: tuple[str, ...]
    listed: str = ""

    @property
    def folder(self) -> str:
        """The folder that paths in it are relative to."""
        return os.path.dirname(os.path.abspath(self.source))

    def digest(self, wheel: str) -> str:
        """Return a digest of everything that affects the result, without credentials, which may change.

        Args:
            wheel: SHA-256 of this package's wheel.
        """
        text, where = redacted(self.text, ""), sysconfig.get_platform()
        decisive = [self.maker, text, self.added, wheel, python(), where]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def of_folder(folder: str, wanted: str, packages: Mapping[str, str], version: str) -> Needs | None:
    """Return what an artifact's folder says that it needs.

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
    conda, asked = (os.path.join(folder, name) for name in (CONDA_YAML, REQUIREMENTS))
    if wanted == "auto":
        described = [path for path in (conda, asked) if os.path.exists(path)]
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
        refuse_impossible(text, conda)
        listed = "\n".join(_dependencies(text, conda)[1])
        added = _added(names_in_conda_yaml(text, conda), version)
        return Needs("conda", conda, text, added, listed)
    if os.path.exists(asked):
        text = _read(asked, "")
        _refuse_tempo(requirements.names(text, asked), asked)
        return Needs("venv", asked, text, _added(requirements.names(text, asked), version), text)
    lines = [f"{name}=={found}" for name, found in packages.items()]
    named = {canonicalize_name(name) for name in packages}
    return Needs(
        "venv", "the imports of the pipeline", "\n".join(lines) + "\n", _added(named, version)
    )


def of_model(folder: str, wanted: str, runtime: str) -> Needs:
    """Return what the folder of a model that is not a pipeline says that it needs.

    Args:
        folder: The folder.
        wanted: `conda`, `venv`, or `auto` for requirements.txt if it is there, and else conda.yaml.
            MLflow writes both, with the same packages; a conda.yaml for another Python is refused.
        runtime: Module of the MLServer runtime that serves the model.

    Raises:
        EnvironmentFailed: If it describes nothing, or what is there cannot be read.
    """
    conda, asked = (os.path.join(folder, name) for name in (CONDA_YAML, REQUIREMENTS))
    if wanted == "auto" and os.path.exists(asked):
        wanted = "venv"
        if os.path.exists(conda):
            refuse_impossible(_read(conda, ""), conda)
    if wanted == "venv" and not os.path.exists(asked):
        raise EnvironmentFailed(f"there is no {asked}; environment='venv' makes what it describes")
    needs = of_folder(folder, wanted, {}, "")
    if needs is None:
        raise EnvironmentFailed(
            f"{folder} has neither {CONDA_YAML} nor {REQUIREMENTS}; write one, or deploy the model "
            "without an environment"
        )
    read = names_in_conda_yaml if needs.maker == "conda" else requirements.names
    named, added = read(needs.text, needs.source), []
    for name in (_MLSERVER, canonicalize_name(runtime)):
        if name not in named:
            try:
                added.append(f"{name}=={importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                added.append(name)
    # Newer ones break MLServer: this package's own requirements say from which version on.
    for line in importlib.metadata.requires(OURS) or ():
        if (name := Requirement(line).name) in _BREAKING and name not in named:
            added.append(line)
    return replace(needs, added=tuple(added))


def refuse_impossible(text: str, source: str) -> None:
    """Refuse a conda.yaml that cannot be the environment of what this Python saves.

    Raises:
        EnvironmentFailed: If it asks for another Python, or for tempo 0.5.
    """
    minor = python().rpartition(".")[0]
    for entry in _dependencies(text, source)[0]:
        found = _NAME_AND_SPEC.match(entry.rpartition("::")[2].strip())
        if found and found[1] == "python" and not _allows(found[2], minor):
            asked = found[2].strip(" =")
            raise EnvironmentFailed(
                f"{source} asks for Python {asked}, but this is Python {python()}, and what "
                f"`save` writes is for the Python that runs it: write `python={minor}` there, run "
                "`save` with the other Python, use a requirements.txt with environment='venv', or save "
                "without an environment (environment=None)"
            )
    _refuse_tempo(names_in_conda_yaml(text, source), source)


def _allows(spec: str, minor: str) -> bool:
    """Return whether conda could install some release of a minor version of Python for a requirement.

    Args:
        spec: What follows `python` in conda.yaml: `=3.7`, ` 3.11.*`, `>=3.8,<3.12`.
        minor: Such as `3.11`.
    """
    clauses = (
        _RELEASE.sub(r"==\1.*", clause.strip()) for clause in spec.split(",") if clause.strip()
    )
    try:
        allowed = SpecifierSet(",".join(clauses))
    except InvalidSpecifier:  # conda decides
        return True
    return any(f"{minor}.{patch}" in allowed for patch in range(100))


def _refuse_tempo(names: Collection[str], source: str) -> None:
    if _TEMPO in names:
        raise EnvironmentFailed(
            f"{source} lists {_TEMPO}, but this pipeline is served by tempo-runtime, which `save` adds; "
            "remove that line"
        )


def names_in_conda_yaml(text: str, source: str) -> set[str]:
    """Return the normalized names of a conda.yaml's packages, pip's among them.

    Raises:
        EnvironmentFailed: If it is not one.
    """
    plain, ours = _dependencies(text, source)
    names = {re.split(r"[\s=<>!~\[]", entry.rpartition("::")[2].strip())[0] for entry in plain}
    return {canonicalize_name(name) for name in names} | requirements.names("\n".join(ours), source)


def _dependencies(text: str, source: str) -> tuple[list[str], list[str]]:
    """Return the packages that a conda.yaml names, and the requirements for pip in it."""
    import yaml

    try:
        dependencies = yaml.safe_load(text)["dependencies"]
        plain = [entry for entry in dependencies if isinstance(entry, str)]
        ours = [line for entry in dependencies if isinstance(entry, dict) for line in entry["pip"]]
    except yaml.YAMLError as error:
        why = redacted(" ".join(str(error).split()))
        raise EnvironmentFailed(f"{source} is not YAML: {why}; correct it") from None
    except (TypeError, KeyError) as error:
        raise EnvironmentFailed(
            f"{source} describes no environment: it needs a list of `dependencies`, in it packages "
            "and perhaps `pip:` with a list of requirements"
        ) from error
    return plain, list(map(str, ours))


def python() -> str:
    """Return the version of this Python, which an environment must have too."""
    return platform.python_version()


def children_packages(children: Mapping[str, ChildDescription]) -> dict[str, str]:
    """Return the MLServer runtimes, as installed here, of children that may run in this process.

    Args:
        children: As tempo.json has them.
    """
    found = {}
    for child in children.values():
        name = f"mlserver-{child.platform}"
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _added(named: Collection[str], version: str) -> tuple[str, ...]:
    added = [
        f"{name}=={importlib.metadata.version(name)}"
        for name in (_MLSERVER, _DILL)  # the server, and the writer of the pickle
        if name not in named
    ]
    # Always: an artifact is read by the version that wrote it, and naming another one is an error.
    added.append(f"{OURS}=={version}")
    return tuple(added)


def _read(path: str, why: str) -> str:
    try:
        return requirements.read(path)
    except FileNotFoundError as error:
        raise EnvironmentFailed(f"there is no {path}; {why}") from error
    except OSError as error:
        raise EnvironmentFailed(f"{path} cannot be read: {error.strerror}") from error
