"""Run functions that may hang in threads; a thread whose caller has given up is replaced.

The pool of `concurrent.futures` is not enough: a function that hangs occupies its thread forever, and the
interpreter waits for all threads when it exits.

Only one thread can run Python code, so threads that compute at the same time delay each other, and the
event loop. Functions that return at once therefore share one thread; a function that has waited for
`_PATIENCE` gets another. Their results reach the loop in groups.
"""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import tempo_runtime
from tempo_runtime.request.timing import Elapsed

T = TypeVar("T")
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
_PACKAGE = os.path.join(os.path.dirname(tempo_runtime.__file__), "")
_PATIENCE = 0.001  # seconds
_WAITING, _RUNNING, _ENDED = range(3)


class Closed(Exception):
    """The pool was closed before the function began."""


class _Task:
    __slots__ = ("error", "future", "given_up", "inbox", "result", "state", "work", "worker")

    def __init__(self, work: Callable[[], Any], future: Any, inbox: _Inbox | None = None) -> None:
        self.work: Callable[[], Any] | None = work
        self.future = (
            future  # asyncio's if there is an inbox, otherwise that of `concurrent.futures`
        )
        self.inbox = inbox
        self.state = _WAITING
        self.given_up = False
        self.worker: _Worker | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            assert self.work is not None
            self.result = self.work()
        except StopIteration as error:  # which futures refuse
            self.error = RuntimeError(f"a function in a thread raised {error!r}")
        except BaseException as error:
            self.error = error

    def do(self) -> None:
        self.run()
        self.answer()

    def answer(self) -> None:
        """Hand over the result, in any thread."""
        if self.inbox is None:
            self.settle()
        else:
            self.inbox.put(self)

    def settle(self) -> None:
        # Nothing is kept, because an error's traceback leads back here.
        future, result, error = self.future, self.result, self.error
        self.work = self.future = self.result = self.error = None
        if future.done():  # the caller has given up
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class _Worker:
    """A thread of a pool."""

    __slots__ = ("task", "thread", "wake")

    def __init__(self, task: _Task) -> None:
        self.task: _Task | None = task
        self.thread: int | None = None  # its id
        self.wake = threading.Lock()
        self.wake.acquire()


