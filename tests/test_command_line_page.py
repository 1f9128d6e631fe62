"""The examples of docs/cli.md that need no server do what the page says."""

from __future__ import annotations

import re

import pytest

from tests.helpers.income import ROOT
from tests.helpers.walkthrough import Walkthrough

PAGE = (ROOT / "docs" / "cli.md").read_text()
_BASH = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walkthrough:
    """A folder with the files that the page's examples use."""
    made = Walkthrough(tmp_path_factory.mktemp("page"))
    made.follow(PAGE.partition("## The examples on this page")[2].partition("\n## ")[0])
    return made


@pytest.mark.parametrize(
    ("begins", "shown"),
    [
        ("tempo-runtime predict artifacts/shop rows.csv", "18.9"),
        ("echo '{\"rows\": [[1, 2]]}' |", "6.0"),
        ("tempo-runtime check artifacts/shop rows.csv", "✓ recorded an example"),
        ("tempo-runtime graph artifacts/shop  ", "└── prices: prices  pipeline, same server"),
    ],
)
def test_an_example_works_as_it_stands(begins: str, shown: str, walk: Walkthrough) -> None:
    (line,) = (
        line
        for block in _BASH.findall(PAGE)
        for line in block.splitlines()
        if line.startswith(begins)
    )
    walk.run(line, shown)
