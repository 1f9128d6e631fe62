"""Names of tempo 0.5 work, or are refused with what to write instead."""

# mypy: disable-error-code="type-arg, no-any-return, attr-defined, call-arg, import-untyped"
# mypy: allow-untyped-decorators

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple  # noqa: UP035 - as tempo's users write them

import numpy as np
import pytest

from tempo_runtime import (
    AuthoringError,
    Model,
    ModelFramework,
    Pipeline,
    PipelineFailed,
    PipelineModels,
    describe,
    load,
    model,
    pipeline,
    predictmethod,
    save,
)

forest = Model("forest", platform=ModelFramework.SKLearn)


@pipeline("shop", models=PipelineModels(forest=forest))
class Shop:
    @predictmethod
    def total(self, rows: np.ndarray) -> float:
        return float(rows.sum())


@model("plus")
def plus(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize("call", [Model, model, pipeline], ids=["Model", "model", "pipeline"])
@pytest.mark.parametrize(
    ("argument", "instead"),
    [
        ("protocol", "every model speaks V2 .* so leave it out"),
        ("conda_env", r"`conda env export -n ENVIRONMENT > FOLDER/conda\.yaml`"),
        ("runtime_options", r"deploy_local\(model, options\), deploy_remote\(model, options\)"),
    ],
)
def test_an_argument_of_tempo_is_refused_with_what_to_write(
    call: Any, argument: str, instead: str
) -> None:
    with pytest.raises(TypeError, match=rf"takes no '{argument}', .* tempo 0\.5; .*{instead}"):
        call("shop", **{argument: None})


@pytest.mark.parametrize("call", [model, pipeline], ids=["model", "pipeline"])
@pytest.mark.parametrize(
    ("argument", "instead"),
    [("inputs", "annotate the arguments"), ("outputs", "annotate the result")],
)
def test_types_beside_a_predict_method_are_refused_with_what_to_write(
    call: Any, argument: str, instead: str
) -> None:
    with pytest.raises(TypeError, match=rf"takes no '{argument}', .*{instead} of the predict"):
        call("shop", **{argument: np.ndarray})


def test_a_model_of_a_function_is_refused_with_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"takes no 'model_func', .*`@model\(NAME\)`, or model\("):
        Model("plus", model_func=lambda a: a)


@pytest.mark.parametrize("chosen", [True, False])
def test_save_env_is_refused_with_what_to_write(chosen: bool, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"save\(\) takes no 'save_env', .*environment=None for"):
        save(Shop, str(tmp_path), save_env=chosen)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "values"),
    [(model, ("/folder", "s3://u")), (pipeline, (object(), "/folder")), (Model, (object(), "/f"))],
    ids=["model", "pipeline", "Model"],
)
def test_positional_arguments_in_tempos_order_are_refused(call: Any, values: Any) -> None:
    with pytest.raises(TypeError, match=r"takes only the name by position.*name each argument"):
        call("shop", *values)


@pytest.mark.parametrize(
    ("given", "name", "instead"),
    [
        (Shop(), "remote", "returns a RemoteModel: call its `predict`"),
        (Shop(), "request", "call the predict method with values"),
        (Shop(), "pipeline", r"describe\(...\) returns it"),
        (Shop, "pipeline", r"describe\(...\) returns it"),
        (Shop, "model", r"describe\(...\) returns it"),
        (forest, "predict", "call it to run it in this process"),
        (forest, "remote", "returns a RemoteModel"),
        (plus, "predict", "call it to run it in this process"),
        (plus, "request", "a server takes requests in V2"),
        (plus, "save", r"write save\(...\)"),
        (Model, "load", r"write load\(FOLDER\)"),
        (Pipeline, "load", r"write load\(FOLDER\)"),
        (forest, "deploy", "deploy_local"),
        (forest, "undeploy", "`undeploy` of the RemoteModel"),
        (forest, "wait_ready", "return when it is ready"),
        (forest, "get_endpoint", "`endpoint` of the RemoteModel"),
        (forest, "to_k8s_yaml", r"manifest\(..., options\)"),
        (forest, "model_spec", "`details` has"),
        (forest, "serialize", "`details` describes it"),
        (forest, "set_remote", r"models\.NAME\.transport"),
        (forest, "set_runtime_options_override", "deploy_remote"),
        (forest, "insights_manager", r"tempo_runtime\.insights\.log"),
    ],
)
def test_an_attribute_of_tempo_says_what_to_write(given: Any, name: str, instead: str) -> None:
    with pytest.raises(AttributeError, match=rf"attribute '{name}', .*tempo 0\.5; .*{instead}"):
        getattr(given, name)
    assert not hasattr(given, name)
    assert getattr(given, name, "none") == "none"


def test_an_author_may_use_the_names_of_tempos_attributes() -> None:
    @model("free")
    class Free:
        remote = "the class's"

        def __init__(self) -> None:
            self.model = "the instance's"

        @predictmethod
        def predict(self, x: int) -> str:
            return f"{self.remote}, {self.model}, {self.request()}"

        def request(self) -> str:
            return "its method"

    assert Free().predict(1) == "the class's, the instance's, its method"


