"""Errors as a notebook shows them, in IPython."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

CELL = """
from tempo_runtime import PipelineModels, model, pipeline

@model("forest")
def forest(amount: float) -> float:
    return int("many")

@pipeline("shop", models=PipelineModels(forest=forest))
def shop(amount: float) -> float:
    return shop.models.forest(amount)

def ask():
    return shop(1.0)

ask()
"""


@pytest.fixture
def shell() -> InteractiveShell:
    shell = InteractiveShell.instance()
    shell.colors = "NoColor"
    return shell


def shown(shell: InteractiveShell, cell: str) -> list[str]:
    with capture_output() as captured:
        shell.run_cell(cell)
    return (captured.stdout + captured.stderr).splitlines()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_error_is_its_message_its_cause_and_the_reader_s_lines(shell: InteractiveShell) -> None:
    lines = shown(shell, CELL)
    assert lines[0].startswith("PipelineFailed: ")
    assert "invalid literal for int()" in lines[0] + lines[1]
    assert any("return shop(1.0)" in line for line in lines)
    assert not any("tempo_runtime/" in line or "site-packages" in line for line in lines)
    assert lines[-1] == "Set TEMPO_RUNTIME_DEBUG=1 to see the whole traceback."


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_whole_traceback_is_shown_on_request(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_DEBUG", "1")
    assert any("tempo_runtime/" in line for line in shown(shell, CELL))
