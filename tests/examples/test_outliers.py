"""The example outliers."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from tempo_runtime.testing import fake_children
from tests.helpers import examples

NAME = "outliers"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> examples.Example:
    return examples.run(NAME, tmp_path_factory.mktemp("example"))


@pytest.fixture
def flowers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(examples.EXAMPLES / NAME))
    return importlib.import_module("flowers").GuardedFlowers


def test_an_inlier_has_a_class_and_an_outlier_has_none(example: examples.Example) -> None:
    assert [example.printed] == examples.blocks(NAME, "text")


def test_its_readme_shows_its_graph(example: examples.Example) -> None:
    assert [example.graph()] == examples.blocks(NAME, "mermaid")


def test_the_classifier_is_asked_about_inliers_only(flowers: Any) -> None:
    rows = np.arange(3.0).reshape(3, 1)
    inside = np.array([1, -1, 1])
    with fake_children(flowers, detector=inside, classifier=np.array([0, 2])) as calls:
        assert flowers().name(rows) == ["setosa", None, "virginica"]
    (asked,) = calls[1].inputs.values()
    np.testing.assert_array_equal(asked, rows[[0, 2]])


def test_the_classifier_is_not_asked_about_outliers(flowers: Any) -> None:
    with fake_children(flowers, detector=np.array([-1, -1]), classifier=None) as calls:
        assert flowers().name(np.zeros((2, 1))) == [None, None]
    assert [call.alias for call in calls] == ["detector"]
