"""Run an asynchronous generator in one task, from its first item to its last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")
_END = object()


async def in_own_task(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Run a generator in one task.

    If the client leaves, its server may close a stream in another task, but a generator's context
    variables can only be reset in the task that set them.
    """
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
