"""The example two_models_and_a_rule."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np
import pytest

from tempo_runtime.testing import fake_children
from tests.helpers import examples

NAME = "two_models_and_a_rule"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> examples.Example:
    return examples.run(NAME, tmp_path_factory.mktemp("example"))


@pytest.fixture
def screening(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(examples.EXAMPLES / NAME))
    return importlib.import_module("screening").Screening


def test_it_prints_a_decision_for_each_row(example: examples.Example) -> None:
    decided = dict(reversed(line) for line in re.findall(r"^ *(\d+) (.*)$", example.printed, re.M))
    assert decided.keys() <= {"a doctor decides", "benign", "malignant"}
    assert {"benign", "malignant"} <= decided.keys()
    assert sum(map(int, decided.values())) == 171


def test_its_readme_shows_its_graph(example: examples.Example) -> None:
    assert [example.graph()] == examples.blocks(NAME, "mermaid")


def test_the_second_model_is_asked_about_suspected_rows_only(screening: Any) -> None:
    rows = np.arange(4.0).reshape(4, 1)
    with fake_children(
        screening, first=lambda _: np.array([0, 1, 0, 1]), second=lambda _: np.array([0, 1])
    ) as calls:
        decided = screening().decide(rows)
    assert decided == ["malignant", "benign", "a doctor decides", "benign"]
    assert [call.alias for call in calls] == ["first", "second"]
    (asked,) = calls[1].inputs.values()
    np.testing.assert_array_equal(asked, rows[[0, 2]])


def test_the_second_model_is_not_asked_where_nothing_is_suspected(screening: Any) -> None:
    with fake_children(screening, first=lambda rows: np.ones(len(rows), int), second=None) as calls:
        assert screening().decide(np.zeros((2, 1))) == ["benign", "benign"]
    assert [call.alias for call in calls] == ["first"]
