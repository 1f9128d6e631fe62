"""The example mlflow_model."""

from __future__ import annotations

import pytest

from tests.helpers import examples

NAME = "mlflow_model"
pytest.importorskip("mlserver_mlflow", reason="mlserver_mlflow is not installed")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> examples.Example:
    return examples.run(NAME, tmp_path_factory.mktemp("example"))


def test_a_model_without_a_signature_answers(example: examples.Example) -> None:
    assert [example.printed] == examples.blocks(NAME, "text")


def test_its_readme_shows_its_graph(example: examples.Example) -> None:
    assert [example.graph()] == examples.blocks(NAME, "mermaid")
