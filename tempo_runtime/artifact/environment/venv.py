"""Virtual environments: resolved, locked, made and packed; with uv where it is here, else with pip."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import tarfile
from collections.abc import Iterator

from tempo_runtime._util import extras
from tempo_runtime._util.credentials import redacted
from tempo_runtime._util.progress import shown
from tempo_runtime.artifact.environment import relocation, tools
from tempo_runtime.artifact.environment.cache import TARBALL
from tempo_runtime.artifact.environment.gzip_stream import Writer
from tempo_runtime.artifact.environment.sources import Needs, python
from tempo_runtime.errors import EnvironmentFailed

_EPOCH = 315532800  # 1980-01-01: the first day that zip files know
# bin/activate of other shells, with the folder it was made in.
_LEFT_OUT = {"activate.bat", "activate.csh", "activate.fish", "activate.nu", "activate.ps1"}
_LEFT_OUT |= {"Activate.ps1", "activate_this.py", "deactivate.bat", "pydoc.bat"}
# MLServer unpacks an environment at each start, and would compile all it imports each time. By
# hash, as a tarball's times are not those of the files.
_COMPILE = """
import compileall, py_compile, sys
compileall.compile_dir(
    sys.argv[1] + "/lib", maxlevels=99, quiet=2, workers=0, stripdir=sys.argv[1],
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
)
"""


def resolve(needs: Needs, wheels: str, building: str) -> str:
    """Resolve an environment to versions with their hashes, as pip and uv read them.

    Credentials are left out: a lock is published with its artifact.

    Args:
        needs: The requirements.
        wheels: Folder with this package's wheel.
        building: Folder for what is made on the way.

    Raises:
        EnvironmentFailed: If the requirements cannot be satisfied together.
    """
    asked = os.path.join(building, "requirements.in")
    # Options and paths in it are relative to the folder it came from.
    source = os.path.abspath(needs.source)
    included = f"-r {source}\n" if os.path.isfile(source) else needs.text
    with open(asked, "w", encoding="utf-8") as file:
        file.write(included + "\n".join(needs.added) + "\n")
    failed = f"the requirements in {needs.source} cannot be resolved"
    doing = "Resolving the environment"
    if uv := tools.find("uv"):
        found = os.path.join(building, "resolved.txt")
        how = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
        how += ["--python", sys.executable, "--find-links", wheels, "--output-file", found, asked]
        tools.run(how, doing, failed)
        with open(found, encoding="utf-8") as file:
            return _checked(file.read(), needs)
    report = os.path.join(building, "report.json")
    how = [*_pip(), "install", "--dry-run", "--ignore-installed", "--quiet", "--report", report]
    tools.run([*how, "--find-links", wheels, "-r", asked], doing, failed)
    with open(report, encoding="utf-8") as file:
        return _checked(_locked(json.load(file)), needs)


def only(name: str, digest: str, lock: str) -> str:
    """Return a lock that pins the content of one package, so that an index cannot provide another."""
    entry = re.compile(rf"^({re.escape(name)}==\S+)((\s*\\\n)?\s*--hash=\S+)+", re.MULTILINE)
    return entry.sub(rf"\1 \\\n    --hash=sha256:{digest}", lock)


def make(lock: str, wheels: str, prefix: str) -> None:
    """Make the virtual environment of a lock.

    Args:
        lock: File of the lock, with the options that say where packages come from.
        wheels: Folder with this package's wheel.
        prefix: Where to.

    Raises:
        EnvironmentFailed: If it cannot be made.
    """
    base = os.path.realpath(sys.executable)
    uv = tools.find("uv")
    make = [base, "-m", "venv", "--without-pip", prefix]
    if uv is not None:
        make = [uv, "venv", "--quiet", "--no-project", "--python", base, prefix]
    tools.run(make, "Making the environment", f"no virtual environment can be made by {base}")
    install(prefix, ["--require-hashes", "--no-deps", "-r", lock, "--find-links", wheels])
    python = os.path.join(prefix, "bin", "python")
    tools.run(
        [python, "-c", _COMPILE, prefix], "Compiling its modules", "modules cannot be compiled"
    )


def install(prefix: str, what: list[str]) -> None:
    """Install packages into an environment, with uv or with pip.

    Raises:
        EnvironmentFailed: If they cannot be installed, or there is neither.
    """
    into = os.path.join(prefix, "bin", "python")
    uv = tools.find("uv")
    how = [*_pip("--python", into), "install", "--quiet"] if uv is None else [uv, "pip", "install"]
    how += ["--no-compile"] if uv is None else ["--quiet", "--python", into]
    tools.run([*how, *what], "Installing its packages", "its packages cannot be installed")


def pack(prefix: str, building: str, extra: dict[str, bytes]) -> None:
    """Pack a virtual environment, so that it works elsewhere.

    Args:
        prefix: The environment.
        building: Folder that the tarball comes into.
        extra: Further files: path in it -> content.
    """
    files = list(_files(prefix))
    put = {**relocation.scripts(".".join(python().split(".")[:2])), **extra}
    size = sum(os.path.getsize(path) for path in files if not os.path.islink(path))
    with (
        open(os.path.join(building, TARBALL), "wb") as output,
        shown("Packing the environment", size, size=True) as advance,
    ):
        writer = Writer(output)
        try:
            with tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                for path in files:
                    name = os.path.relpath(path, prefix)
                    if name not in put:
                        advance(_add(tar, path, name, prefix))
                for name, content in sorted(put.items()):
                    _add_content(tar, name, content, 0o755)
        finally:
            writer.close()


def _files(prefix: str) -> Iterator[str]:
    for root, folders, names in os.walk(prefix):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        folders[:] = sorted(set(folders) - set(links))
        for name in sorted([*names, *links]):
            if name not in _LEFT_OUT:
                yield os.path.join(root, name)


def _add(tar: tarfile.TarFile, path: str, name: str, prefix: str) -> int:
    if os.path.islink(path):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mtime = tarfile.SYMTYPE, os.readlink(path), _EPOCH
        tar.addfile(info)
        return 0
    executable = os.access(path, os.X_OK)
    with open(path, "rb") as file:
        content = file.read()
    if os.path.dirname(name) == "bin":
        content = relocation.relocated(content, prefix)
    _add_content(tar, name, content, 0o755 if executable else 0o644)
    return os.path.getsize(path)


def _add_content(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    import io

    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(content), mode, _EPOCH
    tar.addfile(info, io.BytesIO(content))


def _pip(*options: str) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise EnvironmentFailed(
            "environments are made by uv or by pip, and neither is here: "
            + extras.command("environment")
        )
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", *options]


def _locked(report: dict[str, object]) -> str:
    """Return pip's report as a requirements file."""
    lines = []
    for package in report["install"]:  # type: ignore[attr-defined]
        metadata, download = package["metadata"], package["download_info"]
        hashes = download.get("archive_info", {}).get("hashes", {})
        if "sha256" not in hashes:
            raise EnvironmentFailed(
                f"{metadata['name']} comes from {redacted(download['url'])}, whose content is not fixed; "
                "build a wheel of it, and list that"
            )
        name, version = metadata["name"].lower(), f"=={metadata['version']}"
        source = f" @ {download['url']}" if package.get("is_direct") else version
        lines.append(f"{name}{source} \\\n    --hash=sha256:{hashes['sha256']}\n")
    return "".join(sorted(lines))


def _checked(lock: str, needs: Needs) -> str:
    for entry in lock.replace("\\\n", " ").splitlines():
        if entry.strip() and not entry.startswith(("#", "--")) and "--hash=" not in entry:
            raise EnvironmentFailed(
                f"{needs.source} asks for {redacted(entry.split()[0])}, whose content is not fixed; "
                "build a wheel of it, and list that"
            )
    return redacted(lock, "")
