"""Requests while their pipeline is unloaded, and the end of MLServer's workers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlserver import ModelSettings, Settings
from mlserver.errors import MLServerError
from mlserver.parallel.pool import InferencePool
from mlserver.types import InferenceRequest

from tempo_runtime import NotReady, TempoPipelineRuntime, model
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.execution.runner import Runner
from tempo_runtime.protocol.error_details import ErrorInfo, unmarked
from tempo_runtime.request.portal import background
from tempo_runtime.runtime import parallel

GATE, BEGUN = threading.Event(), threading.Event()


@model("gated")
def gated() -> str:
    BEGUN.set()
    GATE.wait(60)
    return "done"


@model("gated-stream")
def gated_stream() -> Iterator[str]:
    yield "first"
    yield gated()


@pytest.fixture(autouse=True)
def gate() -> Iterator[threading.Event]:
    GATE.clear()
    BEGUN.clear()
    yield GATE
    GATE.set()


async def begun() -> None:
    while not BEGUN.is_set():  # noqa: ASYNC110 - a thread sets it
        await asyncio.sleep(0.005)


def runner(target: Any) -> Runner:
    pipeline = describe(target)
    return Runner(pipeline, pipeline.build(None, ""), background(), max_concurrency=1)


def is_for_later(error: Exception) -> bool:
    return isinstance(error, NotReady) and error.retryable and error.status == 503


async def test_a_request_to_a_pipeline_that_is_not_loaded_may_be_sent_again(
    tmp_path: Path,
) -> None:
    settings = ModelSettings(name="shop", implementation=TempoPipelineRuntime)
    with pytest.raises(MLServerError) as raised:
        await TempoPipelineRuntime(settings).predict(InferenceRequest(inputs=[]))
    message, info = unmarked(str(raised.value))
    assert (
        message
        == "pipeline 'shop' is not loaded, or is being unloaded; send the request again later"
    )
    assert info == ErrorInfo.of(NotReady(message))
    assert (info.status, info.retryable, info.retry_after) == (503, True, 1.0)


async def test_a_request_that_waits_for_a_thread_when_the_drain_is_over_may_be_sent_again() -> None:
    service = runner(gated)
    first = asyncio.ensure_future(service.run({}))
    await begun()
    waiting = asyncio.ensure_future(service.run({}))
    await asyncio.sleep(0)
    await service.close(0.01)
    (error,) = await asyncio.gather(waiting, return_exceptions=True)
    assert is_for_later(error)
    GATE.set()
    assert await first == "done"
    (late,) = await asyncio.gather(service.run({}), return_exceptions=True)
    assert is_for_later(late)


async def test_a_stream_that_is_longer_than_the_drain_ends_with_the_same_error() -> None:
    service = runner(gated_stream)
    items = service.stream({})
    assert await anext(items) == "first"
    await service.close(0.01)
    (error,) = await asyncio.gather(anext(items), return_exceptions=True)
    assert is_for_later(error)


class Worker:
    """A worker that ends once it was told to."""

    def __init__(self, pid: int, events: list[str], *, hangs: bool = False) -> None:
        self.pid, self._events, self._hangs = pid, events, hangs
        self.exitcode: int | None = None

    async def stop(self) -> None:
        self._events.append("told to end")

    def join(self, timeout: float) -> None:
        self._events.append("waited for")
        assert 0 <= timeout <= 5
        self.exitcode = None if self._hangs else 0

    def kill(self) -> None:
        self._events.append("killed")


async def test_all_workers_are_told_to_end_before_one_is_waited_for() -> None:
    events: list[str] = []
    parallel.install()
    pool = InferencePool.__new__(InferencePool)
    pool._settings, pool._on_worker_stop = Settings(), []
    pool._workers = {1: Worker(1, events), 2: Worker(2, events, hangs=True)}
    await pool._close_workers()
    await pool._close_workers()  # as a second signal does
    assert events == ["told to end"] * 2 + ["waited for"] * 2 + ["killed"]
