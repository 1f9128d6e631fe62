"""Read a stream that runs in a parallel worker, from MLServer's main process.

A worker gives one answer to each request of the main process. So the main process asks for the next items
until the stream ends, and always asks the same worker. The worker computes a few items ahead, so that an
item rarely waits for the next request, and a reader that is slow does not fill its memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from mlserver.utils import generate_uuid

READ, CLOSE = "read_stream", "close_stream"  # methods of a pipeline's runtime, called in a worker
Chunk = tuple[list[Any], bool]  # the next items, and whether these are the last
Ask = Callable[..., Awaitable[Any]]

_AHEAD = 16  # items
logger = logging.getLogger(__name__)


async def read(ask: Ask, method: str, request: Any) -> AsyncGenerator[Any, None]:
    """Yield the items of a stream in a worker, and end it there when its reader leaves.

    Args:
        ask: Calls a method in the worker, by its name, with arguments. If the caller of `ask` is
            cancelled, the method still runs.
        method: Name of the method that makes the stream.
        request: Its argument.

    Raises:
        MLServerError: What the stream raises, or that its worker has ended.
    """
    stream = generate_uuid()
    arguments: tuple[Any, ...] = (stream, method, request)
    is_open = True
    try:
        while is_open:
            try:
                items, is_last = await ask(READ, *arguments)
            except Exception:
                is_open = False
                raise
            is_open, arguments = not is_last, (stream,)
            for item in items:
                yield item
    finally:
        if is_open:
            _end_in_background(ask(CLOSE, stream))


class WorkerStreams:
    """The streams of one pipeline that the main process reads from this worker."""

    def __init__(self) -> None:
        self._streams: dict[str, _Stream] = {}

    async def read(self, stream: str, items: AsyncGenerator[Any, None] | None) -> Chunk:
        """Return the next items, once there is one, and whether these are the last.

        Args:
            stream: Id of the stream.
            items: The items of a new stream; None for one that was read before.

        Raises:
            Exception: What the stream raised, after all items before it have been read.
        """
        if items is not None:
            self._streams[stream] = _Stream(items)
        is_last = True
        try:
            chunk = await self._streams[stream].read()
            is_last = chunk[1]
            return chunk
        finally:
            if is_last:
                self._streams.pop(stream, None)

    async def close(self, stream: str) -> None:
        """End a stream, if it has not ended."""
        if (found := self._streams.pop(stream, None)) is not None:
            await found.close()

    async def close_all(self) -> None:
        """End all streams."""
        await asyncio.gather(*map(self.close, list(self._streams)))


class _Stream:
    """Collects the items of a generator, in one task from the first to the last."""

    def __init__(self, items: AsyncGenerator[Any, None]) -> None:
        self._ahead: list[Any] = []
        self._changed = asyncio.Event()  # there is an item, or the end
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._collect(items))
        self._task.add_done_callback(lambda _: self._changed.set())

    async def read(self) -> Chunk:
        await self._changed.wait()
        items, self._ahead = self._ahead, []
        self._room.set()
        if not self._task.done():
            self._changed.clear()
            return items, False
        if self._task.cancelled():  # it was closed, so nobody waits for an answer
            return items, True
        if not items:
            self._task.result()  # raises what the stream raised
        return items, self._task.exception() is None

    async def close(self) -> None:
        while not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=0.1)

    async def _collect(self, items: AsyncGenerator[Any, None]) -> None:
        async with aclosing(items):
            async for item in items:
                self._ahead.append(item)
                self._changed.set()
                if len(self._ahead) >= _AHEAD:
                    self._room.clear()
                    await self._room.wait()


_ending: set[asyncio.Task[None]] = set()  # the loop itself does not keep its tasks


def _end_in_background(asked: Awaitable[Any]) -> None:
    async def end() -> None:
        try:
            await asked
        except Exception as error:  # the worker has ended, and its streams with it
            logger.debug("a stream was not ended in its worker: %s", error)

    task = asyncio.create_task(end())
    _ending.add(task)
    task.add_done_callback(_ending.discard)
