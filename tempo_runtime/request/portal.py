"""From a thread to an event loop and back.

Children are called by one async client. A sync predict method runs in a thread; its calls cross to
the loop that owns the client, and wait there for the answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

from tempo_runtime.errors import PipelineFailed

T = TypeVar("T")


class Portal:
    """An event loop that threads, and other loops, can run coroutines on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        return self._loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it, from a thread that is not the loop's.

        Raises:
            PipelineFailed: If this thread is the loop's own, which would wait for itself.
        """
        if _running_loop() is self._loop:
            coroutine.close()
            raise PipelineFailed(
                "a child was called without await in an async predict method; write "
                "`await self.models.NAME(...)`"
            )
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop, in the caller's context, without waiting for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def arun(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and await it, from any loop."""
        if _running_loop() is self._loop:
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))


@cache
def background() -> Portal:
    """Return a loop in a daemon thread, for pipelines that are called without a server.

    A notebook's own loop cannot be used: the cell that waits for a child is what it is running.
    """
    loop = asyncio.new_event_loop()
    # An empty context: a request's deadline must not become the default of every later call.
    context = copy_context()
    threading.Thread(
        target=lambda: context.run(loop.run_forever), name="tempo-runtime-portal", daemon=True
    ).start()
    return Portal(loop)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
