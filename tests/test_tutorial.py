"""The tutorial's commands, in their order, print what it shows, and so does its page in a browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import httpx
import pytest

from tests.helpers.income import ROOT
from tests.helpers.walkthrough import Walkthrough

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
BEFORE, _, REST = TUTORIAL.partition("\n## Call it in the browser\n")
BROWSER, _, AFTER = REST.partition("\n## ")
# The rows of the check, which the form has, and those that the reader enters; and the answers.
ROWS = re.findall(r"--arg 'rows=(.*?)'", BEFORE) + re.findall(r"`(\[\[.*?\]\])`", BROWSER)
CALLS = list(zip(ROWS, ("setosa", "versicolor")))
_FILE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walkthrough]:
    """The reader's folder, with the server that the browser calls."""
    with Walkthrough(tmp_path_factory.mktemp("tutorial")) as walk:
        walk.follow(BEFORE)
        print(f"From a clone to the browser, without pip:\n{walk.stopwatch()}\n")
        yield walk


def test_its_numbers_and_answers_are_those_that_are_tried() -> None:
    assert len(ROWS) == 2
    assert [f"`{species}`" for _, species in CALLS] == re.findall(r"`[a-z]+`", BROWSER)[-2:]


def test_the_request_of_the_page_s_run_button_is_answered(walk: Walkthrough) -> None:
    for rows, species in CALLS:
        url = f"{walk.url}/v2/models/flowers/predict_stream"
        events = httpx.post(url, json={"rows": json.loads(rows)})
        assert events.text == f'data: ["{species}"]\n\n'


def test_the_page_is_there(walk: Walkthrough) -> None:
    page = httpx.get(f"{walk.url}/")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")


def test_the_page_s_form_gives_the_answers_in_a_browser(walk: Walkthrough) -> None:
    browser_path = next((path for path in map(shutil.which, _BROWSERS) if path), None)
    if browser_path is None:
        pytest.skip("Chromium is not installed here")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{walk.url}/")
        for number, (rows, species) in enumerate(CALLS):
            if number > 0:
                page.get_by_role("button", name="Edit rows as JSON").click()
                page.get_by_role("textbox", name="rows, as JSON").fill(rows)
            page.get_by_role("button", name="Run", exact=True).click()
            answer = page.get_by_role("region", name="Answer", exact=True)
            answer.get_by_text(species).first.wait_for()
        browser.close()


def test_its_commands_after_the_browser_print_what_it_shows(walk: Walkthrough) -> None:
    walk.follow(AFTER)
    print(f"The whole tutorial, without pip:\n{walk.stopwatch()}")
    commands = [command for command, _ in walk.seconds]
    assert len(commands) == TUTORIAL.count("```bash\n") - 2  # install, and change the folder


def test_its_pipeline_is_the_readme_s() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in ("train.py", "flowers.py"):
        (shown,) = (text for text in _FILE.findall(readme) if text.startswith(f"# {name}"))
        assert shown in TUTORIAL
