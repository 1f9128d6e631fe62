"""Invalid declarations of pipelines are refused where they are written, with the reason."""

# mypy: disable-error-code="type-arg, no-any-return, attr-defined, import-untyped, empty-body"
# mypy: allow-untyped-decorators

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import pytest

from tempo_runtime import (
    AuthoringError,
    Children,
    Model,
    ModelFramework,
    PipelineModels,
    SettingsError,
    loadmethod,
    model,
    pipeline,
    predictmethod,
)


def sync_one(value: int) -> int:
    return value


def test_a_dataclass_that_takes_its_models_for_a_field_is_refused_with_what_to_write() -> None:
    @dataclass
    class Shop:
        models: Children

    with pytest.raises(AuthoringError, match=r"dataclass Shop .* `models: ClassVar\[Children\]`"):
        pipeline("shop")(Shop)


@pytest.mark.parametrize("value", [3, "forest", None, int])
def test_pipeline_models_refuse_values_that_are_not_models(value: Any) -> None:
    with pytest.raises(AuthoringError, match="trees"):
        PipelineModels(trees=value)


@pytest.mark.parametrize(
    ("name", "better"),
    [("Income", "'income'"), ("income_explainer", "'income-explainer'"), ("-a", "'a'"), ("!", "")],
)
def test_a_name_that_cannot_be_deployed_is_refused_with_one_that_can(
    name: str, better: str
) -> None:
    with pytest.raises(AuthoringError, match="RFC 1123") as error:
        Model(name)
    assert better in str(error.value)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_model_without_a_name_is_refused(name: Any) -> None:
    with pytest.raises(AuthoringError, match="needs a name"):
        Model(name)


def test_a_name_may_have_63_letters_and_no_more() -> None:
    assert Model("a" * 63).details.name == "a" * 63
    with pytest.raises(AuthoringError, match=r"'a{63}' would do"):
        pipeline("a" * 64)


def test_a_class_without_a_predict_method_is_refused() -> None:
    class Idle:
        def predict(self) -> None: ...

    with pytest.raises(AuthoringError, match="idle: Idle has no predict method; mark one"):
        pipeline("idle")(Idle)


@pytest.mark.parametrize(("mark", "role"), [(predictmethod, "predict"), (loadmethod, "load")])
def test_a_class_with_two_methods_of_one_role_is_refused(mark: Any, role: str) -> None:
    class Torn:
        @mark
        def one(self) -> int: ...
        @mark
        def two(self) -> int: ...
        @predictmethod
        def zero(self) -> int: ...

    with pytest.raises(
        AuthoringError, match=f"torn: Torn has more than one {role} method: one, two"
    ):
        pipeline("torn")(Torn)


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_predict_method_that_takes_no_self_is_refused(kind: Any) -> None:
    class Selfless:
        predict = predictmethod(kind(sync_one))

    with pytest.raises(AuthoringError, match=f"Selfless.predict is a {kind.__name__}"):
        pipeline("selfless")(Selfless)


@pytest.mark.parametrize("target", [3, len, "name"])
def test_a_value_that_is_neither_class_nor_function_is_refused(target: Any) -> None:
    with pytest.raises(AuthoringError, match="a pipeline is a class or a function"):
        pipeline("p")(target)


def test_a_type_that_cannot_travel_is_refused_where_it_is_written() -> None:
    def takes(thing: memoryview) -> int: ...

    with pytest.raises(AuthoringError, match="thing"):
        pipeline("p")(takes)


def test_an_override_that_is_not_marked_is_refused() -> None:
    class Base:
        @predictmethod
        def predict(self) -> int: ...

    class Override(Base):
        def predict(self) -> int: ...

    with pytest.raises(AuthoringError, match="Override has no predict method"):
        pipeline("override")(Override)


def test_a_missing_child_folder_says_what_to_set(tmp_path: Any) -> None:
    gone = Model("gone", platform=ModelFramework.SKLearn, local_folder=str(tmp_path / "gone"))

    @pipeline("p", models=PipelineModels(lost=gone))
    class Calls:
        @predictmethod
        def predict(self, value: int) -> int:
            return int(self.models.lost(value))

    with pytest.raises(SettingsError, match=r"child 'lost' .*gone does not exist; set .*LOST__URL"):
        Calls().predict(1)


@pytest.mark.parametrize(
    ("make", "name"), [(Model, "Model"), (pipeline, "pipeline"), (model, "model")]
)
def test_arguments_after_the_name_must_be_given_by_name(make: Any, name: str) -> None:
    with pytest.raises(TypeError) as error:
        make("forest", "s3://forest", "forest")
    assert f"{name}() takes only the name by position" in str(error.value)
    assert "'s3://forest', 'forest' as well; name each argument" in str(error.value)
    parameters = list(inspect.signature(make).parameters.values())
    assert {parameter.kind for parameter in parameters[1:]} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("output", [True, "", ["predict_proba"]])
def test_anything_but_the_name_of_an_output_is_refused_when_a_model_is_declared(
    output: Any,
) -> None:
    with pytest.raises(AuthoringError, match=r"m: output is .*such as output='predict_proba'"):
        Model("m", output=output)


@pytest.mark.parametrize("batching", [True, 8, {"max_rows": 8}])
def test_anything_but_a_batching_is_refused_when_a_model_is_declared(batching: Any) -> None:
    with pytest.raises(AuthoringError, match=r"m: batching is .*write batching=Batching\(\)"):
        Model("m", batching=batching)
