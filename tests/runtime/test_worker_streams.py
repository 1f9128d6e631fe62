"""Streams in a parallel worker: what they compute ahead, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from tempo_runtime.runtime import worker_streams
from tempo_runtime.runtime.worker_streams import CLOSE, READ, WorkerStreams

AHEAD = worker_streams._AHEAD


class Counting:
    """A stream of numbers that never waits; counts the items that it has computed."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.computed = 0
        self.has_ended = False
        self._fails_at = fails_at

    async def items(self) -> AsyncGenerator[int, None]:
        try:
            while self.computed != self._fails_at:
                self.computed += 1
                yield self.computed
            raise ValueError("no more")
        finally:
            self.has_ended = True


class Worker:
    """A worker with one stream, called without another process."""

    def __init__(self, stream: Counting) -> None:
        self.stream = stream
        self.streams = WorkerStreams()
        self.closed = asyncio.Event()

    async def ask(self, name: str, stream: str, *new: Any) -> Any:
        if name == READ:
            return await self.streams.read(stream, self.stream.items() if new else None)
        assert name == CLOSE
        await self.streams.close(stream)
        self.closed.set()
        return None


async def test_a_slow_reader_limits_what_is_computed() -> None:
    worker = Worker(Counting())
    async with aclosing(worker_streams.read(worker.ask, "stream", "request")) as items:
        for _ in range(3 * AHEAD):
            number = await anext(items)
            await asyncio.sleep(0)
            assert worker.stream.computed <= number + 2 * AHEAD


async def test_a_reader_that_leaves_ends_the_stream() -> None:
    worker = Worker(Counting())
    async with aclosing(worker_streams.read(worker.ask, "stream", "request")) as items:
        assert await anext(items) == 1
    await worker.closed.wait()
    assert worker.stream.has_ended
    assert worker.streams._streams == {}


async def test_a_reader_that_is_cancelled_while_it_waits_ends_the_stream() -> None:
    began, never = asyncio.Event(), asyncio.Event()
    has_ended = False

    async def waits() -> AsyncGenerator[int, None]:
        nonlocal has_ended
        try:
            began.set()
            await never.wait()
            yield 1
        finally:
            has_ended = True

    worker = Worker(Counting())
    worker.stream.items = waits  # type: ignore[method-assign]

    answers = []

    async def ask(*arguments: Any) -> Any:
        answers.append(asyncio.ensure_future(worker.ask(*arguments)))
        return await asyncio.shield(answers[-1])

    reader = asyncio.ensure_future(anext(worker_streams.read(ask, "stream", "request")))
    await began.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await worker.closed.wait()
    assert has_ended
    assert await answers[0] == ([], True)  # no error, which the worker would log


@pytest.mark.parametrize("count", [0, 1, AHEAD, AHEAD + 1])
async def test_an_error_comes_after_all_items_before_it(count: int) -> None:
    worker = Worker(Counting(fails_at=count))
    items = worker_streams.read(worker.ask, "stream", "request")
    assert [await anext(items) for _ in range(count)] == list(range(1, count + 1))
    with pytest.raises(ValueError, match="no more"):
        await anext(items)
    assert worker.streams._streams == {}


async def test_all_streams_end_with_their_pipeline() -> None:
    worker = Worker(Counting())
    assert await worker.ask(READ, "a", "stream", "request") == ([*range(1, AHEAD + 1)], False)
    await worker.streams.close_all()
    assert worker.stream.has_ended
    await worker.streams.close("a")  # again
