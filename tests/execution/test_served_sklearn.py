"""Scikit-learn models on a server of ours: computed fast, with the same answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from mlserver import ModelSettings
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, save
from tempo_runtime.errors import SettingsError
from tempo_runtime.execution.frameworks import SERVED_SKLEARN
from tempo_runtime.execution.served_sklearn import SKLearnModel
from tempo_runtime.servers.model_set import gather
from tempo_runtime.testing import Server, serve

_RANDOM = np.random.RandomState(0)
ROWS = _RANDOM.normal(size=(60, 3))
FOREST = RandomForestClassifier(n_estimators=5, random_state=0).fit(ROWS, ROWS[:, 0] > 0)
LINEAR = LinearRegression().fit(ROWS, ROWS[:, 0])
FAST, BY_SKLEARN = "computed without scikit-learn's checks", "computed by scikit-learn"


def _folder(root: Path, name: str, model: Any, **extra: Any) -> str:
    folder = root / name
    folder.mkdir(exist_ok=True)
    joblib.dump(model, folder / "model.joblib")
    parameters = {"uri": "./model.joblib", "extra": extra}
    stated = {"implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}
    (folder / "model-settings.json").write_text(json.dumps({"name": name, **stated}))
    return str(folder)


def _caller(root: Path, name: str, child: str) -> str:
    model = Model(child, platform=ModelFramework.SKLearn, local_folder=str(root / child))
    models = PipelineModels(child=model)

    @pipeline(name, models=models)
    def calls(x: np.ndarray) -> np.ndarray:
        return calls.models.child(x).astype(float)

    return save(calls, str(root / name))


def _loaded(folder: str, **extra: Any) -> SKLearnModel:
    parameters = {"uri": f"{folder}/model.joblib", "extra": extra}
    settings = {"name": "m", "implementation": SERVED_SKLEARN, "parameters": parameters}
    model = SKLearnModel(ModelSettings.model_validate(settings))
    assert asyncio.run(model.load())
    return model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("served")
    models = [
        _folder(root, "forest", FOREST),
        _folder(root, "left", FOREST, fast_sklearn=False),
        _folder(root, "linear", LINEAR),
    ]
    with serve(*models) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "how"), [("forest", FAST), ("left", BY_SKLEARN), ("linear", BY_SKLEARN)]
)
def test_the_log_of_a_server_says_how_each_model_is_computed(
    server: Server, name: str, how: str
) -> None:
    assert f"model '{name}' on this server is {how}" in server.log()


@pytest.mark.parametrize(("name", "model"), [("forest", FOREST), ("left", FOREST)])
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_a_served_model_answers_as_scikit_learn_does(
    server: Server, name: str, model: Any, method: str
) -> None:
    numbers = {"name": "x", "datatype": "FP64", "shape": list(ROWS.shape), "data": ROWS.tolist()}
    body = {"inputs": [numbers], "outputs": [{"name": method}]}
    answer = server.http.post(f"/v2/models/{name}/infer", json=body)
    assert answer.json()["outputs"][0]["data"] == getattr(model, method)(ROWS).ravel().tolist()


def test_a_model_is_made_fast_when_it_is_loaded(tmp_path: Path) -> None:
    assert "predict" in vars(_loaded(_folder(tmp_path, "m", FOREST))._model)


@pytest.mark.parametrize("setting", [False, "false", "0"])
def test_its_own_setting_leaves_a_model_to_scikit_learn(tmp_path: Path, setting: Any) -> None:
    model = _loaded(_folder(tmp_path, "m", FOREST), fast_sklearn=setting)
    assert "predict" not in vars(model._model)


def test_a_model_that_must_be_fast_and_cannot_be_is_refused(tmp_path: Path) -> None:
    told = r"model 'm' cannot be loaded with `fast_sklearn`: a LinearRegression has no .*; remove"
    with pytest.raises(SettingsError, match=told):
        _loaded(_folder(tmp_path, "m", LINEAR), fast_sklearn=True)


def test_a_setting_that_is_neither_true_nor_false_is_named(tmp_path: Path) -> None:
    told = r"model 'm': `fast_sklearn` in parameters.extra must be true or false, not 'perhaps'"
    with pytest.raises(SettingsError, match=told):
        _loaded(_folder(tmp_path, "m", FOREST), fast_sklearn="perhaps")


def test_a_child_with_fast_sklearn_false_holds_for_the_model_that_others_call(
    tmp_path: Path,
) -> None:
    _folder(tmp_path, "forest", FOREST)
    callers = [_caller(tmp_path, name, "forest") for name in ("one", "two")]
    settings_file = Path(callers[0]) / "model-settings.json"
    stated = json.loads(settings_file.read_text())
    stated["parameters"]["extra"] = {"models": {"child": {"fast_sklearn": False}}}
    settings_file.write_text(json.dumps(stated))
    for order in (callers, callers[::-1]):
        served = gather(order, environ={})["forest"]
        assert served.settings["parameters"]["extra"] == {"fast_sklearn": False}
    served = gather(callers[1:], environ={})["forest"]
    assert "fast_sklearn" not in (served.settings["parameters"].get("extra") or {})
