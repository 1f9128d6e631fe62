"""The files in a folder, and the answers of the artifact in it."""

from __future__ import annotations

from pathlib import Path

import tempo_runtime


def answer(folder: Path) -> str:
    """Return the answer of the artifact in a folder, after checking its files."""
    loaded = tempo_runtime.load(str(folder))
    try:
        return str(loaded())
    finally:
        loaded.release()


def contents(folder: Path) -> dict[str, bytes]:
    """Path -> content, of all files in a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
