"""What `Model`, `@pipeline`, `@model`, `@predictmethod` and `@loadmethod` make, and refuse."""

# mypy: disable-error-code="attr-defined, empty-body"

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from tempo_runtime import (
    AuthoringError,
    Children,
    Model,
    ModelFramework,
    PipelineModels,
    loadmethod,
    model,
    pipeline,
    predictmethod,
)
from tempo_runtime.authoring.decorators import Pipeline, describe
from tempo_runtime.testing import fake_children


@pytest.fixture
def forest() -> Model:
    return Model(
        "forest", platform=ModelFramework.SKLearn, local_folder="forest", uri="s3://forest"
    )


@pytest.fixture
def double() -> Any:
    @pipeline("double", local_folder="double", description="Twice as much.")
    class Double:
        @predictmethod
        def predict(self, value: int) -> int:
            return 2 * value

    return Double


@pytest.fixture
def triple() -> Any:
    @pipeline("triple")
    def triple(value: int) -> int:
        """Three times as much."""
        return 3 * value

    return triple


def test_a_model_tells_what_it_was_declared_with(forest: Model) -> None:
    details = forest.get_tempo().details
    assert (details.name, details.platform) == ("forest", ModelFramework.SKLearn)
    assert (details.local_folder, details.uri) == ("forest", "s3://forest")
    assert repr(forest) == "<Model 'forest' (sklearn)>"


def test_a_model_takes_its_framework_by_name() -> None:
    assert Model("m", platform="xgboost").details.platform is ModelFramework.XGBoost  # type: ignore[arg-type]


def test_a_model_has_the_signature_its_types_declare() -> None:
    signature = Model("m", inputs={"rows": np.ndarray}, outputs=str).details.signature
    assert signature is not None
    assert signature.input("rows") is not None
    assert [spec.hint for spec in signature.outputs] == [str]


def test_a_pipeline_class_stays_a_class_that_tells_its_details(double: Any) -> None:
    assert isinstance(double, type)
    details = double.get_tempo().details
    assert (details.name, details.local_folder) == ("double", "double")
    assert details.platform is ModelFramework.TempoPipeline
    assert details.description == "Twice as much."


def test_each_instance_has_a_pipeline_of_its_own_that_it_keeps(double: Any) -> None:
    one, other = double(), double()
    assert one.get_tempo() is one.get_tempo()
    assert one.get_tempo() is not other.get_tempo()
    assert one.get_tempo().details == double.get_tempo().details


def test_a_pipeline_function_is_called_as_before_and_keeps_its_name(triple: Any) -> None:
    assert triple(3) == triple(value=3) == 9
    assert triple.get_tempo() is triple
    assert (triple.__name__, triple.__doc__) == ("triple", "Three times as much.")


def test_describe_finds_the_pipeline_of_a_class_an_instance_and_a_function(
    double: Any, triple: Any
) -> None:
    assert describe(double).target is double
    assert describe(double()).target is double
    assert describe(triple) is triple


@pytest.mark.parametrize("target", [int, 3, len, Model("plain")])
def test_describe_refuses_what_is_not_a_pipeline(target: Any) -> None:
    with pytest.raises(AuthoringError, match="not a pipeline; decorate it"):
        describe(target)


def test_the_signature_is_read_from_the_predict_method(double: Any) -> None:
    signature = double.get_tempo().signature
    assert [(spec.name, spec.hint) for spec in signature.inputs] == [("value", int)]
    assert [spec.hint for spec in signature.outputs] == [int]
    assert not signature.streams


def sync_one(value: int) -> int:
    return value


async def async_one(value: int) -> int:
    return value


def sync_many(value: int) -> Iterator[int]:
    yield value


async def async_many(value: int) -> AsyncIterator[int]:
    yield value


@pytest.mark.parametrize(
    ("function", "is_async", "streams"),
    [
        (sync_one, False, False),
        (async_one, True, False),
        (sync_many, False, True),
        (async_many, True, True),
    ],
)
def test_a_pipeline_knows_whether_it_is_async_and_whether_it_streams(
    function: Callable[..., Any], is_async: bool, streams: bool
) -> None:
    made = pipeline("p")(function)
    assert (made.is_async, made.signature.streams) == (is_async, streams)


