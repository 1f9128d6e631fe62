"""Requests of different clients to a pipeline that are put together."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from tempo_runtime import Batching, model, save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.clients.model_client import ModelClient
from tempo_runtime.errors import DeadlineExceeded, Overloaded, PipelineFailed, SettingsError
from tempo_runtime.execution.batched_requests import BatchedRequests
from tempo_runtime.execution.loading import LoadedPipeline
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request
from tempo_runtime.protocol.sizes import DecodingLimits
from tempo_runtime.request import context
from tempo_runtime.request.budget import RequestBudget
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import serve
from tests.helpers.waiting import wait_until

_WAIT = 20.0
gate = threading.Event()
calls: list[int] = []
Loaded = Callable[..., LoadedPipeline]


def _answer(rows: np.ndarray) -> np.ndarray:
    calls.append(len(rows))
    if np.isnan(rows).any():
        raise ValueError("a row is not a number")
    return 2 * rows


@model("doubling", batching=Batching(max_rows=16))
def doubling(rows: np.ndarray) -> np.ndarray:
    answer = _answer(rows)
    gate.wait(_WAIT)
    return answer


@model("doubling-async", batching=Batching(max_rows=16))
async def doubling_async(rows: np.ndarray) -> np.ndarray:
    answer = _answer(rows)
    while not gate.is_set():  # noqa: ASYNC110 - the gate is not the loop's
        await asyncio.sleep(0.001)
    return answer


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    gate.clear()
    calls.clear()
    yield
    gate.set()


@pytest.fixture
def loaded() -> Iterator[Loaded]:
    """Loads pipelines as a server does; closes them at the end."""
    services = []

    def made(target: Any, **settings: Any) -> LoadedPipeline:
        read = PipelineSettings.read(settings, {})
        services.append(LoadedPipeline(describe(target), read, background()))
        return services[-1]

    yield made
    gate.set()
    for service in services:
        background().run(service.close())


def ask(service: LoadedPipeline, rows: Any, seconds: float = _WAIT, **request: Any) -> Future[Any]:
    async def call() -> Any:
        with context.serving(seconds, {}, **request):
            return await service.run({"rows": np.array(rows, float)})

    return background().submit(call())


def waiting(service: LoadedPipeline) -> int:
    front: Any = service.run
    queues = front.__self__.transport._queues
    return sum(len(queue._waiting) for queue in list(queues.values()))


def busy(service: LoadedPipeline, *requests: Any) -> list[Future[Any]]:
    """Ask for all of these, while the first one runs."""
    answers = [ask(service, requests[0])]
    wait_until(lambda: len(calls) == 1)
    for number, rows in enumerate(requests[1:], 1):
        answers.append(ask(service, rows))
        wait_until(lambda number=number: waiting(service) == number)  # type: ignore[misc]
    return answers


both = pytest.mark.parametrize("target", [doubling, doubling_async])


@both
def test_requests_that_wait_become_one_call_of_the_predict_method(
    target: Any, loaded: Loaded
) -> None:
    answers = busy(loaded(target), [[0.0]], [[1.0]], [[2.0], [3.0]], [[4.0]])
    gate.set()
    found = [answer.result(_WAIT).tolist() for answer in answers]
    assert found == [[[0.0]], [[2.0]], [[4.0], [6.0]], [[8.0]]]
    assert calls == [1, 4]


@both
def test_an_exception_for_one_requests_rows_fails_that_request_alone(
    target: Any, loaded: Loaded
) -> None:
    answers = busy(loaded(target), [[0.0]], [[1.0]], [[np.nan]], [[4.0]])
    gate.set()
    assert [answers[i].result(_WAIT).tolist() for i in (0, 1, 3)] == [[[0.0]], [[2.0]], [[8.0]]]
    with pytest.raises(PipelineFailed, match="a row is not a number") as raised:
        answers[2].result(_WAIT)
    assert raised.value.path == ()


def test_a_request_whose_deadline_passes_in_the_queue_is_answered_then(loaded: Loaded) -> None:
    service = loaded(doubling)
    [first] = busy(service, [[0.0]])
    late = ask(service, [[1.0]], 0.05)
    with pytest.raises(DeadlineExceeded, match=r"the request's 0.05 s are spent") as raised:
        late.result(_WAIT)
    assert raised.value.path == ()
    gate.set()
    assert first.result(_WAIT).tolist() == [[0.0]]


def test_requests_with_a_seed_or_a_budget_are_not_put_together(loaded: Loaded) -> None:
    service = loaded(doubling)
    answers = [
        ask(service, [[0.0]], seed=1),
        ask(service, [[1.0]], seed=1),
        ask(service, [[2.0]], limits=RequestBudget(max_calls=1)),
        ask(service, [[3.0]], limits=RequestBudget(max_rows=1)),
    ]
    wait_until(lambda: len(calls) == 4)
    gate.set()
    found = [answer.result(_WAIT).tolist() for answer in answers]
    assert found == [[[0.0]], [[2.0]], [[4.0]], [[6.0]]]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"pipeline": "doubling", **labels}) or 0.0


def test_each_request_counts_as_one_in_the_metrics_and_the_limits(loaded: Loaded) -> None:
    name = "tempo_pipeline_requests_total"
    before = sample(name, outcome="ok"), sample("tempo_pipeline_batch_calls_sum")
    service = loaded(doubling, max_concurrency=1, max_queue=2)
    answers = busy(service, [[0.0]], [[1.0]], [[2.0]])
    with pytest.raises(Overloaded):
        ask(service, [[3.0]]).result(_WAIT)
    gate.set()
    for answer in answers:
        answer.result(_WAIT)
    assert sample(name, outcome="ok") - before[0] == 3
    assert sample("tempo_pipeline_batch_calls_sum") - before[1] == 3
    wait_until(lambda: sample("tempo_pipeline_requests_in_flight") == 0)


def test_a_setting_turns_it_off(loaded: Loaded) -> None:
    service = loaded(doubling, batching="false")
    assert service.run == service.runner.run


def test_a_setting_turns_it_on(loaded: Loaded) -> None:
    @model("plain")
    def plain(rows: np.ndarray) -> np.ndarray:
        return rows

    service = loaded(plain, batching={"max_rows": "4"})
    assert service.run != service.runner.run
    assert ask(service, [[1.0]]).result(_WAIT).tolist() == [[1.0]]


def test_a_pipeline_whose_result_has_no_rows_warns_and_runs_as_before(
    loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    @model("counted", batching=Batching())
    def counted(rows: np.ndarray) -> int:
        return len(rows)

    with caplog.at_level(logging.WARNING):
        service = loaded(counted)
    assert service.run == service.runner.run
    assert "pipeline 'counted'" in caplog.text


def test_a_pipeline_with_an_explainer_is_refused() -> None:
    runner: Any = SimpleNamespace(explains=True, pipeline=describe(doubling))
    with pytest.raises(SettingsError, match="'doubling' has an explainer"):
        BatchedRequests(runner, background(), Batching(), DecodingLimits())


# -- on a server -----------------------------------------------------------------------------------


@model("served", batching=Batching(max_rows=8))
def served(rows: np.ndarray, factor: float = 2.0) -> np.ndarray:
    return factor * rows


def test_on_a_server_each_client_gets_its_own_answer_over_http_and_grpc(tmp_path: Path) -> None:
    save(served, str(tmp_path / "served"))
    env = {"TEMPO_RUNTIME_BATCHING__MAX_DELAY": "0.005"}
    with serve(tmp_path, env=env) as server:
        clients = [
            ModelClient("served", {"url": url}, forwards_deadline=tagged)
            for url in (server.url, f"grpc://{server.grpc}")
            for tagged in (False, True)
        ]

        def call(number: int) -> bool:
            rows = np.full((1 + number % 3, 2), float(number))
            factor = float(number % 2 + 2)
            client = clients[number % len(clients)]
            request = Request(encode_arguments(None, (), {"rows": rows, "factor": factor}))
            with context.serving(_WAIT, {}):
                response = client.portal.run(client.transport.infer(request))
            answer = decode_results(None, response.tensors, response.content_type)
            return np.array_equal(answer, factor * rows)

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(call, range(200)))
        for client in clients:
            client.portal.run(client.transport.close())
        metrics = server.http.get(server.metrics).text
        batches = re.search(r'batch_calls_count\{pipeline="served"\} (\S+)', metrics)
        requests = re.search(r'requests_total\{outcome="ok",pipeline="served"\} (\S+)', metrics)
        assert batches is not None
        assert requests is not None
        assert float(requests[1]) == 200
        assert float(batches[1]) < 200
