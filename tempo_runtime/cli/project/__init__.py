"""Create a project: a pipeline that can be trained, tested and served at once."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tempo_runtime import __version__
from tempo_runtime.artifact.environment import wheel
from tempo_runtime.authoring.details import check_name
from tempo_runtime.errors import TempoError

_TEMPLATE = Path(__file__).with_name("template")
_SUFFIX = ".template"  # so that no tool takes them for code of the package
_WHEELS = "wheels"


def create(name: str, folder: str | None = None) -> str:
    """Write a project, completely or not at all.

    If this tempo_runtime was not installed from a package index, the project gets a wheel of it.

    Args:
        name: The pipeline's name.
        folder: Folder to write; by default one of that name in the working directory.

    Returns:
        The folder.

    Raises:
        AuthoringError: If a model cannot have this name.
        TempoError: If the folder is not empty or cannot be written.
    """
    check_name(name)
    check_name(f"{name}-classifier")
    target = Path(folder if folder is not None else name)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise TempoError(f"{target} exists and is not empty; choose another folder, or empty it")
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.absolute().parent)
        try:
            _write(Path(beside, "project"), name)
            os.replace(os.path.join(beside, "project"), target)
        finally:
            shutil.rmtree(beside)
    except OSError as error:
        raise TempoError(f"{target} cannot be written: {error.strerror or error}") from error
    return str(target)


def _write(folder: Path, name: str) -> None:
    folder.mkdir()
    is_unpublished = not wheel.from_index()
    values = {
        "@NAME@": name,
        "@VERSION@": __version__,
        "@PYTHON@": "python{}.{}".format(*sys.version_info),
        "@FIND_LINKS@": f"--find-links {_WHEELS}\n" if is_unpublished else "",
    }
    for template in sorted(_TEMPLATE.rglob(f"*{_SUFFIX}")):
        text = template.read_text()
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        path = str(template.relative_to(_TEMPLATE)).removesuffix(_SUFFIX)
        written = folder / (".gitignore" if path == "gitignore" else path)
        written.parent.mkdir(exist_ok=True)
        written.write_text(text)
    if is_unpublished:
        wheel.build(str(folder / _WHEELS))
