"""Artifacts that b385a99 saved are still loaded, and served, as they were."""

from __future__ import annotations

import asyncio
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import tempo_runtime
from tempo_runtime.testing import serve

KEPT = Path(__file__).parents[1] / "data/artifacts-b385a99"
PYTHON = ".".join(platform.python_version_tuple()[:2])

pytestmark = pytest.mark.skipif(
    PYTHON != "3.11", reason="they were saved by Python 3.11, and a pickle holds bytecode"
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts, and the scikit-learn model that one of them calls."""
    folder = shutil.copytree(KEPT, tmp_path_factory.mktemp("kept") / "artifacts")
    (folder / "line").mkdir()
    line = LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([1.0, 4.0]))
    joblib.dump(line, folder / "line/model.joblib")
    return Path(folder)


@pytest.fixture
def load(kept: Path) -> Any:
    loaded = []

    def load(name: str) -> Any:
        loaded.append(tempo_runtime.load(str(kept / name)))
        return loaded[-1]

    yield load
    for each in loaded:
        each.get_tempo().release()


def test_a_class_of_a_module_is_made_with_its_constructors_arguments(
    load: Callable[[str], Any],
) -> None:
    found = load("of-module")
    assert (found.by, found.predict(5)) == (3, 15)


def test_a_class_by_value_has_its_arguments_its_folder_and_its_load_method(
    load: Callable[[str], Any],
) -> None:
    assert load("by-value").predict(4.0) == (9.0, "by-value")


def test_a_function_is_loaded_with_its_load_method(load: Callable[[str], Any]) -> None:
    words = load("words")
    assert (words("tensor"), words("cat")) == (True, False)
    assert words.get_tempo().details.description == "A function that loads."


def test_a_function_of_a_dataframe_takes_and_gives_one(load: Callable[[str], Any]) -> None:
    given = pd.DataFrame({"n": [1.0, 2.0]})
    pd.testing.assert_frame_equal(asyncio.run(load("frames")(given)), given * 2)


def test_a_nested_pipeline_calls_its_children_beside_it(load: Callable[[str], Any]) -> None:
    found = load("nested").predict(np.array([[1.0], [2.0]]))
    np.testing.assert_allclose(found, [4 + 30, 7 + 30])


def test_a_real_server_serves_them(kept: Path) -> None:
    with serve(kept) as server:
        rows = np.array([[1.0], [2.0]])
        number, folder = server.infer("by-value", value=4.0)
        assert (float(np.ravel(number)[0]), folder) == (9.0, "by-value")
        np.testing.assert_allclose(np.ravel(server.infer("nested", rows=rows)), [34, 37])
