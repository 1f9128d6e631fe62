"""A list of numbers for a model that takes arrays arrives as the array that it is, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer

from tempo_runtime import Model, ModelFramework, PipelineModels, deploy_local, pipeline
from tempo_runtime.clients.array_models import arrays_of, request_parameters
from tempo_runtime.clients.child import Child
from tempo_runtime.errors import ArgumentError, PayloadError
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.protocol.codec import encode, spec_of
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import Server, serve
from tests.helpers.value_strategies import same

ROWS = [[1.5, 2.0], [3.0, 4.0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scikit-learn model that returns the array that it gets."""
    folder = tmp_path_factory.mktemp("identity") / "identity"
    folder.mkdir()
    joblib.dump(FunctionTransformer(), folder / "model.joblib")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model("identity", platform=ModelFramework.SKLearn, local_folder=str(folder))


@pytest.fixture(scope="module")
def server(model: Model, folder: Path) -> Iterator[Server]:
    settings = '{"name": "identity", "implementation": "mlserver_sklearn.SKLearnModel"}'
    (folder / "model-settings.json").write_text(settings)
    with serve(folder) as running:
        yield running


@pytest.fixture(params=["in this process", "over HTTP", "over gRPC"])
def child(request: pytest.FixtureRequest, server: Server, model: Model) -> Iterator[Child]:
    place = {
        "in this process": {},
        "over HTTP": {"url": server.url},
        "over gRPC": {"url": f"grpc://{server.grpc}"},
    }[request.param]
    settings = {"models": {"child": {"output": "transform", **place}}}
    resolver = ChildResolver(PipelineSettings.read(settings, {}), background(), inside=["pipeline"])
    yield resolver.child("child", model)
    background().run(resolver.close())


@pytest.mark.parametrize(
    "value",
    [[[1, 2], [3, 4]], ROWS, ((1, 2.5),), [[True, False]], [[2**53 + 1, 1]]],
    ids=str,
)
def test_a_list_gives_what_its_array_gives(value: Any, child: Child) -> None:
    found = child(value)
    assert same(found, child(np.array(value)))
    assert same(found, np.array(value))


def test_a_list_may_be_named(child: Child) -> None:
    assert same(child(rows=ROWS), np.array(ROWS))


def test_a_list_of_arrays_is_their_stack(child: Child) -> None:
    rows = [np.array([1, 2], np.float32), np.array([3, 4], np.float32)]
    assert same(child(rows), np.stack(rows))


BAD: dict[str, tuple[Any, str]] = {
    "ragged": ([[1, 2], [3]], "argument 1 has rows of different lengths"),
    "text among numbers": ([[1, "a"]], r"argument 1 holds 'a' \(str\), which is not a number"),
    "rows of text": ([["a", "b"]], r"argument 1 holds 'a' \(str\), which is not a number"),
    "None": ([[1.0, None]], r"argument 1 holds None \(NoneType\), which is not a number"),
    "dicts": ([{"a": 1}], r"argument 1 holds .*\(dict\), which is not a number"),
    "booleans and numbers": ([[True, 2]], "argument 1 mixes booleans and numbers"),
    "an integer that a float cannot hold": (
        [[2**53 + 1, 0.5]],
        "argument 1 holds 9007199254740993",
    ),
    "a huge integer": ([[2**64]], "argument 1 holds 18446744073709551616"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_list_that_is_not_one_array_is_refused_by_name(case: str, child: Child) -> None:
    value, text = BAD[case]
    with pytest.raises(PayloadError, match=f"arguments of child 'identity': {text}.*pass") as told:
        child(value)
    assert not isinstance(told.value, ArgumentError)  # a list may have come with the request


def test_nan_and_no_rows_are_numbers() -> None:
    (array, none), _ = arrays_of(([[1, float("nan")]], []), {})
    assert same(array, np.array([[1.0, np.nan]]))
    assert same(none, np.zeros(0))


def test_a_list_of_texts_stays_texts() -> None:
    assert arrays_of((["a", "b"],), {"x": [b"a"]}) == ((["a", "b"],), {"x": [b"a"]})


def test_a_pipeline_may_pass_its_own_list(model: Model) -> None:
    @pipeline("caller", models=PipelineModels(identity=model))
    def caller(rows: list[list[float]]) -> np.ndarray:
        found: np.ndarray = caller.models.identity(rows)
        return found

    settings = {"models": {"identity": {"output": "transform"}}}
    caller.extra = settings
    assert same(caller(ROWS), np.array(ROWS))


def test_a_deployed_model_takes_a_list(tmp_path: Path) -> None:
    line = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    joblib.dump(line, tmp_path / "model.joblib")
    model = Model("line", platform=ModelFramework.SKLearn, local_folder=str(tmp_path))
    with deploy_local(model) as remote:
        assert same(remote.predict([[3.0]]), line.predict([[3.0]]))


def test_only_one_array_without_a_name_is_the_whole_request_of_mlflow() -> None:
    mlflow = Model("m", platform=ModelFramework.MLFlow).details
    sklearn = Model("m", platform=ModelFramework.SKLearn).details

    def tensors(**values: Any) -> list[Any]:
        return [encode(spec_of(name.replace("_", "-")), value) for name, value in values.items()]

    array = np.ones((1, 2))
    assert request_parameters(mlflow, tensors(input_0=array)) == {"content_type": "np"}
    assert request_parameters(mlflow, tensors(rows=array)) == {}
    assert request_parameters(mlflow, tensors(input_0=array, input_1=array)) == {}
    assert request_parameters(mlflow, tensors(input_0=["a"])) == {}
    assert request_parameters(sklearn, tensors(input_0=array)) == {}
