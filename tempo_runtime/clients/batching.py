"""Put calls of different requests to a child together, above any transport.

A call that finds the child idle is made at once, in its own thread or task. Those that come meanwhile
wait, and become the next call: `_Queue` decides which, without I/O. A call that stays alone is the plain
call, made by its caller; several are made as one on the portal's loop, which their callers wait for.
Whenever that does not work out, each caller makes the plain call after all. So no error of one request
becomes another's.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from contextvars import copy_context
from dataclasses import replace
from enum import Enum
from threading import Lock
from typing import Any, Protocol

from tempo_runtime.clients.deadline import CallDeadline
from tempo_runtime.clients.failures import ChildAddress
from tempo_runtime.clients.transport import Transport
from tempo_runtime.errors import TempoError
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.rows import (
    NotRowWise,
    Rows,
    answers_in_rows,
    check_rows,
    have_rows,
    join,
    layout_of,
    rows_of,
    split,
)
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.protocol.sizes import convert, is_large
from tempo_runtime.request import context
from tempo_runtime.request.context import RequestContext
from tempo_runtime.request.metrics import BatchMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.request.timing import Elapsed, within
from tempo_runtime.settings import Batching

logger = logging.getLogger(__name__)
# Headers that trace one request, and do not matter for an answer.
_TRACING = frozenset(("x-request-id", "traceparent", "tracestate"))
_TRACING_PREFIX = "x-b3-"
_STRIKES = 3


class Clock(Protocol):
    """The time that a call may wait, as `CallDeadline` has it."""

    def left(self) -> float | None:
        """Return the seconds that are left, at least 0; None for no deadline."""
        ...

    def ended(self, place: ChildAddress) -> TempoError:
        """Return the error of a call that was not answered in time."""
        ...


class _State(Enum):
    WAITING = "waiting"  # in a queue
    ALONE = "alone"  # it has the turn, and its caller makes the plain call
    TOGETHER = "together"  # it is part of a batch that is under way
    ENDED = "ended"  # it has an answer, its caller makes the plain call without a turn, or has left


_MAKE_IT = object()  # tells a waiting caller to make the plain call


class _Call:
    """One call of a request, while it waits or is part of a batch."""

    __slots__ = (
        "batch",
        "clock",
        "current",
        "due",
        "future",
        "loop",
        "queue",
        "request",
        "rows",
        "since",
        "state",
    )

    def __init__(self, request: Request, current: RequestContext, rows: Rows, clock: Clock) -> None:
        self.request = request
        self.current = current
        self.rows = rows
        self.clock = clock
        self.since = self.due = time.monotonic()
        self.state = _State.ALONE
        self.queue: _Queue
        self.batch: _Batch | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: Any = None

    def wait_in(self, loop: asyncio.AbstractEventLoop | None, delay: float) -> None:
        """Prepare to wait, in a coroutine of this loop; in a thread if it is None.

        It waits for others no longer than half of its time, so that this wait never makes it late.
        """
        left = self.clock.left()
        self.due += delay if left is None else min(delay, left / 2)
        self.state = _State.WAITING
        self.loop = loop
        self.future = Future() if loop is None else loop.create_future()

    def is_overdue(self) -> bool:
        """Return whether its caller should have stopped waiting."""
        return self.clock.left() == 0

    def tell(self, outcome: Any) -> None:
        """Give the waiting caller its answer, or `_MAKE_IT`; from any thread."""
        if self.loop is None:
            self.future.set_result(outcome)
        elif self.loop is _running_loop():
            _set(self.future, outcome)
        else:
            with suppress(RuntimeError):  # the loop is closed, so its tasks have ended
                self.loop.call_soon_threadsafe(_set, self.future, outcome)


class _Batch:
    """Calls that are made as one."""

    def __init__(self, queue: _Queue, calls: Sequence[_Call]) -> None:
        self.queue = queue
        self.calls = calls
        self.callers = len(calls)  # that still wait
        self.current = _common([call.current for call in calls])
        self.task: asyncio.Task[list[Response]] | None = None
        self.error: BaseException | None = None  # a failure that may be due to being a batch
        self.succeeded_alone = 0  # calls that were made again

    def is_overdue(self) -> bool:
        """Return False: it is cancelled when nobody waits for it."""
        return False


class _Queue:
    """Decides which calls of one form are made as one, and when. No I/O, no clock and no lock.

    Args:
        options: How many rows go together, and how long a call waits for others.
        turns: Number of calls to the child at the same time.
    """

    def __init__(self, options: Batching, turns: int) -> None:
        self._most, self._delay = options.max_rows, options.max_delay
        self._turns = turns
        self._running: set[_Call | _Batch] = set()
        self._waiting: deque[_Call] = deque()
        self._rows = 0
        self.key: Any = None  # under which the transport finds it
        self.layout: list[tuple[Any, ...]] | None = None  # of an answer to a plain call
        self.timer = math.inf  # when the next timer will look at it

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way and none waits."""
        return not self._waiting and not self._running

    def enter(self, call: _Call) -> bool:
        """Add a call, and return whether it may be made at once, without waiting."""
        if not self._waiting and not self._delay and self.has_turn():
            self._running.add(call)
            return True
        self._waiting.append(call)
        self._rows += call.rows.count
        return False

    def has_turn(self) -> bool:
        """Return whether another call to the child may begin.

        A call that is overdue hangs in its caller's thread, which nobody waits for, so it keeps no turn.
        """
        if len(self._running) >= self._turns:
            self._running -= {made for made in self._running if made.is_overdue()}
        return len(self._running) < self._turns

    def next(self, now: float) -> list[_Call]:
        """Return the calls that can be made as one now; empty if it is not time yet."""
        if not self._waiting or self.wait(now) > 0 or not self.has_turn():
            return []
        calls: list[_Call] = []
        rows = 0
        for call in self._waiting:
            rows += call.rows.count
            if calls and rows > self._most:
                break
            calls.append(call)
        return calls

    def begin(self, made: _Call | _Batch, calls: Sequence[_Call]) -> None:
        """Record the beginning of a call to the child that is made for the next of the waiting calls."""
        self._running.add(made)
        for call in calls:
            self._waiting.popleft()
            self._rows -= call.rows.count

    def end(self, made: _Call | _Batch) -> None:
        """Record its end."""
        self._running.discard(made)

    def wait(self, now: float) -> float:
        """Return the seconds until waiting calls are due, if there is a turn; 0 if they are."""
        if not self._waiting or not self._delay or self._rows >= self._most:
            return 0.0
        return max(0.0, min(call.due for call in self._waiting) - now)

    def leave(self, call: _Call) -> None:
        """Remove a waiting call."""
        self._waiting.remove(call)
        self._rows -= call.rows.count

    def clear(self) -> list[_Call]:
        """Remove and return all waiting calls."""
        calls = list(self._waiting)
        self._waiting.clear()
        self._rows = 0
        return calls


