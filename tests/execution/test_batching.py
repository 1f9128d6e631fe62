"""Calls that are put together, through whole pipelines and over real transports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from prometheus_client import REGISTRY

from tempo_runtime import (
    Batching,
    Model,
    ModelFramework,
    PipelineModels,
    load,
    model,
    pipeline,
    save,
)
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.clients.batching import BatchingTransport
from tempo_runtime.errors import BudgetExceeded, ChildFailed
from tempo_runtime.execution.loading import LoadedPipeline
from tempo_runtime.request import context
from tempo_runtime.request.budget import RequestBudget
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import FakeModel, Hang, Server, serve
from tests.execution import gated_model
from tests.helpers.value_strategies import same
from tests.helpers.waiting import wait_until

ROW = np.ones((1, 2))
CALLS = 6
Loaded = Callable[..., LoadedPipeline]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    gated_model.reset()
    yield
    gated_model.gate.set()


@pytest.fixture
def gated(tmp_path: Path) -> Model:
    folder = tmp_path / "sums"
    folder.mkdir()
    joblib.dump(gated_model.Gated(), folder / "model.joblib")
    return Model(
        "sums",
        platform=ModelFramework.SKLearn,
        local_folder=str(folder),
        batching=Batching(max_rows=32),
    )


@pytest.fixture
def loaded() -> Iterator[Loaded]:
    """Loads pipelines as a server does; closes them at the end."""
    services = []

    def made(target: Any, **settings: Any) -> LoadedPipeline:
        pipeline_settings = PipelineSettings.read({"models": settings}, {})
        services.append(LoadedPipeline(describe(target), pipeline_settings, background()))
        return services[-1]

    yield made
    gated_model.gate.set()
    for service in services:
        background().run(service.close())


def transport_of(service: LoadedPipeline) -> BatchingTransport:
    [child] = service.children
    assert isinstance(child._transport, BatchingTransport)
    return child._transport


def waiting(transport: BatchingTransport) -> int:
    return sum(len(queue._waiting) for queue in list(transport._queues.values()))


def answers(service: LoadedPipeline, rows: list[Any], begun: Callable[[], bool]) -> list[Any]:
    """Ask a pipeline for all rows at once, the first of which keeps its child busy."""

    async def ask(row: Any) -> Any:
        with context.serving(20, {}):
            return await service.runner.run({"x": row})

    portal = background()
    futures = [portal.submit(ask(rows[0]))]
    wait_until(begun)
    futures += [portal.submit(ask(row)) for row in rows[1:]]
    wait_until(lambda: waiting(transport_of(service)) == len(rows) - 1)
    gated_model.gate.set()
    return [future.exception(20) or future.result() for future in futures]


def sync_over(child: Model) -> Any:
    @pipeline("over", models=PipelineModels(child=child))
    def over(x: np.ndarray) -> np.ndarray:
        return over.models.child(x)

    return over


def async_over(child: Model) -> Any:
    @pipeline("over", models=PipelineModels(child=child))
    async def over(x: np.ndarray) -> np.ndarray:
        return await over.models.child(x)

    return over


def submitting_over(child: Model) -> Any:
    @pipeline("over", models=PipelineModels(child=child))
    def over(x: np.ndarray) -> np.ndarray:
        return over.models.child.submit(x).result()

    return over


OVER = [sync_over, async_over, submitting_over]


@pytest.mark.parametrize("over", OVER)
def test_a_scikit_learn_child_is_called_once_in_one_thread_for_all_that_wait(
    over: Callable[[Model], Any], gated: Model, loaded: Loaded
) -> None:
    rows = [np.full((1, 2), number, float) for number in range(CALLS)]
    found = answers(loaded(over(gated)), rows, lambda: len(gated_model.calls) == 1)
    assert [answer.tolist() for answer in found] == [[2.0 * number] for number in range(CALLS)]
    assert [count for count, _ in gated_model.calls] == [1, CALLS - 1]


@pytest.mark.parametrize("over", OVER)
def test_one_requests_bad_row_fails_that_request_alone(
    over: Callable[[Model], Any], gated: Model, loaded: Loaded
) -> None:
    rows = [ROW, ROW, np.full((1, 2), np.nan), ROW]
    found = answers(loaded(over(gated)), rows, lambda: len(gated_model.calls) == 1)
    assert isinstance(found[2], ChildFailed)
    assert "contains NaN" in str(found[2])
    assert [found[i].tolist() for i in (0, 1, 3)] == [[2.0]] * 3


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("over", OVER)
def test_a_child_on_a_server_gets_one_request_for_all_that_wait(
    over: Callable[[Model], Any], transport: str, loaded: Loaded
) -> None:
    child = Model("double", platform=ModelFramework.SKLearn, batching=Batching())
    rows = [np.full((1, 2), number, float) for number in range(CALLS)]
    with FakeModel("double", lambda x: 2 * x, grpc=True) as fake:
        hang = Hang()
        fake.script(hang)
        url = fake.url if transport == "http" else fake.grpc_url
        service = loaded(over(child), child={"url": url})

        def begun() -> bool:
            return bool(fake.wait_for_calls(1))

        portal = background()

        async def ask(row: Any) -> Any:
            with context.serving(20, {}):
                return await service.runner.run({"x": row})

        futures = [portal.submit(ask(rows[0]))]
        wait_until(begun)
        futures += [portal.submit(ask(row)) for row in rows[1:]]
        wait_until(lambda: waiting(transport_of(service)) == CALLS - 1)
        hang.release()
        found = [future.result(20) for future in futures]
        assert [answer.tolist() for answer in found] == [(2 * row).tolist() for row in rows]
        assert [len(call.inputs["input-0"]) for call in fake.calls] == [1, CALLS - 1]


def test_without_batching_the_transport_is_the_plain_one(gated: Model, loaded: Loaded) -> None:
    service = loaded(sync_over(gated), child={"batching": False})
    [child] = service.children
    assert not isinstance(child._transport, BatchingTransport)


def test_a_setting_turns_batching_on_where_the_model_does_not_declare_it(
    gated: Model, loaded: Loaded
) -> None:
    child = Model("sums", platform=ModelFramework.SKLearn, local_folder=gated.details.local_folder)
    service = loaded(sync_over(child), child={"batching": {"max_rows": "8"}})
    assert transport_of(service)._options == Batching(max_rows=8)


def test_the_number_of_calls_at_once_is_that_of_the_servers_unless_a_setting_says_more(
    loaded: Loaded,
) -> None:
    child = Model("sums", platform=ModelFramework.SKLearn, batching=Batching())
    urls = "http://one,http://two"
    assert transport_of(loaded(sync_over(child), child={"url": urls}))._turns == 2
    more = loaded(sync_over(child), child={"url": urls, "max_concurrency": 5})
    assert transport_of(more)._turns == 5


@model("tripled", batching=Batching())
def tripled(x: np.ndarray) -> np.ndarray:
    gated_model.calls.append((len(x), 0))
    gated_model.gate.wait(20)
    return 3 * x


@pytest.mark.parametrize("over", OVER)
def test_a_model_of_python_code_is_called_once_for_all_that_wait(
    over: Callable[[Model], Any], loaded: Loaded
) -> None:
    rows = [np.full((2, 2), number, float) for number in range(CALLS)]
    found = answers(loaded(over(tripled)), rows, lambda: len(gated_model.calls) == 1)
    assert [answer.tolist() for answer in found] == [(3 * row).tolist() for row in rows]
    assert [count for count, _ in gated_model.calls] == [2, 2 * (CALLS - 1)]


def test_each_request_spends_its_own_budget(gated: Model, loaded: Loaded) -> None:
    service = loaded(sync_over(gated))
    gated_model.gate.set()

    async def ask(limits: RequestBudget) -> Any:
        with context.serving(20, {}, limits=limits):
            return await service.runner.run({"x": ROW})

    async def all_of_them() -> Any:
        return await asyncio.gather(*map(ask, budgets), return_exceptions=True)

    budgets = [RequestBudget(max_rows=count) for count in (1, 0, 5)]
    found = background().run(all_of_them())
    assert [isinstance(answer, BudgetExceeded) for answer in found] == [False, True, False]
    assert [(budget.calls, budget.rows) for budget in budgets] == [(1, 1), (0, 0), (1, 1)]


def test_a_model_that_is_called_by_hand_may_batch_too(gated: Model) -> None:
    gated_model.gate.set()
    assert gated(ROW).tolist() == [2.0]
    with ThreadPoolExecutor(8) as pool:
        assert all(answer.tolist() == [2.0] for answer in pool.map(gated, [ROW] * 50))


# -- in artifacts ----------------------------------------------------------------------------------


def saved(target: Any, folder: Path) -> tuple[Any, Any]:
    artifact = save(target, str(folder))
    return json.loads(Path(artifact, "tempo.json").read_text()), load(artifact)


def child_of(target: Any) -> Batching | None:
    [(_, child)] = describe(target).declared.items()
    return child.details.batching


def test_an_artifact_keeps_the_batching_that_its_models_declare(
    gated: Model, tmp_path: Path
) -> None:
    written, again = saved(sync_over(gated), tmp_path / "over")
    assert written["children"]["child"]["batching"] == {"max_rows": 32, "max_delay": 0.0}
    assert child_of(again) == Batching(max_rows=32)


def test_a_saved_model_keeps_its_own_batching(tmp_path: Path) -> None:
    written, again = saved(tripled, tmp_path / "tripled")
    assert written["batching"] == {"max_rows": 64, "max_delay": 0.0}
    assert describe(again).details.batching == Batching()


def test_an_artifact_without_batching_is_written_as_before(tmp_path: Path) -> None:
    written, again = saved(sync_over(Model("plain")), tmp_path / "over")
    assert "batching" not in written
    assert "batching" not in written["children"]["child"]
    assert child_of(again) is None


def test_a_change_of_batching_is_a_change_of_the_artifact(gated: Model, tmp_path: Path) -> None:
    sources = {
        saved(sync_over(child), tmp_path / f"over-{number}")[0]["source"]
        for number, child in enumerate((gated, Model("sums", platform=ModelFramework.SKLearn)))
    }
    assert len(sources) == 2


def test_a_direct_call_of_a_pipeline_batches_its_calls_of_threads(gated: Model) -> None:
    over = sync_over(gated)
    gated_model.gate.set()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(over, [ROW * number for number in range(50)]))
    assert [answer.tolist() for answer in found] == [[2.0 * number] for number in range(50)]
    assert isinstance(over.models.child._transport, BatchingTransport)


# -- pipelines on a server -------------------------------------------------------------------------


@model("arrays")
def arrays(x: np.ndarray) -> dict[str, np.ndarray]:
    return {"half": (x / 2).astype(np.float16), "large": x > 1, "same": x}


@model("texts")
def texts(x: np.ndarray, names: list[str]) -> tuple[list[str], list[bytes], np.ndarray]:
    found = [f"{name}{row.sum():g}" for name, row in zip(names, x)]
    return found, [text.encode() for text in found], np.array(found)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    for target in (arrays, texts):
        save(target, str(root / describe(target).details.name))
    with serve(root) as server:
        yield server


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_values_of_every_kind_are_those_of_plain_calls(server: Server, transport: str) -> None:
    @pipeline("over", models=PipelineModels(arrays=arrays, texts=texts))
    def over(x: np.ndarray, names: list[str]) -> Any:
        return over.models.arrays(x), over.models.texts(x, names)

    url = server.url if transport == "http" else f"grpc://{server.grpc}"
    child = {"url": url, "batching": {"max_delay": 0.005}}
    cases = [
        (np.full((rows, 2), number - 0.1), [f"käse{row}" for row in range(rows)])
        for number in range(100)
        for rows in [1 + number % 3]
    ]
    expected = [(arrays(x), texts(x, names)) for x, names in cases]
    settings = PipelineSettings.read({"models": {"arrays": child, "texts": child}}, {})
    service = LoadedPipeline(over, settings, background())

    def call(case: tuple[np.ndarray, list[str]]) -> Any:
        with context.serving(20, {}):
            return service.runner.run_blocking(dict(zip(("x", "names"), case)))

    try:
        with ThreadPoolExecutor(16) as pool:
            assert same(list(pool.map(call, cases)), expected)
        labels = {"pipeline": "over", "child": "texts"}
        sent, made = (
            REGISTRY.get_sample_value(f"tempo_child_batch_calls_{name}", labels) or 0.0
            for name in ("count", "sum")
        )
        assert 0 < sent < made
    finally:
        background().run(service.close())
