"""`tempo-runtime` alone says what to do next, and help lists the commands by task."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import tempo_runtime
from tempo_runtime.cli import TASKS, main
from tempo_runtime.cli.next_steps import steps
from tests.deploy.conftest import alone
from tests.helpers import pipelines
from tests.helpers.command_line import Serving, run

MODULE = """
import tempo_runtime as tempo

@tempo.model("double")
def double(x: int) -> int:
    return 2 * x
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def artifact(here: Path) -> Path:
    """An artifact with an example, in a folder whose name needs quotes."""
    folder = here / "artifacts/my double"
    tempo_runtime.save(pipelines.double, str(folder))
    assert run("check", folder, "--arg", "x=[1, 2]")[0] == 0
    return folder


def told() -> list[str]:
    """The commands that `tempo-runtime` alone prints."""
    code, printed, _ = run()
    assert code == 0
    return re.findall(r"^  (\S.*)$", printed, re.MULTILINE)


def done(line: str) -> tuple[int, str, str]:
    program, *arguments = shlex.split(line)
    assert program == "tempo-runtime"
    return run(*arguments)


def served(line: str, folder: Path) -> None:
    """Run a printed `serve` until it is ready, and end it."""
    program, command, *arguments = shlex.split(line)
    assert (program, command) == ("tempo-runtime", "serve")
    (folder / "serving").mkdir()
    with Serving(folder / "serving", *arguments, "--port", "0") as serving:
        serving.wait_for("Ctrl-C stops the server")
        assert serving.stop(signal.SIGINT) == 130


def test_in_an_empty_folder_a_project_is_started(here: Path) -> None:
    project, doctor, more = told()
    assert done(project)[0] == 0
    assert done(doctor)[0] in (0, 1)  # 1: it knows a problem of this machine
    assert "Build, serve and deploy pipelines" in done(more)[1]
    assert [step.command for step in steps(here / "demo")] == [
        "make test",
        "make serve",
        "tempo-runtime graph pipeline:Flowers",
    ]


def test_beside_a_module_its_pipeline_is_saved_and_served(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "broken.py").write_text("def (")
    (here / "not-a-module.py").write_text(MODULE)
    (here / "shop.py").write_text(MODULE)
    graph, save, serve = told()
    assert graph == "tempo-runtime graph shop:double"
    assert done(graph)[0] == 0
    code, printed, _ = done(save)
    assert code == 0
    served(serve, here)
    inspect, again = (line.partition(":")[2] for line in printed.splitlines()[-2:])
    assert done(inspect)[0] == 0
    assert shlex.split(again) == shlex.split(serve)
    sys.modules.pop("shop")


def test_beside_an_artifact_it_is_checked_served_and_deployed(artifact: Path, here: Path) -> None:
    check, serve, deploy = told()
    assert check == "tempo-runtime check 'artifacts/my double'"
    assert done(check)[0] == 0
    served(serve, here)
    with alone(here / "state"):
        try:
            code, printed, _ = done(deploy)
            assert code == 0
        finally:
            *_, last = printed.splitlines()
            assert done(last)[0] == 0  # tempo-runtime undeploy double
        assert not list((here / "state").rglob("deployment.json"))


def test_looking_for_what_is_next_runs_no_code_of_the_folder(here: Path) -> None:
    (here / "shop.py").write_text(f"{MODULE}\nopen('ran', 'w')")
    assert told()
    assert not (here / "ran").exists()


def test_next_steps_pass_over_hidden_and_deep_folders(here: Path) -> None:
    for place in (".cache/one", "a/b/c"):
        (here / place).mkdir(parents=True)
        (here / place / "tempo.json").write_text("{}")
    assert told()[0] == "tempo-runtime init demo"


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for sub, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {sub}")


ALL = dict(commands(main, "tempo-runtime"))


def test_help_lists_each_command_once_by_task() -> None:
    printed = run("--help")[1]
    assert list(re.findall(r"^(Write|Run|Deploy|Look):$", printed, re.MULTILINE)) == list(TASKS)
    listed = re.findall(r"^  (\w+)  +[A-Z]", printed.partition("\nWrite:")[2], re.MULTILINE)
    assert sorted(listed) == sorted(main.commands)


@pytest.mark.parametrize("name", ALL)
def test_help_cuts_no_line_at_80_columns(name: str) -> None:
    context: Any = None
    for word in name.split():
        command = ALL[word] if context is None else context.command.commands[word]
        context = click.Context(command, context, word, terminal_width=80)
    lines = context.get_help().splitlines()
    listed = lines[lines.index("Commands:") :] if "Commands:" in lines else []
    assert [line for line in listed if line.endswith("...")] == []
    examples = [line for line in lines if line.startswith("      ")]
    assert [line for line in lines if len(line) > 80 and line not in examples] == []


def test_the_program_alone_answers_without_heavy_imports(here: Path) -> None:
    code = "import sys; from tempo_runtime.cli import main; main([], standalone_mode=False); "
    code += "print(sorted({'mlserver', 'numpy', 'aiohttp', 'pydantic'} & set(sys.modules)))"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=here, text=True)
    assert printed.splitlines()[-1] == "[]"
