"""conda environments: made by conda, mamba or micromamba, locked, packed by conda-pack."""

from __future__ import annotations

import glob
import importlib.metadata
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from packaging.utils import canonicalize_name

from tempo_runtime._util import extras
from tempo_runtime._util.credentials import redacted
from tempo_runtime._util.progress import shown
from tempo_runtime.artifact.environment import requirements, tools, venv
from tempo_runtime.artifact.environment.cache import TARBALL
from tempo_runtime.artifact.environment.sources import CONDA_YAML, OURS, Needs
from tempo_runtime.errors import EnvironmentFailed

_PROGRAMS = ("conda", "mamba", "micromamba")
_EXPLICIT = "@EXPLICIT"
_PIP = "# pip"


def make(needs: Needs, wheel: str, prefix: str) -> None:
    """Make the environment that a conda.yaml describes, and add what serves an artifact.

    Args:
        needs: What is asked for.
        wheel: This package's wheel.
        prefix: Where to.

    Raises:
        EnvironmentFailed: If there is no conda, or it cannot do it.
    """
    program = _program()
    create = ["env", "create"] if os.path.basename(program) != "micromamba" else ["create"]
    tools.run(
        [program, *create, "--yes", "--prefix", prefix, "--file", needs.source],
        "Making the environment with conda",
        f"conda cannot make what {needs.source} describes",
    )
    venv.install(prefix, [wheel if name.startswith(f"{OURS}==") else name for name in needs.added])


def make_again(needs: Needs, lock: str, wheel: str, prefix: str, building: str) -> None:
    """Make the environment of a lock, without resolving anything.

    Args:
        needs: The requirements that the lock was made from, with the sources of packages.
        lock: The lock.
        wheel: This package's wheel.
        prefix: Where to.
        building: Folder for what is made on the way.

    Raises:
        EnvironmentFailed: If it cannot be made.
    """
    explicit, _, pip = lock.partition(f"{_PIP}\n")
    pip = re.sub(rf"^{OURS}==.*$", lambda _: wheel, pip, flags=re.MULTILINE)
    pip = requirements.with_its_credentials(pip, needs.listed, needs.folder)
    pip = "\n".join([*requirements.sources(needs.listed, needs.folder), pip])
    # The ending is what tells conda how to read it.
    for name, content in (("explicit.txt", explicit), ("pip.txt", pip)):
        with open(os.path.join(building, name), "w", encoding="utf-8") as file:
            file.write(content)
    explicit_file = os.path.join(building, "explicit.txt")
    tools.run(
        [_program(), "create", "--yes", "--prefix", prefix, "--file", explicit_file],
        "Making the environment with conda, as it is locked",
        "conda cannot make what environment.lock says; remove that file to resolve it again",
    )
    listed = os.path.join(building, "pip.txt")
    venv.install(prefix, ["--no-deps", "-r", listed])


def locked(prefix: str) -> str:
    """Return an environment's lock: conda's packages by URL, for `conda create --file`, and pip's.

    Raises:
        EnvironmentFailed: If it is not a conda environment.
    """
    records = []
    for path in sorted(glob.glob(os.path.join(glob.escape(prefix), "conda-meta", "*.json"))):
        with open(path, encoding="utf-8") as file:
            records.append(json.load(file))
    if not records:
        raise EnvironmentFailed(f"conda made {prefix}, and there is no package in it")
    lines = [f"{_without_secrets(record['url'])}#{record['md5']}\n" for record in records]
    return "".join([f"{_EXPLICIT}\n", *lines, f"{_PIP}\n", *sorted(_pip_packages(prefix))])


def _without_secrets(text: str) -> str:
    """Return a text without the passwords and channel tokens in its URLs; conda knows them anyway."""
    return re.sub(r"(?<=/)t/[^/\s]+/", "", redacted(text, ""))


def python_of(lock: str) -> str | None:
    """Return the version of Python that a lock names."""
    found = re.search(r"/python-(\d+\.\d+\.\d+)-", lock)
    return found[1] if found else None


def pack(prefix: str, building: str, extra: dict[str, bytes]) -> None:
    """Pack a conda environment, so that it works elsewhere.

    Args:
        prefix: The environment.
        building: Folder that the tarball comes into.
        extra: Further files: path in it -> content.

    Raises:
        EnvironmentFailed: If conda-pack is missing, or refuses.
    """
    try:
        from conda_pack import CondaEnv, CondaPackException
    except ModuleNotFoundError as error:
        raise EnvironmentFailed(
            f"a conda environment is packed by conda-pack: {extras.command('environment')}"
        ) from error
    for name, content in extra.items():
        with open(os.path.join(prefix, name), "wb") as file:
            file.write(content)
    _remove_secrets(prefix)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports, about itself
            environment = CondaEnv.from_prefix(prefix)
            with shown("Packing the environment", len(environment.files)) as advance:
                environment.files = _Counted(environment.files, advance)
                output = os.path.join(building, TARBALL)
                environment.pack(output=output, format="tar.gz", n_threads=-1)
    except CondaPackException as error:
        raise EnvironmentFailed(
            f"conda-pack refuses the environment: {tools.in_one_line(str(error))}"
        ) from error


def _remove_secrets(prefix: str) -> None:
    """Remove channel tokens from conda's history files, which are packed too."""
    for path in glob.glob(os.path.join(glob.escape(prefix), "conda-meta", "*")):
        if os.path.isfile(path):
            with open(path, encoding="utf-8", newline="") as file:
                text = file.read()
            if (cleaned := _without_secrets(text)) != text:
                with open(path, "w", encoding="utf-8", newline="") as file:
                    file.write(cleaned)


class _Counted(list[Any]):
    """Files, each told to a progress bar when the next is asked for: conda-pack's own bar prints."""

    def __init__(self, files: list[Any], advance: Callable[[float], None]) -> None:
        super().__init__(files)
        self._advance = advance

    def __iter__(self) -> Iterator[Any]:
        for file in super().__iter__():
            yield file
            self._advance(1)


def _pip_packages(prefix: str) -> Iterator[str]:
    paths = glob.glob(os.path.join(glob.escape(prefix), "lib", "python3*", "site-packages"))
    for package in importlib.metadata.distributions(path=paths):
        installer = (package.read_text("INSTALLER") or "").strip()
        if installer != "conda":
            url = json.loads(package.read_text("direct_url.json") or "{}").get("url", "")
            version = (
                f" @ {redacted(url, '')}" if url.startswith("http") else f"=={package.version}"
            )
            yield f"{canonicalize_name(package.metadata['Name'])}{version}\n"


def _program() -> str:
    program = tools.find(*_PROGRAMS)
    if program is None:
        raise EnvironmentFailed(
            f"{CONDA_YAML} asks for a conda environment, and there is no {', '.join(_PROGRAMS)} on PATH; "
            "install one (https://conda-forge.org/download), use a requirements.txt with "
            "environment='venv', or save without an environment (environment=None)"
        )
    return program
