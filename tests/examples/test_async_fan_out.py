"""The example async_fan_out."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import pytest

from tempo_runtime.testing import fake_children
from tests.helpers import examples

NAME = "async_fan_out"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> examples.Example:
    return examples.run(NAME, tmp_path_factory.mktemp("example"))


def test_it_prints_the_plans_that_its_readme_shows(example: examples.Example) -> None:
    (shown,) = examples.blocks(NAME, "text")
    *plans, summary = example.printed.splitlines()
    assert plans == shown.splitlines()[:-1]
    assert summary.startswith("12 calls of 0.3 s each in ")


def test_its_readme_shows_its_graph(example: examples.Example) -> None:
    assert [example.graph()] == examples.blocks(NAME, "mermaid")


async def test_the_models_are_asked_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(examples.EXAMPLES / NAME))
    trip = importlib.import_module("trip").Trip
    asked, all_asked = [], asyncio.Event()

    def once_all_are_asked(answer: Any) -> Any:
        async def answered(*_: Any) -> Any:
            asked.append(answer)
            if len(asked) == 3:
                all_asked.set()
            await all_asked.wait()
            return answer

        return answered

    answers = {"flights": 100.0, "hotels": 60.0, "weather": "sun"}
    fakes = {alias: once_all_are_asked(answer) for alias, answer in answers.items()}
    with fake_children(trip, **fakes):
        assert await trip().plan("Oslo") == "Oslo: sun, 2 nights, 160 euros"