class Methods:
    """The same as methods."""

    def sync_one(self, value: int) -> int: ...
    async def async_one(self, value: int) -> int: ...
    def sync_many(self, value: int) -> Iterator[int]:
        yield value

    async def async_many(self, value: int) -> AsyncIterator[int]:
        yield value

    def load(self) -> None: ...


@pytest.mark.parametrize("loads", [False, True])
@pytest.mark.parametrize("function", [sync_one, async_one, sync_many, async_many])
def test_a_method_is_async_and_streams_as_a_function_does(
    function: Callable[..., Any], loads: bool
) -> None:
    body = {"predict": predictmethod(getattr(Methods, function.__name__))}
    if loads:
        body["load"] = loadmethod(Methods.load)
    made = describe(pipeline("p")(type("Made", (), body)))
    plain = pipeline("q")(function)
    assert (made.is_async, made.signature.streams) == (plain.is_async, plain.signature.streams)
    assert made.load_name == ("load" if loads else None)


def test_model_makes_a_custom_model_that_calls_no_other() -> None:
    @model("vowels", platform=ModelFramework.Custom)
    def vowels(text: str) -> int:
        return sum(letter in "aeiou" for letter in text)

    assert vowels("pipeline") == 4
    assert vowels.details.platform is ModelFramework.Custom
    assert len(vowels.declared) == 0


def test_pipeline_models_are_found_by_the_name_they_are_called_by(
    forest: Model, double: Any, triple: Any
) -> None:
    models = PipelineModels(trees=forest, two=double, two_made=double(), three=triple)
    assert len(models) == 4
    assert models.trees is forest
    assert [found.details.name for _, found in models.items()] == [
        "forest",
        "double",
        "double",
        "triple",
    ]
    with pytest.raises(AttributeError, match="no model 'shrubs'"):
        _ = models.shrubs


def test_references_carry_neither_code_nor_folder(double: Any) -> None:
    found = PipelineModels(two=double).references().two
    assert not isinstance(found, Pipeline)
    assert found.details.name == "double"
    assert found.details.local_folder is None


def test_a_pipeline_may_extend_another_and_each_has_its_own_name() -> None:
    @pipeline("base")
    class Base:
        @loadmethod
        def load(self) -> None:
            self.loads = getattr(self, "loads", 0) + 1

        @predictmethod
        def predict(self, value: int) -> int:
            return value * self.loads

    @pipeline("more")
    class More(Base):
        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

        @predictmethod
        def predict(self, value: int) -> int:
            return super().predict(value) + self.by

    more = More(by=5)
    assert (more.get_tempo().details.name, Base().get_tempo().details.name) == ("more", "base")
    assert more.get_tempo().instance is more
    assert more.predict(2) == 7


def test_children_declared_as_a_class_variable_of_a_dataclass_are_not_a_field() -> None:
    @pipeline("sum", models=PipelineModels(one=Model("one")))
    @dataclass
    class Sum:
        models: ClassVar[Children]
        more: float = 1.0

        @predictmethod
        def predict(self, value: float) -> float:
            return float(self.models.one(value)) + self.more

    with fake_children(Sum, one=2.0):
        assert Sum(more=3.0).predict(1.0) == 5.0


def test_the_docstring_s_first_paragraph_is_the_description() -> None:
    @model("double")
    def double(value: int) -> int:
        """Double
        a value.

        It may be negative.
        """
        return 2 * value

    assert describe(double).details.description == "Double a value."


def test_a_stated_description_is_kept() -> None:
    @model("double", description="Twice as much.")
    def double(value: int) -> int:
        """Double a value."""
        return 2 * value

    assert describe(double).details.description == "Twice as much."


def test_the_docstring_that_a_dataclass_makes_is_not_a_description() -> None:
    @model("scale")
    @dataclass
    class Scale:
        factor: int = 2

        @predictmethod
        def predict(self, value: int) -> int:
            return value * self.factor

    assert describe(Scale).details.description == ""
