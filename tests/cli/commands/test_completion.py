"""Completion in shells, and how little `--help` takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command_line import run

BIN = str(Path(sys.executable).parent)
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
# These are bash's steps when TAB is pressed after the words.
TAB = """
set -e
eval "$(tempo-runtime completion bash)"
COMP_WORDS=(tempo-runtime "$@")
COMP_CWORD=$#
_tempo_runtime_completion tempo-runtime
printf '%s\\n' "${COMPREPLY[@]}"
"""
HEAVY = {"numpy", "pandas", "rich", "mlserver", "httpx", "aiohttp", "dill", "grpc", "pydantic"}


def tab(*words: str) -> list[str]:
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    done = subprocess.run(
        ["bash", "-c", TAB, "bash", *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_completes_commands() -> None:
    assert tab("ins") == ["inspect"]


def test_bash_completes_options() -> None:
    assert tab("predict", "--ba") == ["--batch"]


def test_bash_completes_the_options_of_the_chosen_target() -> None:
    assert tab("kubernetes", "un") == ["undeploy"]
    assert tab("deploy", "x", "--to", "kubernetes", "--na") == ["--namespace"]
    assert tab("deploy", "x", "--doc") == ["--docker"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str) -> None:
    code, printed, _ = run("completion", shell)
    assert code == 0
    assert f"_TEMPO_RUNTIME_COMPLETE={shell}_complete" in printed


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--help"], {}),
        (["predict", "--help"], {}),
        (["kubernetes", "--help"], {}),
        (
            [],
            {"_TEMPO_RUNTIME_COMPLETE": "bash_complete", "COMP_WORDS": "x pre", "COMP_CWORD": "1"},
        ),
    ],
    ids=["help", "help of a command", "help of a group", "completion"],
)
def test_help_and_completion_import_nothing_heavy(
    arguments: list[str], variables: dict[str, str]
) -> None:
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr))\n"
        "from tempo_runtime.cli import main\n"
        f"main({arguments}, prog_name='tempo-runtime')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "predict" in done.stdout or "undeploy" in done.stdout
    assert done.stderr.splitlines()[-1] == "[]"