def test_a_getattr_of_the_author_still_sees_names_of_tempo() -> None:
    @model("dynamic")
    class Dynamic:
        @predictmethod
        def predict(self, x: int) -> str:
            return self.remote

        def __getattr__(self, name: str) -> str:
            if name != "remote":
                raise AttributeError(name)
            return "asked"

    assert Dynamic().predict(1) == "asked"


def test_a_saved_pipeline_has_the_sentences_where_it_is_loaded(tmp_path: Path) -> None:
    loaded = load(save(Shop, str(tmp_path)))
    with pytest.raises(AttributeError, match="call its `predict`"):
        _ = loaded.remote


def test_a_child_is_called_itself_and_says_so() -> None:
    @pipeline("over", models=PipelineModels(plus=plus))
    class Over:
        @predictmethod
        def predict(self, x: int) -> int:
            return self.models.plus.predict(x, x)

    with pytest.raises(AttributeError, match=r"'predict', .*call the child itself: self\.models\."):
        Over().predict(1)


@pytest.mark.parametrize("models", [[Shop], {"shop": Shop}, Shop, forest])
def test_models_that_have_no_names_are_refused_at_decoration(models: Any) -> None:
    with pytest.raises(AuthoringError, match=r"over: models is .*models=PipelineModels\(NAME="):
        pipeline("over", models=models)


def test_an_empty_list_of_models_declares_none() -> None:
    @pipeline("alone", models=[])
    def alone(x: int) -> int:
        return x

    assert alone(1) == 1
    assert len(alone.declared) == 0


def test_pipeline_models_have_the_views_of_a_dict() -> None:
    models = PipelineModels(forest=forest, shop=Shop)
    assert list(models.keys()) == ["forest", "shop"]
    assert list(models.values()) == [forest, describe(Shop)]
    assert list(models.items()) == [("forest", forest), ("shop", describe(Shop))]


def test_pipeline_models_say_what_to_write_for_a_copy() -> None:
    with pytest.raises(
        AttributeError, match=r"'remote_copy' of tempo 0\.5 is gone: `items\(\)` has"
    ):
        _ = PipelineModels(forest=forest).remote_copy
    assert PipelineModels(remote_copy=forest).remote_copy is forest


def test_a_model_takes_a_tuple_of_types() -> None:
    signature = Model("m", inputs=(np.ndarray, str), outputs=(np.ndarray, str)).details.signature
    assert signature is not None
    assert [spec.name for spec in signature.inputs] == ["input-0", "input-1"]
    assert [spec.name for spec in signature.outputs] == ["output-0", "output-1"]
    assert signature.form == "tuple"


def test_a_list_of_arrays_is_several_results() -> None:
    @model("parts")
    def parts(x: np.ndarray) -> List[np.ndarray]:  # noqa: UP006
        return [x, x[:1]]

    first, second = parts([1, 2])
    assert first.tolist() == [1, 2]
    assert second.tolist() == [1]


def test_another_result_than_a_declared_list_is_refused() -> None:
    @model("parts")
    def parts(x: np.ndarray) -> list[np.ndarray]:
        return x

    with pytest.raises(PipelineFailed, match="the result must be a list, but is a ndarray"):
        parts([1, 2])


@pytest.mark.parametrize(
    ("hint", "plain"), [(np.float64, "float"), (np.int64, "int"), (np.bool_, "bool")]
)
def test_a_type_of_a_numpy_number_is_refused_with_pythons(hint: Any, plain: str) -> None:
    def over(x: Any) -> Any:
        return x

    over.__annotations__ = {"x": hint}
    with pytest.raises(AuthoringError, match=rf"x: values of type np\..* annotate it as {plain}"):
        model("over")(over)


@pytest.mark.parametrize("hint", [Tuple[np.ndarray, str], list[np.ndarray], dict[str, np.ndarray]])  # noqa: UP006
def test_an_argument_that_holds_an_array_is_refused_with_what_to_write(hint: Any) -> None:
    def over(x: Any) -> Any:
        return x

    over.__annotations__ = {"x": hint}
    with pytest.raises(AuthoringError, match=r"x: .*arrays; declare each array as an argument"):
        model("over")(over)


def test_arguments_without_names_are_refused() -> None:
    def over(*args: np.ndarray) -> Any:
        return args

    with pytest.raises(AuthoringError, match=r"in \*args do not have .*; declare each argument"):
        model("over")(over)


@pytest.mark.parametrize(
    "value",
    [{1: "a"}, {"t": (25, 50, 75)}, {(1, 2): "x"}, {"s": {1, 2}}, {True: 1}, {"c": 1 + 2j}],
    ids=str,
)
def test_a_dict_arrives_as_it_is_in_a_call_and_at_a_child(value: dict) -> None:
    @model("echo")
    def echo(x: dict) -> dict:
        return x

    @pipeline("over", models=PipelineModels(echo=echo))
    def over(x: dict) -> dict:
        return over.models.echo(x)

    for given in (echo(value), over(value)):
        assert given == value
        assert repr(given) == repr(value)
