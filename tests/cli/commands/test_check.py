"""`tempo-runtime check`: whether an artifact works where it is not at home."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from tempo_runtime import (
    Batching,
    Model,
    ModelFramework,
    PipelineModels,
    model,
    pipeline,
    save,
)
from tests.helpers.command_line import run
from tests.helpers.packed_environment import PACKAGE, Project


@pytest.fixture
def double() -> Any:
    @model("double")
    def double(x: np.ndarray) -> np.ndarray:
        return x * 2

    return double


@pytest.fixture
def artifact(double: Any, tmp_path: Path) -> Path:
    return Path(save(double, str(tmp_path / "double")))


def test_a_recorded_example_is_asked_again_in_a_fresh_process(artifact: Path) -> None:
    code, printed, _ = run("check", artifact, "--arg", "x=[1, 2.5]")
    assert code == 0, printed
    assert "recorded an example in this environment" in printed
    code, printed, _ = run("check", artifact)
    assert code == 0
    assert "returned the recorded answer to its example" in printed


def test_without_an_example_it_is_loaded_and_says_how_to_record_one(artifact: Path) -> None:
    code, printed, _ = run("check", artifact)
    assert code == 0
    assert "loaded in a fresh process of Python" in printed
    assert "no example is recorded; give INPUT or --arg" in printed


def test_settings_that_mlserver_cannot_read_are_reported_with_the_field(artifact: Path) -> None:
    path = artifact / "model-settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_batch_size": "many"}))
    code, _, told = run("check", artifact)
    assert code == 1
    assert f"Error: {artifact}: its model-settings.json is invalid: max_batch_size: " in told


def test_an_example_changes_neither_digest_nor_checked_files(artifact: Path, double: Any) -> None:
    before = (artifact / "tempo.json").read_bytes()
    run("check", artifact, "--arg", "x=[1]")
    assert run("inspect", artifact)[0] == 0
    save(double, str(artifact))
    assert (artifact / "tempo.json").read_bytes() == before
    assert (artifact / "example.json").exists()


def test_another_answer_fails_and_says_where(artifact: Path) -> None:
    run("check", artifact, "--arg", "x=[1, 2]")
    example = artifact / "example.json"
    content = json.loads(example.read_text())
    content["response"]["outputs"][0]["data"][1] = 5
    example.write_text(json.dumps(content))
    code, _, told = run("check", artifact)
    assert code == 1
    assert "the answer[1] is 4, but was 5" in told


def test_an_input_that_does_not_fit_is_refused_before_anything_is_recorded(artifact: Path) -> None:
    code, _, told = run("check", artifact, "--arg", "y=1")
    assert code == 1
    assert "tensor 'y' is unknown; expected: x" in told
    assert not (artifact / "example.json").exists()


def test_an_invalid_example_is_reported(artifact: Path) -> None:
    (artifact / "example.json").write_text("{}")
    code, _, told = run("check", artifact)
    assert code == 1
    assert "example.json is not a recorded example" in told


def test_a_process_that_takes_too_long_is_ended(artifact: Path) -> None:
    code, _, told = run("check", artifact, "--timeout", "0.001")
    assert code == 1
    assert "no answer after 0.001 s; allow more time with --timeout" in told


def test_the_result_can_be_printed_as_json(artifact: Path) -> None:
    code, printed, _ = run("check", artifact, "--arg", "x=[1]", "--json")
    assert code == 0
    content = json.loads(printed)
    assert content.keys() == {"name", "python", "loaded", "answered", "evaluations"}
    assert content["evaluations"] == {}


def test_how_scikit_learn_models_are_computed_is_printed(tmp_path: Path) -> None:
    rows = np.arange(8.0).reshape(4, 2)
    children = {}
    for alias, estimator in (("tree", DecisionTreeRegressor()), ("line", LinearRegression())):
        (tmp_path / alias).mkdir()
        joblib.dump(estimator.fit(rows, rows[:, 0]), tmp_path / alias / "model.joblib")
        children[alias] = Model(
            alias, platform=ModelFramework.SKLearn, local_folder=str(tmp_path / alias)
        )

    @pipeline("both", models=PipelineModels(**children))
    def both(x: np.ndarray) -> np.ndarray:
        return both.models.tree(x) + both.models.line(x)

    artifact = save(both, str(tmp_path / "both"))
    code, printed, _ = run("check", artifact)
    assert code == 0, printed
    assert "tree is computed without scikit-learn's checks in each call" in printed
    assert "line is computed by scikit-learn: a LinearRegression has no fast path" in printed


@pytest.mark.slow
def test_an_artifact_that_works_only_in_its_environment_is_reported(
    project: Project, tmp_path: Path
) -> None:
    # Of its own: `check` records an example in it, and other tests have the artifact too.
    painter, asked = tmp_path / "painter", tmp_path / "request.json"
    shutil.copytree(project.artifact, painter, copy_function=os.link)
    asked.write_text(json.dumps({"word": "tempo"}))
    code, printed, _ = run("check", painter)
    assert code == 0, printed
    assert "unpacked its environment" in printed
    code, _, told = run("check", painter, asked)
    assert code == 1
    assert f"No module named '{PACKAGE}'" in told


def test_nothing_of_it_stays(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    run("check", artifact, "--arg", "x=[1]")
    assert os.listdir(place) == []


def test_it_says_which_models_answer_rows_together_as_alone(tmp_path: Path) -> None:
    @model("doubled", batching=Batching(), local_folder=str(tmp_path / "doubled"))
    def doubled(x: np.ndarray) -> np.ndarray:
        return 2 * x

    @model("centred", batching=Batching(), local_folder=str(tmp_path / "centred"))
    def centred(x: np.ndarray) -> np.ndarray:
        return x - x.mean()

    @pipeline("both", models=PipelineModels(doubled=doubled, centred=centred))
    def both(x: np.ndarray) -> np.ndarray:
        return both.models.doubled(x) + both.models.centred(x)

    save(doubled)
    save(centred)
    code, printed, told = run("check", save(both, str(tmp_path / "both")), "--arg", "x=[1, 2.5]")
    assert code == 0, told
    assert "doubled answers rows together as it does alone, bit for bit" in printed
    assert "centred answers rows together in another way than alone (row 0: " in printed
