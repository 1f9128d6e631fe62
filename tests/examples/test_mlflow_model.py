"""The example mlflow_model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples import running

NAME = "mlflow_model"
pytest.importorskip("mlserver_mlflow", reason="mlserver_mlflow is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return running.copy_of(NAME, tmp_path_factory.mktemp("example"))


def test_a_model_without_a_signature_answers(place: Path) -> None:
    assert [running.run(place, "run.py")] == running.blocks(NAME, "text")


def test_its_readme_shows_its_graph(place: Path) -> None:
    assert [running.graph(place, "iris:Iris")] == running.blocks(NAME, "mermaid")
