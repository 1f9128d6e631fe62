"""Run a pipeline's predict method: in a thread if it blocks, within its deadline, on its own instance."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext
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
LOGGED = "; its server's log has the traceback"  # end of errors of the author's code
_END = object()
_NOTHING = nullcontext()
_THREADS = 16
_ENOUGH = 0.25  # a pipeline is ready if more than this share of its threads is free
_SWITCH_INTERVAL = 0.0005  # seconds


@dataclass(frozen=True)
class Progress:
    """Progress of a request.

    Attributes:
        calls: Number of calls to children so far.
        rows: Number of rows sent with these calls.
        news: Further facts: the best anchor so far of an anchor explainer, with its precision and
            coverage.
    """

    calls: int
    rows: int
    news: Mapping[str, Any]


class Runner:
    """Runs the requests of one loaded pipeline, many at the same time.

    Args:
        pipeline: The loaded pipeline.
        instance: The object to call.
        portal: The loop for async code.
        seed: Seed of requests that do not have one; None for an explainer's own seed, if any.
        max_concurrency: Largest number of requests that a sync pipeline works on at the same time; None
            for 16, or for the number of processors if it has an explainer.
        max_queue: Largest number of requests that wait; further requests are refused.
        spare_threads: Largest number of threads started to replace those that hang; None for
            `max_concurrency`.
        fast_explainers: Whether to replace explainers by their fast classes, if they have one.
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
            # Whenever the loop wakes up, a computing thread keeps it waiting for the switch interval.
            # Python's default of 5 ms is many times as long as a small request takes.
            sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL))
        # More computing threads than processors would only delay each other, and the loop.
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
        self._author_errors = _AuthorErrors(self)

    @property
    def share_left(self) -> float:
        """The share of threads that are free to work, from 0 to 1; the others hang."""
        return self._pool.left / self._pool.count

    @property
    def problem(self) -> str | None:
        """Why the pipeline is not ready; None if enough of its threads are free."""
        return None if is_enough(self.share_left) else hanging(self._pool)

    @property
    def explains(self) -> bool:
        """Whether the pipeline has an explainer."""
        return self._explains

    async def run(self, arguments: dict[str, Any]) -> Any:
        """Answer one request; a stream's answer is its last item.

        Raises:
            Overloaded: If too many requests are already running or waiting.
            NotReady: If the pipeline was unloaded before a thread was free.
            DeadlineExceeded: If the deadline has passed; a sync pipeline stops at its next child call.
            TempoError: Any error of the pipeline or of a child.
        """
        with self.admitted():
            if self._async:
                return await self._portal.arun(self._run_async(arguments))
            return await self._in_thread(self._run_sync, arguments)

    async def run_admitted(self, arguments: dict[str, Any]) -> Any:
        """Answer requests that are counted already, in `admitted`; raise as `run` does."""
        if self._async:
            return await self._portal.arun(self._run_async(arguments))
        return await self._in_thread(self._run_sync, arguments)

    def run_blocking(self, arguments: dict[str, Any]) -> Any:
        """Answer one request in this thread, however many are running; raise as `run` does."""
        with self._metrics.call():
            if self._async:
                return self._portal.run(self._run_async(arguments))
            return self._run_sync(arguments)

    async def stream(self, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Answer one request item by item; raise as `run` does.

        Yields:
            The items that the predict method yields. If it returns a result, and the pipeline has an
            explainer: the progress of the request, and then the result.
        """
        if not self._streams:
            news = self._with_news(arguments) if self._explains else self._alone(arguments)
            async with aclosing(news) as items:
                async for item in items:
                    yield item
            return
        items = self._stream_async(arguments) if self._async else self._stream_sync(arguments)
        with self.admitted():
            async with aclosing(items):
                async for item in items:
                    yield item

    async def _alone(self, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        yield await self.run(arguments)

    async def _with_news(self, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Yield the progress of an explainer, and then its result.

        A slow reader receives only the latest progress.
        """
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        allowance = context.current().allowance
        allowance.watch = lambda: _wake(loop, changed)
        answer = asyncio.ensure_future(self.run(arguments))
        answer.add_done_callback(lambda _: changed.set())
        previous: Progress | None = None
        try:
            while True:
                await changed.wait()
                if not (done := answer.done()):
                    changed.clear()
                latest = Progress(allowance.calls, allowance.rows, allowance.news)
                if latest.calls and latest != previous:
                    previous = latest
                    yield latest
                if done:
                    break
            yield answer.result()
        finally:
            allowance.abandoned = True  # its thread stops at its next call to a child
            answer.cancel()

    async def close(self, timeout: float) -> None:
        """Wait for the running requests, and then release the threads."""
        with anyio.move_on_after(timeout):
            while self._running:
                self._idle.clear()
                await self._idle.wait()
        self._pool.close()

    def _run_sync(self, arguments: dict[str, Any]) -> Any:
        with self._author_errors, _context(), self._requests.request() as predict:
            result = predict(**arguments)
            return _last(result) if self._streams else result

    async def _run_async(self, arguments: dict[str, Any]) -> Any:
        with self._author_errors, _context(), self._requests.request() as predict:
            result = predict(**arguments)
            return await _within_time(_alast(result) if self._streams else result)

    async def _stream_async(self, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        with self._author_errors, _context(), self._requests.request() as predict:
            async with aclosing(predict(**arguments)) as iterator:
                while (item := await _within_time(anext(iterator, _END))) is not _END:
                    yield item

    async def _stream_sync(self, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        # All steps run in one context, so that the generator always sees the same request.
        run = copy_context().run
        iterator = self._iterate(arguments)
        try:
            while (item := await self._in_thread(run, next, iterator, _END)) is not _END:
                yield item
        finally:
            self._pool.submit(run, iterator.close)

    def _iterate(self, arguments: dict[str, Any]) -> Any:
        with self._author_errors, _context(), self._requests.request() as predict:
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
        owner = f"pipeline {self.pipeline.details.name!r}"
        self._was_ready = log_readiness(owner, self._pool, self._was_ready)

    def admitted(self) -> _Admitted:
        """Count the block as one request, and refuse it if there are too many."""
        return _Admitted(self, self._metrics.call())

    def _admit(self) -> None:
        if self._running >= self._limit:
            raise Overloaded(
                f"pipeline {self.pipeline.details.name!r} already has {self._running} requests; send "
                "fewer at the same time, or raise `max_concurrency` or `max_queue`"
            )
        if not self._pool.left:
            raise Overloaded(
                f"pipeline {self.pipeline.details.name!r} has no thread left: "
                f"{self._pool.hung} calls hang after their requests have ended; its server's log "
                "says where"
            )
        self._count(1)

    def _leave(self) -> None:
        self._count(-1)
        if not self._running:
            self._idle.set()

    def _count(self, change: int) -> None:
        waited = self._running - self._threads
        self._running += change
        waiting = self._running - self._threads
        if not self._async and (waiting > 0 or waited > 0):
            self._metrics.waiting(max(0, waiting))

    def _refused(self, error: BaseException) -> TempoError | None:
        """Return the error that a client receives for one of the author's code; None for the same."""
        if isinstance(error, ArgumentError):
            return self._explained(error)
        if isinstance(error, TempoError):
            return None
        if not isinstance(error, Exception | SystemExit | asyncio.CancelledError):
            return None
        if _is_mlserver_error(error) or _cancels_the_request(error):
            return None
        return self._explained(error)

    def _explained(self, error: BaseException) -> TempoError:
        if (known := _known(error)) is not None:
            return known
        name, method = self.pipeline.details.name, self.pipeline.predict_name
        logger.error("pipeline %r failed", name, exc_info=error)
        failure = failed(name, method or "its function", error, LOGGED)
        failure.logged = True
        return failure


class _Admitted:
    """Counts its block as one request, and refuses it if there are too many.

    A class, because each request would pay for a generator of `contextlib`.
    """

    __slots__ = ("_call", "_runner")

    def __init__(self, runner: Runner, call: AbstractContextManager[None]) -> None:
        self._runner = runner
        self._call = call

    def __enter__(self) -> None:
        self._call.__enter__()
        try:
            self._runner._admit()
        except BaseException as error:
            self._call.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(self, *error: Any) -> None:
        self._runner._leave()
        self._call.__exit__(*error)


class _AuthorErrors:
    """Turns exceptions of the author's code into errors for clients.

    One object serves all requests, because each request would pay for a generator of `contextlib`.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if error is not None and (refused := self._runner._refused(error)) is not None:
            raise refused from None


def failed(pipeline: str, code: str, error: BaseException, more: str = "") -> PipelineFailed:
    """Return the error for an exception of the author's code, with its line.

    Args:
        pipeline: The pipeline's name.
        code: Name of the author's function.
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
    """Return the error of this package that another exception wraps, because its text says more.

    alibi wraps exceptions of its predictor, for example, and a task group wraps those of its tasks.
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
    """Return whether a pipeline with this share of free threads is ready."""
    return share > _ENOUGH


def log_readiness(owner: str, pool: Threads, was_ready: bool) -> bool:
    """Log when too many threads of a pool hang, and when enough of them are free again.

    Args:
        owner: The pipeline or child that the threads belong to.
        pool: The threads.
        was_ready: Result of the previous call.

    Returns:
        Whether enough threads are free.
    """
    ready = is_enough(pool.left / pool.count)
    if ready and not was_ready:
        logger.warning("%s is ready again: %d calls still hang", owner, pool.hung)
    elif was_ready and not ready:
        logger.error("%s is not ready: %s", owner, hanging(pool))
    return ready


def hanging(pool: Threads) -> str:
    """Describe the calls that hang in a pool of threads, and the remedy."""
    place = pool.place()
    return (
        f"{pool.hung} calls hang after their requests have ended, and {pool.left} of its {pool.count} "
        f"threads are left{f'; one is at {place}' if place else ''}; add a time limit to the call that "
        "hangs"
    )


def _context() -> AbstractContextManager[object]:
    """Enter the context of a request, unless the caller has done so."""
    return _NOTHING if context.is_request() else context.serving(None, {})


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Set an event from any thread."""
    loop.call_soon_threadsafe(event.set)


def _processors() -> int:
    """Return the number of processors that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(2, count or 1)


async def _within_time(awaitable: Awaitable[T]) -> T:
    """Await something until the request's deadline."""
    current = context.current()
    try:
        return await within(current.remaining(), awaitable)
    except Elapsed:
        raise current.exceeded() from None


def _last(items: Any) -> Any:
    last, current = None, context.current()
    try:
        for last in items:  # noqa: B007 - the last is the answer
            current.remaining()  # raises if the deadline has passed
    finally:
        if isinstance(items, Generator):  # which the traceback of an error would keep open
            items.close()
    return last


async def _alast(items: Any) -> Any:
    last, current = None, context.current()
    async with aclosing(items):
        async for last in items:  # noqa: B007
            current.remaining()
            await asyncio.sleep(0)  # a stream that never waits would keep the loop from all others
    return last


def _cancels_the_request(error: BaseException) -> bool:
    """Return whether a cancellation is that of the request, not of a task that the author awaited."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task: Any = asyncio.current_task()
    except RuntimeError:  # in a thread, which cannot be cancelled
        return False
    # Only Python 3.11 and later can tell.
    return task is None or not hasattr(task, "cancelling") or task.cancelling() > 0


def _is_mlserver_error(error: BaseException) -> bool:
    """Return whether an exception is MLServer's own, with a status that the author chose."""
    return any(
        base.__module__ == "mlserver.errors" and base.__name__ == "MLServerError"
        for base in type(error).__mro__
    )
