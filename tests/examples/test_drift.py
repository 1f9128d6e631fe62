"""The example drift."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples import running

NAME = "drift"
for package in ("alibi_detect", "mlserver_alibi_detect"):
    pytest.importorskip(package, reason=f"{package} is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return running.copy_of(NAME, tmp_path_factory.mktemp("example"))


def test_rows_from_elsewhere_have_no_classes(place: Path) -> None:
    assert [running.run(place, "run.py")] == running.blocks(NAME, "text")


def test_its_readme_shows_its_graph(place: Path) -> None:
    graph = running.graph(place, "guarded:WatchedFlowers")
    assert [graph] == running.blocks(NAME, "mermaid")
