"""Errors of an author's own code: where it loads, in an explainer's predictor, in a group of tasks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tempo_runtime import loadmethod, model, predictmethod, save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.errors import (
    ArgumentError,
    ChildRefused,
    PayloadError,
    PipelineFailed,
    TempoError,
)
from tempo_runtime.execution.loading import LoadedPipeline
from tempo_runtime.execution.runner import Runner
from tempo_runtime.request import context
from tempo_runtime.request.portal import Portal, background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import ServerFailed, serve
from tests.clients.connected_child import Connect, connect
from tests.helpers.byte_faults import FaultyModel, Raw

__all__ = ["connect"]


def called(target: Any, **arguments: Any) -> Any:
    """A pipeline's result, as its server has it."""
    service = LoadedPipeline(describe(target), PipelineSettings(), background())
    try:
        with context.serving(None, {}):
            return background().run(service.runner.run(arguments))
    finally:
        background().run(service.close())


def explainer(predictor: Any) -> Any:
    tabular = pytest.importorskip("alibi.explainers").AnchorTabular
    rows = np.random.RandomState(0).rand(50, 3)
    made = tabular(lambda x: (x[:, 0] > 0.5).astype(int), ["a", "b", "c"], seed=0).fit(rows)
    made.reset_predictor(predictor)
    return made


@pytest.mark.parametrize("kind", ["ValueError", "KeyError", "IndexError"])
def test_error_of_an_explainers_predictor_is_the_authors(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    well = [True]

    def predict(rows: np.ndarray) -> np.ndarray:
        if not well:
            if kind == "KeyError":
                pd.DataFrame(rows)["price"]
            if kind == "IndexError":
                rows[:, 7]
            raise ValueError("no such price")
        return (rows[:, 0] > 0.5).astype(int)

    @model("explains")
    class Explains:
        def __init__(self) -> None:
            self.explainer = explainer(predict)

        @predictmethod
        def explain(self, row: np.ndarray) -> str:
            well.clear()
            return str(self.explainer.explain(row).to_json())

    with pytest.raises(PipelineFailed, match=f"explain raised {kind}") as caught:
        called(Explains, row=np.array([0.7, 0.2, 0.1]))
    place = str(caught.value).rpartition(" at ")[2]
    first = predict.__code__.co_firstlineno
    expected = {"KeyError": first + 3, "IndexError": first + 5, "ValueError": first + 6}
    assert place.startswith(f"{__file__}:{expected[kind]};")
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_arguments_that_alibi_refuses_are_still_the_clients_fault() -> None:
    @model("explains")
    class Explains:
        def __init__(self) -> None:
            self.explainer = explainer(lambda rows: (rows[:, 0] > 0.5).astype(int))

        @predictmethod
        def explain(self, row: np.ndarray) -> str:
            return str(self.explainer.explain(row, threshold="high").to_json())

    with pytest.raises(PayloadError, match="AnchorTabular rejected the request"):
        called(Explains, row=np.array([0.7, 0.2, 0.1]))


# -- loading ---------------------------------------------------------------------------------------


@model("loads")
class Loads:
    @loadmethod
    def load(self) -> None:
        pd.DataFrame({"a": [1]})["price"]

    @predictmethod
    def predict(self, x: int) -> int:
        return x


LINE = Loads.load.__code__.co_firstlineno + 2


def test_load_method_that_raises_is_named_with_its_line() -> None:
    told = rf"pipeline 'loads': load raised KeyError: 'price' at {__file__}:{LINE}$"
    with pytest.raises(PipelineFailed, match=told):
        LoadedPipeline(describe(Loads), PipelineSettings(), background())


@pytest.fixture(scope="module")
def failed_to_load(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = save(Loads, str(tmp_path_factory.mktemp("loads") / "loads"))
    with pytest.raises(ServerFailed) as caught, serve(folder):
        pass
    return str(caught.value)


def test_traceback_of_a_load_method_is_in_the_log_once(failed_to_load: str) -> None:
    assert failed_to_load.count("return self._engine.get_loc(casted_key)") == 1
    assert "pipeline 'loads': load raised KeyError: 'price' at " in failed_to_load


# -- exceptions that hold others -------------------------------------------------------------------


@pytest.fixture
def refusing() -> Iterator[FaultyModel]:
    with FaultyModel("iris", Raw(b'{"error": "bad rows"}', 400)) as fake:
        yield fake


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups of exceptions are Python 3.11's")
def test_childs_refusal_inside_a_group_of_tasks_is_the_clients(
    refusing: FaultyModel, connect: Connect
) -> None:
    child = connect(refusing.url, awaitable=True)

    @model("gathers")
    async def gathers(x: np.ndarray) -> Any:
        async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined,unused-ignore]
            tasks = [group.create_task(child(x)) for _ in range(2)]
        return [task.result() for task in tasks]

    with pytest.raises(ChildRefused, match="bad rows") as caught:
        called(gathers, x=np.ones(1))
    assert caught.value.status == 400


def test_value_that_cannot_be_sent_is_named_by_child_and_argument(
    refusing: FaultyModel, connect: Connect
) -> None:
    told = r"cannot send the arguments of child 'iris': argument 2 is an object array that holds 20"
    with pytest.raises(PayloadError, match=told):
        connect(refusing.url)(np.ones(1), np.array(["a", 20], object))
    with pytest.raises(ArgumentError, match="cannot send the arguments of child 'iris': 'x'"):
        connect(refusing.url)(x=object())
    assert refusing.calls == []


def test_exit_in_a_predict_method_ends_its_request_alone() -> None:
    @model("exits")
    def exits(x: int) -> int:
        sys.exit(x)

    with pytest.raises(TempoError, match="its function raised SystemExit: 3"):
        called(exits, x=3)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks do not know who cancels them")
def test_task_of_the_authors_that_was_cancelled_is_an_error_of_theirs() -> None:
    @model("cancels")
    async def cancels() -> int:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task
        return 1

    with pytest.raises(PipelineFailed, match=r"raised CancelledError at .*test_author\.py:\d+;"):
        called(cancels)


async def test_a_cancelled_request_is_not_an_error_of_the_author() -> None:
    begun = asyncio.Event()

    @model("waits")
    async def waits() -> int:
        begun.set()
        await asyncio.sleep(60)
        return 1

    pipeline = describe(waits)
    portal = Portal(asyncio.get_running_loop())
    request = asyncio.ensure_future(Runner(pipeline, pipeline.build(None, ""), portal).run({}))
    await begun.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