class _Inbox:
    """Brings results to an event loop, and wakes it once for all that have come since the last time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._tasks: deque[_Task] = deque()
        self._called = False

    @classmethod
    def here(cls) -> _Inbox:
        """Return the inbox of the running loop."""
        loop = asyncio.get_running_loop()
        inbox: _Inbox | None = getattr(_of_thread, "inbox", None)
        if inbox is None or inbox.loop is not loop:
            inbox = _of_thread.inbox = cls(loop)
        return inbox

    def put(self, task: _Task) -> None:
        """Bring a result to the loop, from any thread."""
        self._tasks.append(task)
        # If the loop has been called, it finds the task: `_deliver` forgets the call before it looks.
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._called = False
        while self._tasks:
            self._tasks.popleft().settle()


_of_thread = threading.local()


class Threads:
    """A pool of threads that end with the process.

    Args:
        name: Prefix of the threads' names.
        count: Number of threads that work at the same time.
        spare: Largest number of threads started to replace those that hang.
        changed: Called after the number of hung threads has changed, in the thread that changed it.
    """

    def __init__(
        self,
        name: str,
        count: int,
        spare: int,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.count = count
        self._name = name
        self._spare = spare
        self._changed = changed
        self._lock = threading.Lock()
        self._tasks: deque[_Task] = deque()  # that wait for a thread
        self._idle: list[_Worker] = []  # the last is woken first: its memory is in the caches
        self._alive = 0
        self._began = 0.0  # when a thread last began a task
        self._alarm: _Inbox | None = None  # on whose loop `_hurry` will be called
        self._hung: set[_Task] = set()
        self._closed = False

    @property
    def hung(self) -> int:
        """Number of threads that work for a caller that has given up."""
        return len(self._hung)

    @property
    def left(self) -> int:
        """Number of threads that are free to work."""
        return max(0, min(self.count, self.count + self._spare - self.hung))

    async def run(self, seconds: float | None, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in a thread, and wait for its result.

        Raises:
            Elapsed: If it has not returned in this time; it keeps running.
            Closed: If the pool is closed before the function begins.
        """
        inbox = _Inbox.here()
        future: asyncio.Future[T] = inbox.loop.create_future()
        task = _Task(lambda: function(*arguments), future, inbox)
        self._start(task)
        # A cancel scope would cost more, and a thread cannot be cancelled anyway.
        alarm = None if seconds is None else inbox.loop.call_later(seconds, _elapse, future)
        try:
            return await future
        finally:
            if alarm is not None:
                alarm.cancel()
            if task.state is not _ENDED:
                self._give_up(task)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Start a function in a thread of the pool; if the pool is closed, in a new thread."""
        future: Future[T] = Future()
        task = _Task(lambda: function(*arguments), future)
        try:
            self._start(task)
        except Closed:
            threading.Thread(target=task.do, daemon=True).start()
        return future

    def close(self) -> None:
        """Cancel waiting tasks, and end each thread once its function has returned."""
        with self._lock:
            self._closed = True
            waiting = [task for task in self._tasks if task.state is _WAITING]
            idle = list(self._idle)
            self._tasks.clear()
            self._idle.clear()
            self._alive -= len(idle)
        for task in waiting:
            task.state, task.error = _ENDED, Closed()
            task.answer()
        for worker in idle:
            worker.task = None
            worker.wake.release()

    def place(self) -> str:
        """Return the current `FILE:LINE` of one of the hung functions; empty if unknown."""
        frames = sys._current_frames()
        for task in list(self._hung):
            frame = frames.get((task.worker and task.worker.thread) or 0)
            if frame is not None:
                stack = traceback.extract_stack(frame)
                author_frames = [entry for entry in stack if not _is_library(entry.filename)]
                entry = (author_frames or stack)[-1]
                return f"{entry.filename}:{entry.lineno}"
        return ""

    def _start(self, task: _Task) -> None:
        with self._lock:
            if self._closed:
                raise Closed
            self._tasks.append(task)
            busy = self._alive - len(self._idle)
            if task.inbox is None or not busy or time.monotonic() - self._began > _PATIENCE:
                self._begin_next()
            elif self._alarm is not task.inbox:
                self._alarm = task.inbox
                task.inbox.loop.call_later(_PATIENCE, self._hurry, task.inbox)

    def _hurry(self, inbox: _Inbox) -> None:
        """Let as many further threads begin waiting tasks as are busy now."""
        with self._lock:
            self._alarm = None
            for _ in range(max(1, self._alive - len(self._idle))):
                self._begin_next()
            if self._tasks and self._has_room():
                self._alarm = inbox
                inbox.loop.call_later(_PATIENCE, self._hurry, inbox)

    def _begin_next(self) -> None:
        """Give a waiting task to an idle or a new thread, if possible; the caller holds the lock."""
        task = self._next() if self._has_room() else None
        if task is None:
            return
        if self._idle:
            worker = task.worker = self._idle.pop()
            worker.task = task
            worker.wake.release()
            return
        worker = task.worker = _Worker(task)
        name = f"{self._name}_{self._alive + 1}"
        try:
            threading.Thread(target=self._work, args=(worker,), name=name, daemon=True).start()
        except RuntimeError:  # the process may not have more threads
            if not self._alive:
                raise
            task.state, task.worker = _WAITING, None  # for one of the threads that there are
            self._tasks.appendleft(task)
            return
        self._alive += 1

    def _has_room(self) -> bool:
        return bool(self._idle) or self._alive < self._most

    @property
    def _most(self) -> int:
        """Number of threads that may be alive."""
        return self.count + min(len(self._hung), self._spare)

    def _next(self) -> _Task | None:
        """Return the next waiting task, as begun; the caller holds the lock."""
        while self._tasks:
            task = self._tasks.popleft()
            if task.state is _WAITING:
                task.state = _RUNNING
                self._began = time.monotonic()
                return task
        return None

    def _give_up(self, task: _Task) -> None:
        with self._lock:
            if task.state is not _RUNNING:
                task.state = _ENDED
                return
            task.given_up = True
            self._hung.add(task)
            self._begin_next()
        self._changed()

    def _work(self, worker: _Worker) -> None:
        worker.thread = threading.get_ident()
        while (task := worker.task) is not None:
            task.run()
            goes_on = self._ended(task, worker)
            task.answer()
            if task.given_up:
                self._changed()
            del task
            if not goes_on:
                worker.wake.acquire()

    def _ended(self, task: _Task, worker: _Worker) -> bool:
        """Record that a task has ended; return whether its thread goes on at once, or ends."""
        with self._lock:
            task.state = _ENDED
            self._hung.discard(task)
            surplus = self._alive > self._most
            worker.task = following = None if surplus else self._next()
            if following is not None:
                following.worker = worker
                return True
            if surplus or self._closed:
                self._alive -= 1
                return True
            self._idle.append(worker)
            return False


def _elapse(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(Elapsed())


def _is_library(file: str) -> bool:
    return file.startswith((*_LIBRARIES, _PACKAGE, "<"))
