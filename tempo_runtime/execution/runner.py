"""Runs a pipeline's predict method: off the loop, within its time, on an instance of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from tempo_runtime.authoring.decorators import Pipeline
from tempo_runtime.errors import ArgumentError, NotReady, Overloaded, PipelineFailed, TempoError
from tempo_runtime.execution.blame import author_line, named
from tempo_runtime.execution.explain.isolation import requests_of
from tempo_runtime.execution.threads import Closed, Threads
from tempo_runtime.request import context
from tempo_runtime.request.metrics import PipelineMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.request.timing import Elapsed, within

T = TypeVar("T")
logger = logging.getLogger(__name__)
LOGGED = "; its server's log has the traceback"  # how the error of a pipeline's own code ends
_END = object()
_THREADS = 16
_ENOUGH = 0.25  # share of a pipeline's threads; with this or less left, it is not ready
_SWITCH = 0.0005  # seconds


@dataclass(frozen=True)
class Progress:
    """How far a request has come.

    Attributes:
        calls: Calls to children so far.
        rows: Rows sent with them.
        news: What else there is to tell: an anchor explainer's best anchor so far, its precision and
            coverage.
    """

    calls: int
    rows: int
    news: Mapping[str, Any]


class Runner:
    """One loaded pipeline, ready to be called by many requests at once.

    Args:
        pipeline: The loaded pipeline.
        instance: The object to call.
        portal: The loop that async code runs on.
        seed: Seed of each request without its own; None for an explainer's own, if any.
        max_concurrency: Requests a sync pipeline works on at once; None for 16, or for the number of
            processors if it holds an explainer.
        max_queue: Further requests that may wait; the next one is refused.
        spare_threads: Threads that may be started to replace those that hang; None for as many as
            `max_concurrency`.
        fast_explainers: Whether explainers that have a fast class get it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        instance: Any,
        portal: Portal,
        *,
        seed: int | None = None,
        max_concurrency: int | None = None,
        max_queue: int = 1000,
        spare_threads: int | None = None,
        fast_explainers: bool = True,
    ) -> None:
        self.pipeline = pipeline
        self._portal = portal
        self._requests = requests_of(pipeline, instance, seed=seed, fast=fast_explainers)
        self._explains = self._requests.explains
        self._async = pipeline.is_async
        self._streams = pipeline.signature.streams
        self._running = 0
        self._idle = asyncio.Event()
        if self._explains:
            # A thread that computes keeps the loop waiting for so long, each time the loop has waited
            # for anything: Python's 5 ms are many times what a small request takes.
            sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH))
        # More threads that compute than processors would only keep each other, and the loop, waiting.
        self._threads = max_concurrency or (_processors() if self._explains else _THREADS)
        self._limit = self._threads + max_queue
        self._metrics = PipelineMetrics(pipeline.details.name)
        self._pool = Threads(
            f"tempo-{pipeline.details.name}",
            self._threads,
            self._threads if spare_threads is None else spare_threads,
            self._hung_changed,
        )
        self._was_ready = True

    @property
    def share_left(self) -> float:
        """The share of its threads that can work, from 0 to 1; the others hang."""
        return self._pool.left / self._pool.count

    async def run(self, arguments: dict[str, Any]) -> Any:
        """Answer one request; a stream's answer is its last item.

        Raises:
            Overloaded: If too many requests are here already.
            NotReady: If the pipeline was unloaded before a thread was free.
            DeadlineExceeded: If the time is up; a sync pipeline stops at its next child call.
            TempoError: Whatever the pipeline, or a child, failed with.
        """
        with self._admitted():
            if self._async:
                return await self._portal.arun(self._run_async(arguments))
            return await self._in_thread(self._run_sync, arguments)

    def run_blocking(self, arguments: dict[str, Any]) -> Any:
        """Answer one request in this thread; raise as `run` does, and turn none away."""
        with self._metrics.call():
            if self._async:
                return self._portal.run(self._run_async(arguments))
            return self._run_sync(arguments)

    async def stream(self, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Answer one request item by item; raise as `run` does.

        Yields:
            What the predict method does; where it returns, and works with an explainer, each
            `Progress`, and last its result.
        """
        if not self._streams:
            news = self._with_news(arguments) if self._explains else self._alone(arguments)
            async with aclosing(news) as items:
                async for item in items:
                    yield item
            return
        items = self._stream_async(arguments) if self._async else self._stream_sync(arguments)
        with self._admitted():
            async with aclosing(items):
                async for item in items:
                    yield item

    async def _alone(self, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        yield await self.run(arguments)

    async def _with_news(self, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Yield the result of an explainer, and before it what there is to tell of its work.

        Whoever reads slowly gets the latest news, and not all of it.
        """
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        allowance = context.current().allowance
        allowance.watch = lambda: _wake(loop, changed)
        answer = asyncio.ensure_future(self.run(arguments))
        answer.add_done_callback(lambda _: changed.set())
        told: Progress | None = None
        try:
            while True:
                await changed.wait()
                if not (done := answer.done()):
                    changed.clear()
                latest = Progress(allowance.calls, allowance.rows, allowance.news)
                if latest.calls and latest != told:
                    told = latest
                    yield latest
                if done:
                    break
            yield answer.result()
        finally:
            allowance.abandoned = True  # its thread stops at its next call to a child
            answer.cancel()

    async def close(self, timeout: float) -> None:
        """Wait for the requests that are running, then frees the threads."""
        with anyio.move_on_after(timeout):
            while self._running:
                self._idle.clear()
                await self._idle.wait()
        self._pool.close()

    def _run_sync(self, arguments: dict[str, Any]) -> Any:
        with self._request() as predict:
            result = predict(**arguments)
            return _last(result) if self._streams else result

    async def _run_async(self, arguments: dict[str, Any]) -> Any:
        with self._request() as predict:
            result = predict(**arguments)
            return await _within_time(_alast(result) if self._streams else result)

    async def _stream_async(self, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        with self._request() as predict:
            async with aclosing(predict(**arguments)) as iterator:
                while (item := await _within_time(anext(iterator, _END))) is not _END:
                    yield item

    async def _stream_sync(self, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        # Every step runs in one context: a generator sees the same request from first to last.
        run = copy_context().run
        iterator = self._iterate(arguments)
        try:
            while (item := await self._in_thread(run, next, iterator, _END)) is not _END:
                yield item
        finally:
            self._pool.submit(run, iterator.close)

    def _iterate(self, arguments: dict[str, Any]) -> Any:
        with self._request() as predict:
            yield from predict(**arguments)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        current = context.current()
        seconds = current.remaining()
        run = copy_context().run
        try:
            return await self._pool.run(seconds, run, function, *arguments)
        except Elapsed:
            raise current.exceeded() from None
        except Closed:
            raise not_loaded(self.pipeline.details.name) from None

    def _hung_changed(self) -> None:
        self._metrics.hung(self._pool.hung)
        what = f"pipeline {self.pipeline.details.name!r}"
        self._was_ready = tell_readiness(what, self._pool, self._was_ready)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        with self._metrics.call():
            if self._running >= self._limit:
                raise Overloaded(
                    f"pipeline {self.pipeline.details.name!r} has {self._running} requests already; "
                    "send it less at once, or raise `max_concurrency` or `max_queue`"
                )
            if not self._pool.left:
                raise Overloaded(
                    f"pipeline {self.pipeline.details.name!r} has no thread left: "
                    f"{self._pool.hung} calls hang after their requests have ended; its server's log "
                    "says where"
                )
            self._count(1)
            try:
                yield
            finally:
                self._count(-1)
                if not self._running:
                    self._idle.set()

    def _count(self, change: int) -> None:
        waited = self._running - self._threads
        self._running += change
        waiting = self._running - self._threads
        if not self._async and (waiting > 0 or waited > 0):
            self._metrics.waiting(max(0, waiting))

    @contextmanager
    def _request(self) -> Iterator[Callable[..., Any]]:
        try:
            with _context(), self._requests.request() as predict:
                yield predict
        except ArgumentError as error:
            raise self._explained(error) from None
        except TempoError:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if _is_mlserver_error(error) or _cancels_the_request(error):
                raise
            raise self._explained(error) from None

    def _explained(self, error: BaseException) -> TempoError:
        if (known := _known(error)) is not None:
            return known
        name, method = self.pipeline.details.name, self.pipeline.predict_name
        logger.error("pipeline %r failed", name, exc_info=error)
        found = failed(name, method or "its function", error, LOGGED)
        found.logged = True
        return found


def failed(pipeline: str, code: str, error: BaseException, more: str = "") -> PipelineFailed:
    """Return the error for an exception of the author's code, with their line.

    Args:
        pipeline: The pipeline's name.
        code: The function that was called.
        error: The exception that it raised.
        more: The end of the text.
    """
    line = author_line(error)
    place = f" at {line}" if line else ""
    return PipelineFailed(f"pipeline {pipeline!r}: {code} raised {named(error)}{place}{more}")


def not_loaded(pipeline: str) -> NotReady:
    """Return the error of a request that came before a pipeline was loaded, or while it is unloaded."""
    return NotReady(
        f"pipeline {pipeline!r} is not loaded, or is being unloaded; send the request again later"
    )


def _known(error: BaseException) -> TempoError | None:
    """Return our error inside an exception that wraps it, because its text says more.

    alibi wraps exceptions of its predictor, for example, and a task group those of its tasks.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TempoError) and not isinstance(cause, ArgumentError):
            return cause
        parts = getattr(cause, "exceptions", ())
        if isinstance(parts, tuple) and parts:
            known = [_known(part) for part in parts if isinstance(part, BaseException)]
            return known[0] if all(known) else None
        cause = cause.__cause__
    return None


def is_enough(share: float) -> bool:
    """Tell whether a pipeline with this share of its threads left is ready."""
    return share > _ENOUGH


def tell_readiness(what: str, pool: Threads, was_ready: bool) -> bool:
    """Log when too many threads of a pool hang, and when enough of them are back.

    Args:
        what: Whose threads they are.
        pool: They.
        was_ready: What this returned the last time.

    Returns:
        Whether enough threads are left.
    """
    ready = is_enough(pool.left / pool.count)
    if ready and not was_ready:
        logger.warning("%s is ready again: %d calls still hang", what, pool.hung)
    elif was_ready and not ready:
        place = pool.place()
        logger.error(
            "%s is not ready: %d calls hang after their requests have ended, and %d of its %d threads "
            "are left%s; add a time limit to the call that hangs",
            what,
            pool.hung,
            pool.left,
            pool.count,
            f"; one is at {place}" if place else "",
        )
    return ready


def _context() -> AbstractContextManager[object]:
    """Enter a request's context, if the caller has entered none."""
    return nullcontext() if context.is_request() else context.serving(None, {})


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Set an event from any thread."""
    loop.call_soon_threadsafe(event.set)


def _processors() -> int:
    """Return how many this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(2, count or 1)


async def _within_time(awaitable: Awaitable[T]) -> T:
    """Await, until the request's deadline."""
    current = context.current()
    try:
        return await within(current.remaining(), awaitable)
    except Elapsed:
        raise current.exceeded() from None


def _last(items: Any) -> Any:
    last = None
    for last in items:  # noqa: B007 - the last is the answer
        pass
    return last


async def _alast(items: Any) -> Any:
    last = None
    async for last in items:  # noqa: B007
        pass
    return last


def _cancels_the_request(error: BaseException) -> bool:
    """Tell whether it ends the request itself, rather than a task of the author's that was awaited."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task: Any = asyncio.current_task()
    except RuntimeError:  # a thread, which nobody can cancel
        return False
    # Only Python 3.11 and later know.
    return task is None or not hasattr(task, "cancelling") or task.cancelling() > 0


def _is_mlserver_error(error: BaseException) -> bool:
    """Return whether the author chose a status for the client, as MLServer's own errors do."""
    return any(
        kind.__module__ == "mlserver.errors" and kind.__name__ == "MLServerError"
        for kind in type(error).__mro__
    )
