"""Every command reports errors on one line, and nothing controls the terminal."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import PipelineModels, model, pipeline, predictmethod, save
from tests.helpers import pipelines
from tests.helpers.command_line import run

TEMPO = [sys.executable, "-c", "from tempo_runtime.cli import main; main()"]


@model("unbuildable")
class Unbuildable:
    def __init__(self) -> None:
        if os.environ.get("BROKEN"):
            raise ValueError("no vocabulary here")

    @predictmethod
    def predict(self, x: int) -> int:
        return x


@model("sleeper")
def sleeper(x: int) -> int:
    while True:
        time.sleep(0.1)


@model("late-async")
async def late_async(x: int) -> int:
    return await asyncio.to_thread(sleeper, x)


@pytest.mark.parametrize("command", ["predict", "check"])
def test_a_constructor_that_raises_is_reported_on_one_line_with_its_place(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(Unbuildable, str(tmp_path / "unbuildable"))
    monkeypatch.setenv("BROKEN", "1")
    code, printed, told = run(command, folder, "--arg", "x=1")
    assert code == 1
    [line] = [line for line in told.splitlines() if "Error" in line]
    assert "ValueError: no vocabulary here" in line
    assert re.search(r"test_errors\.py:\d+", line)
    assert "Traceback" not in printed + told


def test_the_traceback_is_shown_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(Unbuildable, str(tmp_path / "unbuildable"))
    monkeypatch.setenv("BROKEN", "1")
    monkeypatch.setenv("TEMPO_RUNTIME_DEBUG", "1")
    _, _, told = run("predict", folder, "--arg", "x=1")
    assert told.startswith("Traceback (most recent call last):")
    assert told.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("target", [sleeper, late_async])
def test_a_call_in_this_process_ends_with_its_time(target: Any, tmp_path: Path) -> None:
    folder = save(target, str(tmp_path / "late"))
    done = subprocess.run(
        [*TEMPO, "predict", folder, "--arg", "x=1", "--timeout", "0.5"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: .*0\.5 s.*\n", done.stderr)


@pytest.mark.parametrize("name", ["g.png", "g.PDF", "g.xyz", "g"])
@pytest.mark.parametrize("options", [(), ("--format", "svg")])
def test_a_graph_is_never_written_under_the_name_of_another_format(
    name: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    folder = save(pipelines.double, str(tmp_path / "double"))
    code, _, told = run("graph", folder, "-o", tmp_path / name, *options)
    if options and name in ("g.xyz", "g"):  # a name that says nothing
        assert (tmp_path / name).read_text().startswith("<svg")
        return
    assert code == 2
    assert "the name of a graph's file must end with .txt, .mmd, .mermaid, .svg" in " ".join(
        told.split()
    )
    assert not (tmp_path / name).exists()


def test_a_graph_in_a_file_has_no_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    folder = save(pipelines.double, str(tmp_path / "double"))
    assert run("graph", folder, "-o", tmp_path / "g.txt")[0] == 0
    assert "\x1b" not in (tmp_path / "g.txt").read_text()


def test_the_help_of_a_command_in_a_group_has_its_examples_line_by_line() -> None:
    _, printed, _ = run("image", "build", "--help")
    assert "\\b" not in printed
    assert "\n      tempo-runtime image build artifacts/check\n" in printed


def test_serve_reports_a_damaged_artifact_once(tmp_path: Path) -> None:
    folder = Path(save(pipelines.double, str(tmp_path / "double")))
    (folder / "pipeline.dill").write_bytes(b"")
    done = subprocess.run([*TEMPO, "serve", folder, "--port", "0"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("pipeline.dill (0 bytes) is not the file that was saved") == 1


def test_a_nested_pipeline_in_relative_folders_is_called_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from tempo_runtime import Model, ModelFramework

    save(pipelines.double, "artifacts/churn")
    churn = Model("double", platform=ModelFramework.TempoPipeline, local_folder="artifacts/churn")

    @pipeline("customers", local_folder="artifacts/customers", models=PipelineModels(churn=churn))
    def customers(x: int) -> Any:
        return customers.models.churn(x=np.array([x]))

    @pipeline("shop", local_folder="artifacts/shop", models=PipelineModels(customers=customers))
    def shop(x: int) -> Any:
        return shop.models.customers(x)

    assert shop(2).tolist() == [4]


# -- escape sequences ------------------------------------------------------------------------------

STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt.\r[red]"


def _hostile(folder: Path) -> None:
    description = json.loads((folder / "tempo.json").read_text())
    description["name"] = f"name{STEERING}"
    description["description"] = STEERING
    description["packages"] = {f"package{STEERING}": STEERING}
    description["children"] = {
        f"alias{STEERING}": {"name": f"child{STEERING}", "platform": STEERING, "folder": STEERING}
    }
    for tensor in description["signature"]["inputs"]:
        tensor["name"] = f"input{STEERING}"
        tensor["parameters"] = {"content_type": STEERING}
    (folder / "tempo.json").write_text(json.dumps(description))


COMMANDS: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "inspect": lambda folder: ("inspect", folder),
    "inspect --json": lambda folder: ("inspect", folder, "--json"),
    "graph": lambda folder: ("graph", folder),
    "graph svg": lambda folder: ("graph", folder, "--format", "svg"),
    "graph mermaid": lambda folder: ("graph", folder, "--format", "mermaid"),
    "doctor": lambda folder: ("doctor", folder),
    "predict": lambda folder: ("predict", folder, "--arg", "x=1"),
    "check": lambda folder: ("check", folder),
    "manifest": lambda folder: ("manifest", folder),
    "lint": lambda folder: ("lint", folder / "model-settings.json"),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / f"folder{STEERING.replace('/', '')}"
    saved = save(pipelines.double, str(tmp_path_factory.mktemp("whole") / "double"))
    shutil.copytree(saved, folder)
    _hostile(folder)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_control_characters_of_an_artifact(command: str, hostile: Path) -> None:
    _, printed, told = run(*COMMANDS[command](hostile))
    shown = printed + told
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "Traceback" not in shown
    assert "unexpected" not in shown


def test_results_of_a_server_are_escaped_as_json(tmp_path: Path) -> None:
    folder = save(pipelines.echo, str(tmp_path / "echo"))
    given = json.dumps({"t": "\x9b31m\u202e"})
    for options in ((), ("--json",)):
        code, printed, told = run("predict", folder, "--arg", f"x={given}", *options)
        assert code == 0, told
        assert not re.search("[\x80-\x9f\u202e]", printed)
        assert json.loads(printed)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import json\nx = undefined", "NameError: name 'undefined' is not defined at {file}:2"),
        ("import absent", "there is no module 'absent', which {file}:1 imports"),
        (
            "import sys\nsys.exit(3)",
            "SystemExit: 3 at {file}:2; move the call that ends the program",
        ),
    ],
    ids=["name", "module", "exit"],
)
def test_a_module_that_cannot_be_imported_is_reported_with_the_line(
    source: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{len(source)}"
    file = tmp_path / f"{name}.py"
    file.write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    code, _, said = run("graph", f"{name}:X")
    assert code in (1, 2)
    assert told.format(file=file) in " ".join(said.split())
