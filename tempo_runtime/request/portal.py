"""Run coroutines on an event loop from threads and from other loops.

Children are called by one async client. A sync predict method runs in a thread; its calls run on the loop
of that client, and the thread waits for their answers.
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

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on the loop."""
        return _running_loop() is self._loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it, from another thread.

        Raises:
            PipelineFailed: If this is the loop's thread, which would wait for itself.
        """
        try:
            self.refuse_own_thread()
        except PipelineFailed:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def refuse_own_thread(self) -> None:
        """Refuse to wait in the loop's thread, which would wait for itself; raise as `run` does."""
        if _running_loop() is self._loop:
            raise PipelineFailed(
                "a child was called without await in an async predict method; write "
                "`await self.models.NAME(...)`"
            )

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop, in the caller's context, without waiting for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def arun(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and await it, from any loop."""
        if self.is_here:
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))


@cache
def background() -> Portal:
    """Return the portal to a loop in a daemon thread, for calls of pipelines without a server.

    A notebook's own loop cannot be used, because it runs the cell that waits for the child.
    """
    loop = asyncio.new_event_loop()
    # Its own context, so that a request's deadline does not become the default of later calls.
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
