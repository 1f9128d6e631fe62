"""An artefact whose packages the server's environment lacks, saved once."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tempo_runtime.environment import cache

# A package this environment lacks: with it, an answer comes from the packed one.
PACKAGE = "art"
PIPELINE = f"""
import sys
import numpy as np
from tempo_runtime import pipeline, predictmethod, save
import {PACKAGE}

@pipeline("painter", local_folder=sys.argv[1])
class Painter:
    @predictmethod
    def paint(self, word: str) -> dict:
        import mlserver
        place = lambda module: module.__file__.split("/lib/")[0]
        return {{
            "word": {PACKAGE}.text2art(word),
            "prefix": sys.prefix,
            "mlserver": place(mlserver),
            "numpy": place(np),
            "path": [entry for entry in sys.path if entry.endswith("site-packages")],
        }}

if __name__ == "__main__":
    save(Painter)
"""


@dataclass
class Project:
    """A pipeline's source, and the Python it is saved with, which has what the pipeline imports."""

    folder: Path
    cache: Path

    @property
    def artefact(self) -> Path:
        return self.folder / "artefact"

    def save(self) -> str:
        done = subprocess.run(
            [sys.executable, "painter.py", str(self.artefact)],
            cwd=self.folder,
            env=_environ(self.folder / "packages", self.cache),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Saved with what its requirements.txt asks for, packed."""
    folder = tmp_path_factory.mktemp("painter")
    made = Project(folder, tmp_path_factory.mktemp("cache"))
    (folder / "painter.py").write_text(PIPELINE)
    # Its author has the package; what serves it has not.
    where = ["--target", str(folder / "packages"), PACKAGE]
    subprocess.run([sys.executable, "-m", "uv", "pip", "install", "-q", *where], check=True)
    made.artefact.mkdir()
    (made.artefact / "requirements.txt").write_text(f"{PACKAGE}  # draws words\n")
    made.save()
    return made


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def _environ(packages: Path, cached: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(packages), cache.VARIABLE: str(cached)}
