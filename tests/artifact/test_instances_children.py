"""An instance and the models it calls: the same one as a child, and what it holds of its children."""

# mypy: disable-error-code="attr-defined, no-any-return, type-arg"
# mypy: allow-untyped-decorators

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import tempo_runtime
from tempo_runtime import (
    ArtifactError,
    AuthoringError,
    Model,
    ModelFramework,
    PipelineModels,
    loadmethod,
    model,
    pipeline,
    predictmethod,
)
from tests.helpers import class_kinds

ROWS = np.array([[1.0], [2.0], [5.0]])


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A scikit-learn model of y = 3x + 1."""
    folder: Path = tmp_path_factory.mktemp("line")
    fitted = LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([1.0, 4.0]))
    joblib.dump(fitted, folder / "model.joblib")
    return Model("line", platform=ModelFramework.SKLearn, local_folder=str(folder))


def over(child: Any, **folder: str) -> Any:
    @pipeline("outer", models=PipelineModels(inner=child), **folder)
    class Outer:
        @predictmethod
        def predict(self, x: int) -> int:
            return self.models.inner(x)

    return Outer()


def test_an_instance_as_a_child_is_that_instance() -> None:
    scaler = class_kinds.Counting()
    outer = over(scaler)
    scaler.factor = 10
    assert outer.predict(2) == 20
    scaler.factor = 100
    assert outer.predict(2) == 200
    assert (scaler.counter, scaler.predict(2), scaler.counter) == (2, 200, 3)


def test_an_instance_that_only_its_parent_knows_lives_on() -> None:
    outer = over(class_kinds.Counting(factor=3))
    assert (outer.predict(2), outer.predict(3)) == (6, 9)


@pytest.mark.parametrize("kind", [class_kinds.Slots, class_kinds.DataSlots, class_kinds.Pydantic])
def test_an_instance_of_any_kind_is_that_instance(kind: Any) -> None:
    made = kind(factor=2.0)

    @pipeline("outer", models=PipelineModels(inner=made))
    def outer(x: float) -> float:
        return outer.models.inner(x)

    assert outer(2.0) == 4.0
    made.factor = 5.0
    assert outer(2.0) == made.predict(2.0)


def test_a_class_as_a_child_is_an_instance_of_its_own() -> None:
    assert over(class_kinds.Counting).predict(2) == 2


def test_the_load_method_of_a_child_runs_once_for_all_who_call_it() -> None:
    loading = class_kinds.Loading(size=3)

    @pipeline("outer", models=PipelineModels(one=loading, two=loading))
    def outer(x: float) -> list[float]:
        return outer.models.one(x) + outer.models.two(x)

    assert outer(1.0) == [3.0, 1, 20, True] * 2
    assert loading.predict(1.0) == [3.0, 1, 20, True]


def test_a_function_as_a_child_loads_once_and_has_the_same_context() -> None:
    loads = []

    @model("counts")
    def counts() -> int:
        counts.context.calls += 1
        return counts.context.calls

    @counts.loadmethod
    def load() -> None:
        loads.append(1)
        counts.context.calls = 0

    @pipeline("outer", models=PipelineModels(inner=counts))
    def outer() -> int:
        return outer.models.inner()

    assert [counts(), outer(), counts(), outer()] == [1, 2, 3, 4]
    assert loads == [1]


def test_a_childs_own_children_are_those_it_has_when_called_itself(line: Model) -> None:
    @pipeline("middle", models=PipelineModels(line=line))
    class Middle:
        def __init__(self, plus: float) -> None:
            self.plus = plus

        @predictmethod
        def predict(self, rows: np.ndarray) -> np.ndarray:
            return self.models.line(rows) + self.plus

    middle = Middle(0.5)

    @pipeline("top", models=PipelineModels(middle=middle))
    def top(rows: np.ndarray) -> np.ndarray:
        return top.models.middle(rows) * 2

    np.testing.assert_allclose(top(ROWS), middle.predict(ROWS) * 2)


def test_the_pipeline_of_an_instance_that_is_gone_is_refused() -> None:
    gone = class_kinds.Counting(factor=3).get_tempo()
    with pytest.raises(
        AuthoringError, match=r"counting: the instance of Counting .* is gone; give"
    ):
        over(gone).predict(1)
    with pytest.raises(AuthoringError, match="is gone"):
        tempo_runtime.save(gone, "anywhere")


def test_the_artifact_of_a_child_is_what_counts_once_saved(tmp_path: Path) -> None:
    scaler = class_kinds.Counting(factor=3)
    described = scaler.get_tempo()
    tempo_runtime.save(scaler, str(tmp_path / "inner"))
    child = Model(
        "counting", platform=described.details.platform, local_folder=str(tmp_path / "inner")
    )
    tempo_runtime.save(over(child), str(tmp_path / "outer"))
    scaler.factor = 100
    assert tempo_runtime.load(str(tmp_path / "outer")).predict(2) == 6


# -- what an instance holds of its children --------------------------------------------------------


class Wrapper:
    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor


def holding(line: Model) -> Any:
    @pipeline("holding", models=PipelineModels(line=line))
    class Holding:
        def __init__(self) -> None:
            self.wrapper = Wrapper(None)

        @predictmethod
        def predict(self, rows: np.ndarray) -> np.ndarray:
            if self.wrapper.predictor is None:
                self.wrapper.predictor = self.models.line
                self.all = self.models
                self.later = lambda given: self.models.line(given)
            one = self.wrapper.predictor(rows)
            return one + self.all.line(rows) + self.later(rows)

    return Holding()


def test_a_child_among_its_attributes_is_its_child_where_it_is_loaded(
    line: Model, tmp_path: Path
) -> None:
    made = holding(line)
    expected = made.predict(ROWS)
    loaded = tempo_runtime.load(tempo_runtime.save(made, str(tmp_path)))
    np.testing.assert_allclose(loaded.predict(ROWS), expected)
    assert loaded.wrapper.predictor.details.name == "line"
    assert (list(loaded.all), len(loaded.all)) == (["line"], 1)


def test_a_model_reached_through_a_child_is_not_in_the_artifact(
    line: Model, tmp_path: Path
) -> None:
    made = holding(line)
    made.predict(ROWS)
    tempo_runtime.save(made, str(tmp_path))
    assert b"LinearRegression" not in (tmp_path / "pipeline.dill").read_bytes()


def test_a_child_of_another_pipeline_is_refused_by_its_way(line: Model, tmp_path: Path) -> None:
    made = class_kinds.Plain()
    other = holding(line)
    made.wrapper = Wrapper(other.models.line)
    with pytest.raises(
        ArtifactError, match=r"self.wrapper.predictor is a .*Child.*another pipeline"
    ):
        tempo_runtime.save(made, str(tmp_path))


# -- more instances of a class that is served ------------------------------------------------------


def test_a_copy_that_the_predict_method_makes_calls_the_same_children(
    line: Model, tmp_path: Path
) -> None:
    @pipeline("copying", models=PipelineModels(line=line))
    class Copying:
        @loadmethod
        def load(self) -> None:
            self.folder = self.get_tempo().details.local_folder

        @predictmethod
        def predict(self, rows: np.ndarray) -> np.ndarray:
            import copy

            other = copy.copy(self)
            assert other.get_tempo().details.local_folder == self.folder
            return other.models.line(rows)

    loaded = tempo_runtime.load(tempo_runtime.save(Copying, str(tmp_path)))
    np.testing.assert_allclose(loaded.predict(ROWS), [4, 7, 16])
