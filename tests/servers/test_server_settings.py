"""MLServer's own settings, and files of models, where they would fail late or say nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlserver import Settings
from mlserver.rest import RESTServer
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tempo_runtime import ChildFailed, ChildUnavailable, Model, ModelFramework, SettingsError
from tempo_runtime.errors import ArtifactDamaged, ArtifactMissing
from tempo_runtime.servers import model_set, repository
from tempo_runtime.servers.run import choose_ports, running


def written(folder: Path, settings: Any) -> Path:
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def test_a_relative_logging_configuration_is_found_from_the_artifact(tmp_path: Path) -> None:
    (tmp_path / "logging.ini").touch()
    found = repository.server_settings(written(tmp_path, {"logging_settings": "logging.ini"}))
    assert found == {"logging_settings": str(tmp_path / "logging.ini")}


def test_a_relative_logging_configuration_is_found_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logging.ini").touch()
    (tmp_path / "artifact").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = written(tmp_path / "artifact", {"logging_settings": "logging.ini"})
    assert repository.server_settings(folder)["logging_settings"] == str(tmp_path / "logging.ini")


def test_a_logging_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path, {"logging_settings": "other.ini"})
    with pytest.raises(
        SettingsError, match=r"settings.json: the file other.ini in logging_settings"
    ):
        repository.server_settings(folder)


def test_server_settings_that_are_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.json").mkdir()
    with pytest.raises(ArtifactDamaged, match=r"settings.json cannot be read: "):
        repository.server_settings(tmp_path)


@pytest.mark.parametrize("value", ["false", "0", "False"])
def test_a_server_that_would_load_no_models_is_not_waited_for(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSERVER_LOAD_MODELS_AT_STARTUP", value)
    ports = choose_ports("127.0.0.1", 0)
    told = rf"MLSERVER_LOAD_MODELS_AT_STARTUP is {value}: MLServer would load no models; remove it"
    with pytest.raises(SettingsError, match=told), running({}, ports):
        pass


def test_server_settings_that_load_no_models_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"load_models_at_startup in settings.json is False"):
        repository.refuse_unloaded({"load_models_at_startup": False}, {})
    repository.refuse_unloaded({}, {})
    repository.refuse_unloaded(
        {"load_models_at_startup": True}, {"MLSERVER_LOAD_MODELS_AT_STARTUP": "false"}
    )


@pytest.fixture(scope="module")
def categorical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LightGBM model of a column of categories."""
    lightgbm = pytest.importorskip("lightgbm")
    folder = tmp_path_factory.mktemp("lightgbm")
    table = pd.DataFrame({"size": np.arange(40.0), "kind": pd.Categorical(["x", "y"] * 20)})
    model = lightgbm.train({"verbose": -1}, lightgbm.Dataset(table, np.arange(40.0)), 2)
    model.save_model(str(folder / "model.bst"))
    return folder


def test_categories_for_lightgbm_are_refused_with_the_cause(categorical: Path) -> None:
    trees = Model("trees", platform=ModelFramework.LightGBM, local_folder=str(categorical))
    table = pd.DataFrame({"size": [1.0], "kind": pd.Categorical(["x"], categories=["x", "y"])})
    with pytest.raises(
        ChildFailed, match=r"trained on a DataFrame with categorical columns.* send"
    ):
        trees(table)


def test_a_model_file_of_another_name_is_reported_with_the_expected_one(
    categorical: Path, tmp_path: Path
) -> None:
    shutil.copy(categorical / "model.bst", tmp_path / "model.txt")
    trees = Model("trees", platform=ModelFramework.LightGBM, local_folder=str(tmp_path))
    told = r"does not contain model.bst, which .* loads; rename model.txt if it is the model"
    with pytest.raises(ChildUnavailable, match=told):
        trees(np.zeros((1, 2)))
    with pytest.raises(ArtifactMissing, match=told):
        model_set.gather_model(trees.details)


def test_a_server_parses_http_with_httptools() -> None:
    config = RESTServer(Settings(), None, None)._get_config()
    config.load()
    assert config.http_protocol_class is HttpToolsProtocol
