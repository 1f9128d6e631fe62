"""The example metaflow_flow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import examples

NAME = "metaflow_flow"


@pytest.mark.timeout(600)
def test_its_last_step_prints_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("metaflow", reason="metaflow is not installed (scripts/frameworks.txt)")
    monkeypatch.setenv("METAFLOW_USER", "tester")
    example = examples.run(NAME, tmp_path)
    (answers,) = examples.blocks(NAME, "text")
    assert answers.strip() in example.printed
    assert [example.graph()] == examples.blocks(NAME, "mermaid")
