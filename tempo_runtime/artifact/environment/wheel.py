"""A wheel of the tempo_runtime that runs, for where no index has it: its files and its metadata, zipped.

No source tree, build tool or network is needed, and the same content gives the same bytes.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import os
import re
import zipfile

import tempo_runtime
from tempo_runtime._util import atomic_files
from tempo_runtime.errors import EnvironmentFailed

_PACKAGE = os.path.dirname(os.path.abspath(tempo_runtime.__file__))
_NAME = os.path.basename(_PACKAGE)
_LICENSES = "licenses"
_WHEEL = f"""\
Wheel-Version: 1.0
Generator: {_NAME}
Root-Is-Purelib: true
Tag: py3-none-any
"""


def build(folder: str) -> str:
    """Write a wheel of this tempo_runtime.

    Args:
        folder: Where to; it is made if needed.

    Returns:
        The wheel's path.

    Raises:
        EnvironmentFailed: If this tempo_runtime was never installed, so that nothing says what it
            requires.
    """
    installed = _installed()
    version = re.sub(r"[^\w.+!]+", "_", installed.version)
    contents = {
        f"{_NAME}/{path}": atomic_files.read(_PACKAGE, path) for path in atomic_files.walk(_PACKAGE)
    }
    info = f"{_NAME}-{version}.dist-info"
    contents |= {f"{info}/{name}": content for name, content in _metadata(installed).items()}
    contents = dict(sorted(contents.items()))
    contents[f"{info}/RECORD"] = _record(contents, info)
    name = f"{_NAME}-{version}-py3-none-any.whl"
    atomic_files.write(folder, name, _zip(contents))
    return os.path.join(folder, name)


def from_index() -> bool:
    """Return whether this tempo_runtime came from an index, so that pip finds it elsewhere as well.

    pip and uv write down where they took a package from, if it was not an index (PEP 610).

    Raises:
        EnvironmentFailed: If it was never installed.
    """
    return _installed().read_text("direct_url.json") is None


def _installed() -> importlib.metadata.Distribution:
    for found in importlib.metadata.distributions(name=_NAME):
        # The folder `egg-info` that a build leaves in a source tree has none.
        if found.read_text("METADATA") is not None:
            return found
    raise EnvironmentFailed(
        f"tempo_runtime runs from {_PACKAGE} without being installed, so nothing says what it "
        "requires; install it: pip install FOLDER, or pip install -e FOLDER"
    )


def _metadata(installed: importlib.metadata.Distribution) -> dict[str, bytes]:
    """Return the files of `dist-info`, except RECORD and those about this installation."""
    texts = {"WHEEL": _WHEEL}
    for name in ("METADATA", "entry_points.txt", "top_level.txt"):
        text = installed.read_text(name)
        if text is not None:
            texts[name] = text
    for path in installed.files or ():
        if _LICENSES in path.parts and path.parts[0].endswith(".dist-info"):
            texts["/".join(path.parts[1:])] = path.read_text()
    return {name: text.encode() for name, text in texts.items()}


def _record(contents: dict[str, bytes], info: str) -> bytes:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for path, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        writer.writerow((path, f"sha256={digest}", len(content)))
    writer.writerow((f"{info}/RECORD", "", ""))
    return lines.getvalue().encode()


def _zip(contents: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    # Stored: what zlib makes of a file depends on its version.
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for path, content in contents.items():
            entry = zipfile.ZipInfo(path)  # of 1980, for everyone
            entry.create_system = 3  # Unix, on Windows too
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return whole.getvalue()
