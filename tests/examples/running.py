"""Run an example in a copy of its folder, with the package of this environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def copy_of(name: str, folder: Path) -> Path:
    """Copy an example's sources."""
    ignored = shutil.ignore_patterns("artifacts", "__pycache__")
    return Path(shutil.copytree(EXAMPLES / name, folder / name, ignore=ignored))


def run(place: Path, *command: str, program: str = sys.executable, **environment: str) -> str:
    """Run a program in an example's copy, by default Python; return its output."""
    done = subprocess.run(
        [program, *command],
        cwd=place,
        env={**os.environ, "XDG_STATE_HOME": str(place / "state"), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def graph(place: Path, target: str, **environment: str) -> str:
    """The picture of a pipeline's graph."""
    program = str(Path(sys.executable).with_name("tempo-runtime"))
    return run(place, "graph", target, "--format", "mermaid", program=program, **environment)


def blocks(name: str, language: str) -> list[str]:
    """The blocks of an example's README in a language."""
    text = (EXAMPLES / name / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
