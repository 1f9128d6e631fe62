"""Run an example as its README says, in a copy of its folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.income import ROOT

EXAMPLES = ROOT / "examples"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """An example that has been run.

    Attributes:
        name: The name of its folder.
        folder: The copy in which it was run.
        printed: What it printed.
    """

    name: str
    folder: Path
    printed: str

    def graph(self) -> str:
        """Return what the README's command for the graph prints."""
        (command,) = (line for line in commands(self.name) if is_graph(line))
        return shell(command, self.folder)


def run(name: str, folder: Path) -> Example:
    """Copy an example into a folder, and run its README's commands, except for the graph."""
    place = folder / name
    left_out = shutil.ignore_patterns("artifacts", "__pycache__")
    shutil.copytree(EXAMPLES / name, place, ignore=left_out)
    lines = [line for line in commands(name) if not is_graph(line)]
    return Example(name, place, "".join(shell(line, place) for line in lines))


def blocks(name: str, language: str) -> list[str]:
    """List the blocks of an example's README that are in a language."""
    readme = (EXAMPLES / name / "README.md").read_text()
    return [text for kind, text in _BLOCK.findall(readme) if kind == language]


def commands(name: str) -> list[str]:
    """List the commands of an example's README, without those that install it and change the folder."""
    lines = [line for block in blocks(name, "bash") for line in block.splitlines()]
    return [line for line in lines if not line.startswith(("cd ", "pip install"))]


def is_graph(command: str) -> bool:
    """Tell whether a command prints the graph."""
    return command.startswith("tempo-runtime graph ")


def shell(command: str, folder: Path, **environment: str) -> str:
    """Run a command of this environment in a folder; return what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "XDG_STATE_HOME": str(folder / "state"), **environment}
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env={**os.environ, **own},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
