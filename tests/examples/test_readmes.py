"""Each example has a README with a command and a picture, a row in the table, and a test."""

from __future__ import annotations

import re

import pytest

from tests.helpers import examples
from tests.helpers.income import ROOT

# Their tests are of a part of the package.
ELSEWHERE = {"explainers": "tests/execution/explain/test_explainers.py"}
NAMES = sorted(
    folder.name for folder in examples.EXAMPLES.iterdir() if (folder / "README.md").is_file()
)


def test_every_folder_has_a_readme() -> None:
    folders = {
        path.relative_to(examples.EXAMPLES).parts[0] for path in examples.EXAMPLES.glob("*/*.py")
    }
    assert folders == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_readme_has_a_command_and_a_picture(name: str) -> None:
    assert examples.commands(name)
    assert all(block.startswith("flowchart") for block in examples.blocks(name, "mermaid"))
    assert examples.blocks(name, "mermaid")


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_test(name: str) -> None:
    assert (ROOT / ELSEWHERE.get(name, f"tests/examples/test_{name}.py")).is_file()


def test_the_table_lists_every_example_once_in_alphabetical_order() -> None:
    table = (examples.EXAMPLES / "README.md").read_text()
    assert re.findall(r"^\| \[(\w+)\]\(\1/README\.md\) \| ", table, re.M) == NAMES
