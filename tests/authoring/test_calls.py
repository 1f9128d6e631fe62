"""A pipeline is called before it is served: its children run in this process."""

# mypy: disable-error-code="type-arg, no-any-return, attr-defined, import-untyped, empty-body"
# mypy: allow-untyped-decorators

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tempo_runtime import (
    Model,
    ModelFramework,
    PipelineFailed,
    PipelineModels,
    loadmethod,
    model,
    pipeline,
    predictmethod,
)
from tempo_runtime.request.portal import background

ROWS = np.array([[1.0], [2.0], [5.0]])


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A scikit-learn model of y = 3x + 1."""
    folder: Path = tmp_path_factory.mktemp("line")
    fitted = LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([1.0, 4.0]))
    joblib.dump(fitted, folder / "model.joblib")
    return Model("line", platform=ModelFramework.SKLearn, local_folder=str(folder))


@pytest.fixture
def over_line(line: Model) -> Any:
    @pipeline("over-line", models=PipelineModels(line=line))
    class OverLine:
        def __init__(self, plus: float = 0.0) -> None:
            self.plus = plus

        @predictmethod
        def predict(self, payload: np.ndarray) -> np.ndarray:
            return self.models.line(payload) + self.plus

    return OverLine


@pytest.fixture
def async_over_line(line: Model) -> Any:
    @pipeline("async-over-line", models=PipelineModels(line=line))
    class AsyncOverLine:
        @predictmethod
        async def predict(self, payload: np.ndarray) -> np.ndarray:
            return await self.models.line(payload)

    return AsyncOverLine


def test_a_model_is_called_in_this_process_from_its_folder(line: Model) -> None:
    np.testing.assert_allclose(line(ROWS), [4, 7, 16])


def test_a_class_calls_a_child_from_its_folder(over_line: Any) -> None:
    np.testing.assert_allclose(over_line(plus=0.5).predict(ROWS), [4.5, 7.5, 16.5])


def test_a_function_calls_a_child_from_its_folder(line: Model) -> None:
    @pipeline("f", models=PipelineModels(line=line))
    def f(payload: np.ndarray) -> np.ndarray:
        return -f.models.line(payload)

    np.testing.assert_allclose(f(ROWS), [-4, -7, -16])


async def test_an_async_pipeline_awaits_its_child(async_over_line: Any) -> None:
    np.testing.assert_allclose(await async_over_line().predict(ROWS), [4, 7, 16])


async def test_an_async_pipeline_calls_children_side_by_side(line: Model) -> None:
    @pipeline("gather", models=PipelineModels(line=line))
    async def gather(payload: np.ndarray) -> Any:
        return await asyncio.gather(*(gather.models.line(payload * k) for k in (0, 1)))

    zero, one = await gather(ROWS)
    np.testing.assert_allclose(zero, [1, 1, 1])
    np.testing.assert_allclose(one, [4, 7, 16])


async def test_a_sync_child_call_works_inside_a_running_loop(over_line: Any) -> None:
    np.testing.assert_allclose(over_line().predict(ROWS), [4, 7, 16])


async def test_a_generator_gives_items_made_with_children(line: Model) -> None:
    @pipeline("items", models=PipelineModels(line=line))
    def items(payload: np.ndarray) -> Iterator[float]:
        for row in payload:
            yield float(items.models.line(row[None])[0])

    @pipeline("async-items", models=PipelineModels(line=line))
    async def async_items(payload: np.ndarray) -> AsyncIterator[float]:
        for row in payload:
            yield float((await async_items.models.line(row[None]))[0])

    assert [round(item) for item in items(ROWS)] == [4, 7, 16]
    assert [round(item) async for item in async_items(ROWS)] == [4, 7, 16]


def test_instances_of_a_class_share_its_children(over_line: Any) -> None:
    assert over_line().models is over_line().models is over_line.get_tempo().models


def test_children_say_what_they_are_and_which_there_are(over_line: Any) -> None:
    models = over_line().models
    assert (list(models), len(models), models.line.details.name) == (["line"], 1, "line")
    with pytest.raises(AttributeError, match="no model 'circle'; it has line"):
        _ = models.circle


def test_a_nested_pipeline_is_called_as_a_child(over_line: Any) -> None:
    @pipeline("outer", models=PipelineModels(inner=over_line))
    def outer(payload: np.ndarray) -> np.ndarray:
        return outer.models.inner(payload) * 2

    np.testing.assert_allclose(outer(ROWS), [8, 14, 32])


def test_a_nested_instance_keeps_its_constructor_arguments(over_line: Any) -> None:
    models = PipelineModels(one=over_line(1.0), ten=over_line(plus=10.0))

    @pipeline("outer", models=models)
    def outer(payload: np.ndarray) -> np.ndarray:
        return outer.models.ten(payload) - outer.models.one(payload)

    np.testing.assert_allclose(outer(ROWS), [9, 9, 9])


def test_a_sync_pipeline_calls_an_async_one(async_over_line: Any) -> None:
    @pipeline("outer", models=PipelineModels(inner=async_over_line))
    def outer(payload: np.ndarray) -> np.ndarray:
        return outer.models.inner(payload)

    np.testing.assert_allclose(outer(ROWS), [4, 7, 16])


async def test_an_async_pipeline_awaits_a_sync_one_and_an_async_one(
    over_line: Any, async_over_line: Any
) -> None:
    @pipeline("outer", models=PipelineModels(sync=over_line(2.0), asynchronous=async_over_line))
    async def outer(payload: np.ndarray) -> np.ndarray:
        sync = await outer.models.sync(payload)
        return sync - await outer.models.asynchronous(payload)

    np.testing.assert_allclose(await outer(ROWS), [2, 2, 2])


def test_three_levels_of_pipelines_call_each_other(over_line: Any) -> None:
    @pipeline("middle", models=PipelineModels(inner=over_line))
    async def middle(payload: np.ndarray) -> np.ndarray:
        return await middle.models.inner(payload) + 1

    @pipeline("top", models=PipelineModels(middle=middle))
    def top(payload: np.ndarray) -> np.ndarray:
        return top.models.middle(payload) + 1

    np.testing.assert_allclose(top(ROWS), [6, 9, 18])


def test_a_load_method_runs_once_before_the_first_call() -> None:
    @model("counted")
    class Counted:
        calls = 0

        @loadmethod
        def load(self) -> None:
            self.calls += 1

        @predictmethod
        def predict(self) -> int:
            return self.calls

    counted = Counted()
    assert counted.calls == 0
    assert (counted.predict(), counted.predict(), Counted().predict()) == (1, 1, 1)


@pytest.mark.parametrize("running_loop", [False, True])
def test_an_async_load_method_is_finished_before_the_first_call(running_loop: bool) -> None:
    @model("counted")
    class Counted:
        calls = 0

        @loadmethod
        async def load(self) -> None:
            await asyncio.sleep(0)
            self.calls += 1

        @predictmethod
        def predict(self) -> int:
            return self.calls

    async def in_a_loop() -> int:
        return Counted().predict()

    assert (asyncio.run(in_a_loop()) if running_loop else Counted().predict()) == 1


def test_a_function_loads_into_its_context_once() -> None:
    loads = []

    @pipeline("vocabulary")
    def vocabulary(word: str) -> bool:
        return word in vocabulary.context.words

    @vocabulary.loadmethod
    def load() -> None:
        loads.append(1)
        vocabulary.context.words = {"tensor"}

    assert [vocabulary("tensor"), vocabulary("cat"), loads] == [True, False, [1]]


def test_a_nested_pipeline_is_loaded_before_it_is_called() -> None:
    @model("inner")
    class Inner:
        @loadmethod
        def load(self) -> None:
            self.ready = True

        @predictmethod
        def predict(self) -> bool:
            return self.ready

    @pipeline("outer", models=PipelineModels(inner=Inner))
    def outer() -> bool:
        return bool(outer.models.inner())

    assert outer()


def test_a_failed_load_method_is_tried_again_at_the_next_call() -> None:
    @model("late")
    class Late:
        tries = 0

        @loadmethod
        def load(self) -> None:
            self.tries += 1
            if self.tries == 1:
                raise OSError("not yet")

        @predictmethod
        def predict(self) -> int:
            return self.tries

    late = Late()
    with pytest.raises(OSError, match="not yet"):
        late.predict()
    assert late.predict() == 2


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_child_call_without_await_fails_at_once(async_over_line: Any) -> None:
    @pipeline("forgetful", models=PipelineModels(inner=async_over_line))
    async def forgetful(payload: np.ndarray) -> np.ndarray:
        return forgetful.models.inner(payload) + 1

    with pytest.raises(TypeError, match="coroutine"):
        asyncio.run(forgetful(ROWS))


def test_a_sync_call_on_the_portals_own_loop_says_to_await(async_over_line: Any) -> None:
    @pipeline("sync", models=PipelineModels(inner=async_over_line))
    def sync(payload: np.ndarray) -> np.ndarray:
        return sync.models.inner(payload)

    assert sync.models.inner is not None  # connected before, as a server does

    @pipeline("around", models=PipelineModels(line=async_over_line))
    async def around(payload: np.ndarray) -> np.ndarray:
        return sync(payload)

    with pytest.raises(PipelineFailed, match="without await in an async predict method"):
        background().run(around(ROWS))


@pytest.mark.parametrize("kind", ["class", "function"])
def test_a_pipeline_that_another_calls_is_loaded_first(kind: str) -> None:
    if kind == "class":

        @model("adder")
        class Adder:
            @loadmethod
            def load(self) -> None:
                self.plus = 1.0

            @predictmethod
            def predict(self, payload: np.ndarray) -> np.ndarray:
                return payload + self.plus

        call = Adder().predict
    else:

        @model("adder")
        def adder(payload: np.ndarray) -> np.ndarray:
            return payload + adder.context.plus

        @adder.loadmethod
        def load() -> None:
            adder.context.plus = 1.0

        call = adder

    @pipeline("caller")
    def caller(payload: np.ndarray) -> np.ndarray:
        return call(payload)

    np.testing.assert_array_equal(caller(ROWS), ROWS + 1)
