"""The tutorial's commands print what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command_line import Serving
from tests.helpers.income import ROOT

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


def test_its_commands_print_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    served = []
    for language, text, shown in _BLOCK.findall(TUTORIAL):
        if language == "python":
            (tmp_path / text.split()[1]).write_text(text)
        elif text.startswith("tempo-runtime serve"):
            served.append(text.split()[2:])
        elif not text.startswith(("pip install", "curl")):
            assert shown in run(text, tmp_path)
    (curl,) = re.findall(r"^curl .*?'$", TUTORIAL, re.DOTALL | re.MULTILINE)
    assert len(served) == 2
    for number, arguments in enumerate(served):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Serving(folder, *arguments, "--port", "0") as serving:
            serving.wait_for("Ctrl-C stops the server")
            (url,) = re.findall(r"ready at (\S+)", serving.printed())
            assert '"data":["setosa"]' in run(curl.replace("http://127.0.0.1:8080", url), tmp_path)


def test_its_pipeline_is_the_readme_s() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in ("train.py", "flowers.py"):
        (shown,) = (text for _, text, _ in _BLOCK.findall(readme) if text.startswith(f"# {name}"))
        assert shown in TUTORIAL


def run(line: str, folder: Path) -> str:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_STATE_HOME": str(folder / "state"),
    }
    done = subprocess.run(
        ["bash", "-ec", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}{done.stdout}{done.stderr}"
    return done.stdout
