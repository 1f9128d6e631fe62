"""Artifacts that earlier versions saved are still loaded, and served, as they were."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
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
from tempo_runtime import ArtifactError, model
from tempo_runtime.artifact import earlier, pickle_imports
from tempo_runtime.artifact.freshness import ensure
from tempo_runtime.testing import serve

DATA = Path(__file__).parents[1] / "data"
VERSIONS = ("b385a99", "49967eb")
PYTHON = ".".join(platform.python_version_tuple()[:2])

pytestmark = pytest.mark.skipif(
    PYTHON != "3.11", reason="they were saved by Python 3.11, and a pickle holds bytecode"
)


@pytest.fixture(scope="module", params=VERSIONS)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of one version, and the scikit-learn model that one of them calls."""
    kept = DATA / f"artifacts-{request.param}"
    folder = shutil.copytree(kept, tmp_path_factory.mktemp("kept") / "artifacts")
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


latest = pytest.mark.parametrize("kept", ["49967eb"], indirect=True)


@latest
def test_an_instance_finds_the_children_and_the_pipeline_that_it_held(
    load: Callable[[str], Any],
) -> None:
    held = load("held")
    assert held.predict(2) == ("direct 3", 12)
    assert held.predict(2).label == held.bound(2).label
    assert held.tempo is held.get_tempo()
    assert held.details.signature.inputs[0].dtype == np.dtype(np.float32)
    assert [name for name, _ in held.tempo.declared.items()] == ["line", "inner"]


@latest
def test_an_instance_with_slots_streams(load: Callable[[str], Any]) -> None:
    assert list(load("slots").predict("a")) == ["a", "a"]


@latest
def test_a_function_of_a_script_has_its_context_and_its_load_method(
    load: Callable[[str], Any],
) -> None:
    assert int(asyncio.run(load("counts")(b"abc"))["count"][0]) == 14


@pytest.mark.parametrize("version", VERSIONS)
def test_each_name_of_this_package_in_a_kept_pickle_has_a_place_now(version: str) -> None:
    names = set()
    for pickle in (DATA / f"artifacts-{version}").glob("*/pipeline.dill"):
        names |= pickle_imports.references(pickle.read_bytes())
    ours = {(module, name) for module, name in names if module.startswith("tempo_runtime")}
    assert ours
    for module, name in ours:
        place, found = earlier.current(module, name)
        assert hasattr(importlib.import_module(place), found), (module, name)


@pytest.mark.parametrize("old", earlier.MOVED)
def test_each_moved_name_is_where_the_table_says(old: str) -> None:
    new = earlier.MOVED[old]
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(new)
        return
    module, _, name = new.rpartition(".")
    assert hasattr(importlib.import_module(module), name)


def test_a_pipeline_that_an_earlier_version_saved_is_stale_because_of_its_format(
    tmp_path: Path,
) -> None:
    @model("words", local_folder=str(tmp_path / "words"))
    def words(word: str) -> bool:
        return not word

    shutil.copytree(DATA / "artifacts-49967eb/words", tmp_path / "words")
    with pytest.raises(ArtifactError, match="the format of artifacts changed since"):
        ensure(words, "refuse")
    ensure(words)
    assert tempo_runtime.load(str(tmp_path / "words"))("") is True
