"""Run an asynchronous generator in one task, from its first item to its last.

MLServer lets the interpreter close a stream whose client has left, in another task. There the context
variables that the stream set cannot be reset, which raises an error that MLServer never sees, and asyncio
logs it with a long traceback.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

from mlserver.handlers import DataPlane
from mlserver.types import InferenceResponse

T = TypeVar("T")
_END = object()
_infer_stream = DataPlane.infer_stream


def install() -> None:
    """Make MLServer run each stream in one task."""
    DataPlane.infer_stream = _infer_in_own_task


def _infer_in_own_task(*arguments: Any, **named: Any) -> AsyncGenerator[InferenceResponse, None]:
    return in_own_task(_infer_stream(*arguments, **named))


async def in_own_task(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Run a generator in one task, whichever task reads or closes it."""
    queue: asyncio.Queue[T | object] = asyncio.Queue(1)

    async def pump() -> None:
        try:
            async with aclosing(items):
                async for item in items:
                    await queue.put(item)
        finally:
            await queue.put(_END)

    task = asyncio.create_task(pump())
    try:
        while (item := await queue.get()) is not _END:
            yield item  # type: ignore[misc]
        await task  # raises what the generator raised
    finally:
        while not task.done():
            task.cancel()
            # Make room for the end mark, in case the generator is waiting to put an item.
            while not queue.empty():
                queue.get_nowait()
            await asyncio.wait({task}, timeout=0.1)
        if not task.cancelled():
            task.exception()  # nobody waits for an error that comes after the reader has left
