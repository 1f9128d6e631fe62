"""A new project: a pipeline that trains, tests and serves itself from the first minute."""

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
_SUFFIX = ".template"  # so that nothing takes them for code of the package
_WHEELS = "wheels"


def create(name: str, folder: str | None = None) -> str:
    """Write a project; all of it, or nothing.

    Where this tempo_runtime is not from an index, the project gets a wheel of it.

    Args:
        name: The pipeline's name.
        folder: Where to; by default a folder of that name, here.

    Returns:
        The folder.

    Raises:
        AuthoringError: If a model cannot have such a name.
        TempoError: If there is something in the folder, or it cannot be written.
    """
    check_name(name)
    check_name(f"{name}-classifier")
    target = Path(folder if folder is not None else name)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise TempoError(f"{target} is there and not empty; choose another folder, or empty it")
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
    ours = not wheel.from_index()
    words = {
        "@NAME@": name,
        "@VERSION@": __version__,
        "@PYTHON@": "python{}.{}".format(*sys.version_info),
        "@FIND_LINKS@": f"--find-links {_WHEELS}\n" if ours else "",
    }
    for template in sorted(_TEMPLATE.rglob(f"*{_SUFFIX}")):
        text = template.read_text()
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        path = str(template.relative_to(_TEMPLATE)).removesuffix(_SUFFIX)
        written = folder / (".gitignore" if path == "gitignore" else path)
        written.parent.mkdir(exist_ok=True)
        written.write_text(text)
    if ours:
        wheel.build(str(folder / _WHEELS))
