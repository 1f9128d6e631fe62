"""An artifact whose packages this environment lacks, as tests use it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from tempo_runtime.artifact.environment import cache

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
            "package": place({PACKAGE}),
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

    @property
    def artifact(self) -> Path:
        return self.folder / "artifact"

    def save(self) -> str:
        done = subprocess.run(
            [sys.executable, "painter.py", str(self.artifact)],
            cwd=self.folder,
            env={
                **os.environ,
                **_packages(self.folder),
                cache.VARIABLE: str(self.folder / "cache"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr


def make_project(folder: Path) -> None:
    """Saves it with what its requirements.txt asks for, packed."""
    made = Project(folder)
    (folder / "painter.py").write_text(PIPELINE)
    # The author has the package; the server does not.
    where = ["--target", _packages(folder)["PYTHONPATH"], PACKAGE]
    subprocess.run([sys.executable, "-m", "uv", "pip", "install", "-q", *where], check=True)
    made.artifact.mkdir()
    (made.artifact / "requirements.txt").write_text(f"{PACKAGE}  # draws words\n")
    made.save()


def _packages(folder: Path) -> dict[str, str]:
    """Variables that make a folder one of installed packages, whose code does not go into artifacts."""
    base = folder / "base"
    packages = base / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    return {"PYTHONUSERBASE": str(base), "PYTHONPATH": str(packages)}
