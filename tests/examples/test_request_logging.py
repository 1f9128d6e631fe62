"""The example request_logging."""

from __future__ import annotations

import pytest

from tests.helpers import examples

NAME = "request_logging"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> examples.Example:
    return examples.run(NAME, tmp_path_factory.mktemp("example"))


def test_it_prints_the_events_that_its_readme_shows(example: examples.Example) -> None:
    assert [example.printed] == examples.blocks(NAME, "text")


def test_private_values_are_not_logged(example: examples.Example) -> None:
    assert not any(value in example.printed for value in ("Ada", "Bob", "DE02", "FR14"))


def test_its_readme_shows_its_graph(example: examples.Example) -> None:
    assert [example.graph()] == examples.blocks(NAME, "mermaid")
