"""The example text_explainer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import examples


@pytest.mark.timeout(600)
def test_it_prints_the_words_and_the_graph_that_its_readme_shows(tmp_path: Path) -> None:
    example = examples.run("text_explainer", tmp_path)
    assert [example.printed] == examples.blocks("text_explainer", "text")
    assert [example.graph()] == examples.blocks("text_explainer", "mermaid")
