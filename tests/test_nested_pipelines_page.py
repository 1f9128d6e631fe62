"""docs/nested-pipelines.md does what it says."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from tests.helpers.income import ROOT
from tests.helpers.walkthrough import Walkthrough

PAGE = (ROOT / "docs" / "nested-pipelines.md").read_text()
BASKETS = {"baskets": [["tea", "milk"], ["cake"]], "country": "de"}


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walkthrough:
    """Its reader's folder, with everything up to the server saved."""
    made = Walkthrough(tmp_path_factory.mktemp("nested"))
    made.follow(PAGE.partition("\n## Serve\n")[0])
    return made


def test_its_commands_print_what_it_shows(walk: Walkthrough) -> None:
    served, _, deployed = PAGE.partition("\n## Serve\n")[2].partition("\n## Deploy\n")
    with walk:
        walk.follow(served)
        # Called on the same server, each pipeline counts its own calls.
        answer = call(walk, tempo_max_calls=3)
        assert (answer.status_code, answer.json()) == (200, [5.95, 2.975])
        metrics, found = re.findall(r"^tempo_\S+$", PAGE, re.MULTILINE), walk.metrics()
        assert len(metrics) == 2
        assert [line for line in metrics if f"\n{line} " not in found] == []
    walk.follow(deployed)


def test_in_process_the_answers_are_the_same_and_the_calls_are_counted_together(
    walk: Walkthrough,
) -> None:
    with walk:
        walk.run("tempo-runtime serve artifacts/order --in-process")
        assert call(walk).json() == [5.95, 2.975]
        refused = call(walk, tempo_max_calls=3)
        assert (refused.status_code, refused.json()["tempo"]["kind"]) == (422, "BudgetExceeded")
        assert call(walk, tempo_max_calls=4).status_code == 200
        assert httpx.post(f"{walk.url}/v2/models/price/predict", json={}).status_code == 404
        failed = httpx.post(
            f"{walk.url}/v2/models/order/predict", json={**BASKETS, "country": "it"}
        ).json()
        (shown,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        assert failed["tempo"] == json.loads(shown)["tempo"]


def call(walk: Walkthrough, **parameters: int) -> httpx.Response:
    url = f"{walk.url}/v2/models/order/predict"
    return httpx.post(url, params=parameters, json=BASKETS)