class BatchingTransport:
    """Calls a child through another transport, and puts waiting calls together.

    Args:
        inner: The transport to the child.
        portal: The loop on which calls are made as one.
        options: How many rows go together, and how long a call waits for others.
        place: The child, for messages.
        metrics: Metrics of what is put together.
        signature: The child's signature, if that is known.
        turns: Number of calls to the child at the same time.
        timeout: Seconds that the transport gives each call.
        shares_budget: Whether the child's own calls count against the budget of its caller's request.
        clock: Returns how long a call may wait; by default as long as a call to a child may take.

    Attributes:
        inner: The transport to the child, for plain calls.
        known: Which of the child's inputs have rows, as far as that is known.
    """

    def __init__(
        self,
        inner: Transport,
        portal: Portal,
        options: Batching,
        place: ChildAddress,
        metrics: BatchMetrics,
        *,
        signature: Signature | None = None,
        turns: int = 1,
        timeout: float | None = None,
        shares_budget: bool = False,
        clock: Callable[[RequestContext], Clock] | None = None,
    ) -> None:
        self.tagged = inner.tagged
        self.inner = inner
        self._portal = portal
        self._options = options
        self._place = place
        self._metrics = metrics
        self.known = have_rows(signature)
        self._turns = turns
        self._timeout = timeout
        self._shares_budget = shares_budget
        self._clock = clock or (lambda current: CallDeadline(current, timeout))
        self._queues: dict[Any, _Queue] = {}
        # Held for a few operations, and never while the child is called or something is awaited.
        self._lock = Lock()
        self._context = copy_context()
        self._strikes = 0
        self._stopped = False
        if signature is not None and signature.streams:
            self._stop("it streams")
        elif not answers_in_rows(signature):
            self._stop("its outputs are not arrays or lists, by its signature")

    @property
    def is_stopped(self) -> bool:
        """Whether all calls are plain from now on."""
        return self._stopped

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        call = self._entered(request, asyncio.get_running_loop())
        if call is None:
            return await self.inner.infer(request)
        try:
            if call.future is not None:
                try:
                    outcome = await within(call.clock.left(), call.future)
                except Elapsed:
                    raise call.clock.ended(self._place) from None
                if outcome is not _MAKE_IT:
                    return outcome  # type: ignore[no-any-return]
            with self._alone(call):
                response = await self.inner.infer(request)
            return self._answered_alone(call, response)
        finally:
            self._left(call)

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        call = self._entered(request, None)
        if call is None:
            return self.inner.infer_blocking(request)
        try:
            if call.future is not None:
                self._portal.refuse_own_thread()
                try:
                    outcome = call.future.result(call.clock.left())
                except NotInTime:
                    raise call.clock.ended(self._place) from None
                if outcome is not _MAKE_IT:
                    return outcome  # type: ignore[no-any-return]
            with self._alone(call):
                response = self.inner.infer_blocking(request)
            return self._answered_alone(call, response)
        finally:
            self._left(call)

    async def close(self) -> None:
        """Let waiting callers make their calls, and close the transport."""
        self._stopped = True
        for queue in list(self._queues.values()):
            self._advance(queue)
        await self.inner.close()

    # -- a caller's side, in any thread ------------------------------------------------------------

    def _entered(self, request: Request, loop: asyncio.AbstractEventLoop | None) -> _Call | None:
        """Return a call that has the turn, or waits; None if it is not put together with others."""
        current = context.current()
        if self._stopped or not self._may_share(current):
            return None
        rows = rows_of(request, self.known)
        if rows is None or rows.count >= self._options.max_rows:
            return None
        key = (rows.form, *_lasting(current.headers))
        call = _Call(request, current, rows, self._clock(current))
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = _Queue(self._options, self._turns)
                queue.key = key
            call.queue = queue
            waits = not queue.enter(call)
            if waits:
                call.wait_in(loop, self._options.max_delay)
            is_due = waits and queue.has_turn()
        if not waits:
            self._sent((call,))
        elif is_due:
            self._advance(queue)
        return call

    def _may_share(self, current: RequestContext) -> bool:
        """Return whether a request's calls may be put together with those of others."""
        if self.tagged and current.seed is not None:
            return False
        limits = current.allowance
        return not self._shares_budget or (limits.max_calls is None and limits.max_rows is None)

    def _alone(self, call: _Call) -> AbstractContextManager[object]:
        """Enter the context of a plain call: what it has waited counts towards the child's timeout."""
        if self._timeout is None or call.future is None:
            return nullcontext()
        waited = time.monotonic() - call.since
        return context.entered(replace(call.current, waited=call.current.waited + waited))

    def _answered_alone(self, call: _Call, response: Response) -> Response:
        """Record that a plain call succeeded.

        If its answer does not have its rows, that of a batch could have as many only by chance. If a
        batch failed, and all of its calls succeed alone, the child may not take several at all.
        """
        try:
            check_rows(response, call.rows.count)
        except NotRowWise as error:
            self._stop(str(error))
        call.queue.layout = layout_of(response)
        batch = call.batch
        if batch is not None and batch.error is not None:
            with self._lock:
                batch.succeeded_alone += 1
                is_strike = batch.succeeded_alone == len(batch.calls)
                self._strikes += is_strike
            if is_strike and self._strikes >= _STRIKES:
                self._stop(f"calls fail together that succeed alone ({batch.error})")
        return response

    def _left(self, call: _Call) -> None:
        """Record that a caller has its answer, or no longer waits for it."""
        cancelled = None
        with self._lock:
            state, call.state = call.state, _State.ENDED
            if state is _State.WAITING:
                call.queue.leave(call)
            elif state is _State.ALONE:
                call.queue.end(call)
            elif state is _State.TOGETHER:
                assert call.batch is not None
                call.batch.callers -= 1
                cancelled = call.batch if not call.batch.callers else None
        if cancelled is not None:
            self._on_loop(cancelled, self._cancel)
        elif state in (_State.WAITING, _State.ALONE):
            self._advance(call.queue)

    # -- the batches -------------------------------------------------------------------------------

    def _advance(self, queue: _Queue) -> None:
        """Make the calls of a queue that are due. It never raises: it would end a caller's own call."""
        calls: Sequence[_Call] = ()
        try:
            while not self._stopped and (calls := self._due(queue)):
                self._sent(calls)
                if calls[0].batch is None:
                    calls[0].tell(_MAKE_IT)
                else:
                    self._on_loop(calls[0].batch, self._start)
        except Exception:
            logger.exception("calls of %s cannot be put together; each is made alone", self._place)
            self._give_up(queue, calls)
        if self._stopped:
            self._give_up(queue)

    def _due(self, queue: _Queue) -> list[_Call]:
        with self._lock:
            now = time.monotonic()
            calls = queue.next(now)
            if len(calls) == 1:
                queue.begin(calls[0], calls)
                calls[0].state = _State.ALONE
            elif calls:
                batch = _Batch(queue, calls)
                queue.begin(batch, calls)
                for call in calls:
                    call.state, call.batch = _State.TOGETHER, batch
            elif queue.is_idle and self._queues.get(queue.key) is queue:
                del self._queues[queue.key]
            wait = 0.0 if calls else queue.wait(now)
            is_sooner = 0 < wait < queue.timer - now
            queue.timer = now + wait if is_sooner else queue.timer
        if is_sooner:
            self._portal.loop.call_soon_threadsafe(self._set_timer, queue, wait)
        return calls

    def _set_timer(self, queue: _Queue, seconds: float) -> None:
        self._portal.loop.call_later(seconds, self._ring, queue)

    def _ring(self, queue: _Queue) -> None:
        queue.timer = math.inf
        self._advance(queue)

    def _give_up(self, queue: _Queue, begun: Sequence[_Call] = ()) -> None:
        """Give up a queue: all callers that wait in it, and those in `begun`, make the plain call."""
        with self._lock:
            begun = [call for call in begun if call.state in (_State.ALONE, _State.TOGETHER)]
            calls = [*begun, *queue.clear()]
            if self._queues.get(queue.key) is queue:
                del self._queues[queue.key]
            for call in calls:
                call.state = _State.ENDED
        for call in calls:
            call.tell(_MAKE_IT)

    def _on_loop(self, batch: _Batch, function: Callable[[_Batch], None]) -> None:
        """Call a function with a batch on the portal's loop, soon or now."""
        loop = self._portal.loop
        if loop is _running_loop():
            function(batch)
            return
        try:
            loop.call_soon_threadsafe(function, batch)
        except RuntimeError:  # the loop is closed
            self._ended(batch, None)

    def _start(self, batch: _Batch) -> None:
        if not batch.callers:
            self._ended(batch, None)
            return
        try:
            # Not in the context of the request that happens to be the current one here.
            task = self._context.run(self._portal.loop.create_task, self._make(batch))
        except Exception:
            logger.exception("calls of %s cannot be made as one; each is made alone", self._place)
            self._ended(batch, None)
            return
        batch.task = task
        task.add_done_callback(lambda done: self._ended(batch, done))

    def _cancel(self, batch: _Batch) -> None:
        if batch.task is not None:
            batch.current.allowance.abandoned = True
            batch.task.cancel()

    async def _make(self, batch: _Batch) -> list[Response]:
        requests = [call.request for call in batch.calls]
        rows = [call.rows for call in batch.calls]
        request = await convert(
            is_large([request.tensors for request in requests]), join, requests, rows[0].inputs
        )
        with self._entered_batch(batch):
            response = await self.inner.infer(request)
        known, found = batch.queue.layout, layout_of(response)
        if known is not None and found != known:
            raise NotRowWise(f"its outputs are {known} for one call and {found} for several")
        counts = [part.count for part in rows]
        return await convert(is_large(response.tensors), split, response, counts)

    def _entered_batch(self, batch: _Batch) -> AbstractContextManager[object]:
        """Enter the context of a batch; if a caller is traced, with a span of its own."""
        traces = [call.current.trace for call in batch.calls if call.current.trace is not None]
        if not traces:
            return context.entered(batch.current)
        callers = [trace for trace in traces if trace.is_recorded]
        if not callers:  # the child need not record it either
            return context.entered(batch.current.traced(traces[0]))
        attributes = {
            "tempo.batch.calls": len(batch.calls),
            "tempo.batch.rows": sum(call.rows.count for call in batch.calls),
        }
        trace = callers[0].batch(callers, f"batch {self._place.model}", attributes)
        stack = ExitStack()
        stack.enter_context(context.entered(batch.current.traced(trace)))
        stack.enter_context(trace.running())
        return stack

    def _ended(self, batch: _Batch, task: asyncio.Task[list[Response]] | None) -> None:
        """Give the callers of a batch their answers; without one, each makes the plain call."""
        batch.current.allowance.ended = True
        outcomes: Sequence[Any] = [_MAKE_IT] * len(batch.calls)
        if task is not None and not task.cancelled():
            error = task.exception()
            if error is None:
                outcomes = task.result()
                self._strikes = 0
            elif isinstance(error, NotRowWise):
                self._stop(str(error))
            elif not (isinstance(error, TempoError) and error.retryable):
                batch.error = error
        with self._lock:
            batch.queue.end(batch)
            told = [pair for pair in zip(batch.calls, outcomes) if pair[0].state is _State.TOGETHER]
            for call, _ in told:
                call.state = _State.ENDED
        for call, outcome in told:
            call.tell(outcome)
        self._advance(batch.queue)

    def _sent(self, calls: Sequence[_Call]) -> None:
        now = time.monotonic()
        self._metrics.sent(len(calls), sum(call.rows.count for call in calls))
        for call in calls:
            self._metrics.waited(now - call.since)

    def _stop(self, reason: str) -> None:
        """Make plain calls from now on, and say so once."""
        with self._lock:
            stopped, self._stopped = self._stopped, True
        if not stopped:
            logger.warning(
                "calls of %s are made one by one from now on, because %s; remove its `batching`",
                self._place,
                reason,
            )


def _lasting(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the headers that may matter for an answer."""
    return sorted(
        (name, value)
        for name, value in headers.items()
        if name not in _TRACING and not name.startswith(_TRACING_PREFIX)
    )


def _common(contexts: Sequence[RequestContext]) -> RequestContext:
    """Return the context of a call that is made for several requests.

    It has the deadline of the one with the most time, and the headers that are the same in all: it
    does not belong to any one trace.
    """
    first, *others = contexts
    patient = max(contexts, key=lambda one: math.inf if one.deadline is None else one.deadline)
    headers = {
        name: value
        for name, value in first.headers.items()
        if all(other.headers.get(name) == value for other in others)
    }
    return RequestContext(patient.deadline, patient.budget, headers)


def _set(future: asyncio.Future[Any], outcome: Any) -> None:
    if not future.done():
        future.set_result(outcome)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
