"""The example drift."""

from __future__ import annotations

import pytest

from tests.helpers import examples

NAME = "drift"
for package in ("alibi_detect", "mlserver_alibi_detect"):
    pytest.importorskip(package, reason=f"{package} is not installed")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> examples.Example:
    return examples.run(NAME, tmp_path_factory.mktemp("example"))


def test_rows_from_elsewhere_have_no_classes(example: examples.Example) -> None:
    assert [example.printed] == examples.blocks(NAME, "text")


def test_its_readme_shows_its_graph(example: examples.Example) -> None:
    assert [example.graph()] == examples.blocks(NAME, "mermaid")
