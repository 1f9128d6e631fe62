"""The README does what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.helpers.command_line import Serving
from tests.helpers.income import ROOT

README = (ROOT / "README.md").read_text()
DEFAULT = "http://127.0.0.1:8080"
COMMAND = Path(sys.executable).parent / "tempo-runtime"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_commands_it_names_are_in_the_makefile() -> None:
    named = set(re.findall(r"make (\w+)", README))
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "serve"} <= named <= targets


def test_the_files_it_names_are_there() -> None:
    named = re.findall(r"\]\(((?:docs/)?[\w.]+\.md)\)", README)
    named += re.findall(r"benchmarks/\w+\.py", README)
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's files, its model trained and its commands run, without serving."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("train.py", "flowers.py"):
        (block,) = (block for block in blocks("python") if block.startswith(f"# {name}\n"))
        (folder / name).write_text(block)
    run(folder, [sys.executable, "train.py"])
    lines = re.findall(
        r"^tempo-runtime (?:save|inspect|check|manifest) [^>\n]*", README, re.MULTILINE
    )
    assert len(lines) == 5
    for line in lines:
        run(folder, [COMMAND, *shlex.split(line, True)[1:]])
    return folder


def run(folder: Path, command: Sequence[str | Path]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_first_pipeline_answers_its_curl_line_as_shown(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (curl,) = (block for block in blocks("bash") if "/models/flowers/infer -H" in block)
    (predict,) = re.findall(r"^tempo-runtime predict .*", README, re.MULTILINE)
    (shown,) = map(json.loads, blocks("json"))
    monkeypatch.chdir(flowers)
    with Serving(tmp_path, "artifacts/flowers", "--port", "0") as serving:
        serving.wait_for("Ctrl-C stops the server")
        (url,) = re.findall(r"ready at (\S+)", serving.printed())
        answer = json.loads(run(flowers, ["bash", "-c", curl.replace(DEFAULT, url)]))
        printed = run(flowers, [COMMAND, *shlex.split(predict.replace(DEFAULT, url))[1:]])
    assert {**answer, "id": shown["id"]} == shown
    assert json.loads(printed) == ["setosa"]


def test_its_tour_runs(flowers: Path) -> None:
    call, deploy = (block for block in blocks("python") if not block.startswith("# "))
    *imports, expression = call.strip().splitlines()
    script = [*imports, f"print({expression.partition('  # ')[0]})"]
    assert run(flowers, [sys.executable, "-c", "\n".join(script)]).strip() == "['setosa']"
    assert run(flowers, [sys.executable, "-c", deploy]).strip().endswith("['setosa']")
