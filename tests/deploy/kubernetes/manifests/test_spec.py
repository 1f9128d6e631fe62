"""The models that are deployed with a pipeline, and those that are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import (
    AuthoringError,
    Model,
    ModelFramework,
    PipelineModels,
    SeldonCoreOptions,
    SettingsError,
    load,
    manifest,
    pipeline,
    save,
)
from tempo_runtime.settings import PipelineSettings
from tests.deploy.kubernetes.manifests import models

HOST = "default.svc.cluster.local"


@pipeline("inner", uri="s3://m/inner", models=PipelineModels(prices=models.classifier("prices")))
def inner(x: np.ndarray) -> np.ndarray:
    return inner.models.prices(x)


@pipeline(
    "outer",
    uri="s3://m/outer",
    models=PipelineModels(prices=models.classifier("prices"), inner=inner, again=inner),
)
def outer(x: np.ndarray) -> np.ndarray:
    return outer.models.inner(x)


def deployed(model: Any) -> list[str]:
    return [each["metadata"]["name"] for each in models.documents(model)]


def addresses(model: Any) -> dict[str, dict[str, Any]]:
    """Settings of the children of each pipeline that is deployed, by its name."""
    found = {}
    for each in containers(model):
        text = models.variables(each).get("TEMPO_RUNTIME_MODELS")
        if text is not None:
            found[each["name"]] = json.loads(text)
    return found


def containers(model: Any) -> list[dict[str, Any]]:
    found = []
    for each in models.documents(model):
        [predictor] = each["spec"]["predictors"]
        found += predictor["componentSpecs"][0]["spec"]["containers"]
    return found


def test_each_model_is_deployed_once_and_the_pipeline_first() -> None:
    assert deployed(outer) == ["outer", "prices", "inner"]


def test_a_pipeline_gets_the_addresses_of_what_it_calls_itself() -> None:
    prices = {
        "transport": "http",
        "model": "prices",
        "url": f"http://prices-default.{HOST}:9000",
    }
    inside = {**prices, "model": "inner", "url": f"http://inner-default.{HOST}:9000"}
    assert addresses(outer) == {
        "outer": {"prices": prices, "inner": inside, "again": inside},
        "inner": {"prices": prices},
    }


def test_a_served_pipeline_reads_its_addresses_over_its_own_settings() -> None:
    variables = models.variables(containers(outer)[0])
    own = {"models": {"inner": {"timeout": 5, "transport": "in_process", "model": "at-home"}}}
    child = PipelineSettings.read(own, variables).child("inner")
    assert (child.transport, child.url) == ("http", (f"http://inner-default.{HOST}:9000",))
    assert (child.model, child.timeout) == ("inner", 5)


def test_an_artifact_gives_what_its_pipeline_gives(tmp_path: Path) -> None:
    path = models.with_settings(tmp_path)
    by_hand = models.documents(models.explainer(folder=tmp_path))
    assert models.documents(path) == models.documents(Path(path)) == by_hand
    loaded = load(path)
    try:
        assert models.documents(loaded) == by_hand
    finally:
        loaded.release()


@pytest.fixture
def nested(tmp_path: Path) -> str:
    """An artifact whose child is a pipeline in a folder beside it."""
    save(inner, str(tmp_path / "inner"))
    inside = Model(
        "inner",
        platform=ModelFramework.TempoPipeline,
        local_folder=str(tmp_path / "inner"),
        uri="s3://m/inner",
    )
    around = models.explainer("outer", {"inner": inside}, tmp_path / "outer")
    return save(around, str(tmp_path / "outer"))


def test_the_children_of_a_nested_pipeline_are_read_from_its_artifact(nested: str) -> None:
    assert deployed(nested) == ["outer", "inner", "prices"]
    loaded = load(nested)
    try:
        assert deployed(loaded) == ["outer", "inner", "prices"]
    finally:
        loaded.release()


@pytest.mark.parametrize(
    "extra",
    [
        {"models": {"sklearn": {"url": "http://elsewhere:9000"}}},
        {"models": {"sklearn": '{"url": "http://elsewhere:9000"}'}},
        {"models": {"sklearn": {"transport": "in_process"}}},
        {"models": {"sklearn": {"fast_sklearn": True}}},
        {"transport": "in_process"},
        {"base_url": "http://elsewhere:9000"},
    ],
    ids=json.dumps,
)
def test_a_child_that_settings_place_is_not_deployed(extra: Any, tmp_path: Path) -> None:
    path = models.with_settings(tmp_path, **extra)
    assert deployed(path) == [models.EXPLAINER]
    assert addresses(path) == {}


def test_settings_of_this_machine_s_environment_mean_nothing_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_BASE_URL", "http://localhost:8080")
    assert deployed(models.explainer()) == [models.EXPLAINER, models.CLASSIFIER]


def test_a_child_s_transport_is_the_settings(tmp_path: Path) -> None:
    path = models.with_settings(tmp_path, models={"sklearn": {"transport": "grpc"}})
    assert addresses(path)[models.EXPLAINER]["sklearn"] == {
        "transport": "grpc",
        "model": models.CLASSIFIER,
        "url": f"grpc://{models.CLASSIFIER}-default.{HOST}:9500",
    }


def test_a_child_is_called_by_the_name_it_is_deployed_under(tmp_path: Path) -> None:
    path = models.with_settings(tmp_path, models={"sklearn": {"model": "its-name-at-home"}})
    assert addresses(path)[models.EXPLAINER]["sklearn"]["model"] == models.CLASSIFIER


def test_a_custom_model_is_the_same_with_its_artifact_and_without(tmp_path: Path) -> None:
    folder = save(models.explainer("custom", {}, tmp_path / "custom"), str(tmp_path / "custom"))
    known = models.classifier(
        "custom", platform=ModelFramework.Custom, uri="s3://tempo/custom", local_folder=folder
    )
    bare = models.classifier("custom", platform=ModelFramework.Custom, uri="s3://tempo/custom")
    path = save(models.explainer(models={"a": known, "b": bare}), str(tmp_path / "outer"))
    assert deployed(path) == [models.EXPLAINER, "custom"]


def test_a_model_alone_is_deployed_alone() -> None:
    [found] = models.documents(models.classifier())
    assert found["spec"]["predictors"][0]["graph"]["implementation"] == "SKLEARN_SERVER"


TWINS = {"one": models.classifier("twin"), "two": models.classifier("twin", uri="s3://m/other")}
FRAMEWORKS = {
    "one": models.classifier("twin"),
    "two": models.classifier("twin", platform=ModelFramework.XGBoost),
}


@pytest.mark.parametrize(
    ("model", "kind", "told"),
    [
        (models.explainer(uri=""), AuthoringError, "income-explainer has no uri"),
        (
            models.explainer(models={"m": models.classifier("prices", uri="")}),
            AuthoringError,
            "prices has no uri",
        ),
        (models.explainer(models=TWINS), SettingsError, "two models are called 'twin', at gs://"),
        (models.explainer(models=FRAMEWORKS), SettingsError, "two models are called 'twin'"),
        ("/nowhere", Exception, "/nowhere"),
        (3, AuthoringError, "3 is neither a pipeline, nor a Model, nor the folder"),
    ],
)
def test_a_model_that_cannot_be_deployed_is_reported_on_one_line(
    model: Any, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told) as error:
        manifest(model)
    assert "\n" not in str(error.value)


def test_options_of_another_kind_are_refused() -> None:
    with pytest.raises(SettingsError, match="expected SeldonCoreOptions, Seldon2Options or KServe"):
        manifest(models.explainer(), {"namespace": "production"})  # type: ignore[arg-type]


def test_options_for_a_model_that_is_not_deployed_are_refused() -> None:
    chosen = SeldonCoreOptions(remote_options={"models": {"income-sklern": {"replicas": 2}}})
    with pytest.raises(SettingsError, match="options for income-sklern, which is not deployed"):
        manifest(models.explainer(), chosen)
