"""The tutorial's commands, in their order, print what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from tests.helpers.income import ROOT
from tests.helpers.walkthrough import Walkthrough

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
BROWSER = "\n## Call it in the browser\n"
_FILE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_its_commands_print_what_it_shows(tmp_path: Path) -> None:
    before, _, after = TUTORIAL.partition(BROWSER)
    browser, _, after = after.partition("\n## ")
    with Walkthrough(tmp_path) as walk:
        walk.follow(before)
        run_as_the_page_does(walk, browser)
        print(f"From a clone to the browser, without pip:\n{walk.stopwatch()}\n")
        walk.follow(after)
        print(f"The whole tutorial, without pip:\n{walk.stopwatch()}")
    commands = [command for command, _ in walk.seconds]
    assert len(commands) == TUTORIAL.count("```bash\n") - 2  # install, and change the folder


def run_as_the_page_does(walk: Walkthrough, browser: str) -> None:
    """Send what the page's Run button sends, with the numbers that the reader enters."""
    rows = re.findall(r"`([\d., ]+)`", browser)
    species = re.findall(r"`([a-z]+)`", browser)[-2:]
    assert len(rows) == len(species) == 2
    for numbers, name in zip(rows, species):
        body = {"rows": [[float(number) for number in numbers.split(",")]]}
        events = httpx.post(f"{walk.url}/v2/models/flowers/predict_stream", json=body)
        assert events.text == f'data: ["{name}"]\n\n'


def test_its_pipeline_is_the_readme_s() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in ("train.py", "flowers.py"):
        (shown,) = (text for text in _FILE.findall(readme) if text.startswith(f"# {name}"))
        assert shown in TUTORIAL
