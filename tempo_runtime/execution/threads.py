"""Run functions that may hang in threads; a thread whose caller has given up is replaced.

The pool of `concurrent.futures` is not enough: a function that hangs occupies its thread forever, and the
interpreter waits for all threads when it exits.
"""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import tempo_runtime
from tempo_runtime.request.timing import Elapsed

T = TypeVar("T")
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
_PACKAGE = os.path.join(os.path.dirname(tempo_runtime.__file__), "")


class Closed(Exception):
    """The pool was closed before the function began."""


class _Task:
    __slots__ = ("future", "given_up", "thread", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.future: Future[Any] = Future()
        self.given_up = False
        self.thread: int | None = None  # id of the thread that runs it now


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
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0  # tasks
        self._idle = 0  # threads
        self._alive = 0
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
        task = self._start(function, *arguments)
        result: asyncio.Future[T] = asyncio.wrap_future(task.future)
        try:
            # A cancel scope would cost more, and a thread cannot be cancelled anyway.
            await asyncio.wait((result,), timeout=seconds)
            if task.future.cancelled():
                raise Closed
            if result.done():
                return result.result()
        finally:
            if not task.future.cancel():  # it has begun
                self._give_up(task)
            result.cancel()
        raise Elapsed

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Start a function in a thread of the pool; if the pool is closed, in a new thread."""
        try:
            return self._start(function, *arguments).future
        except Closed:
            task = _Task(lambda: function(*arguments))
            threading.Thread(target=self._do, args=(task,), daemon=True).start()
            return task.future

    def close(self) -> None:
        """Cancel waiting tasks, and end each thread once its function has returned."""
        with self._lock:
            self._closed = True
            alive = self._alive
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                break
            if task is not None:
                task.future.cancel()
        for _ in range(alive):
            self._tasks.put(None)

    def place(self) -> str:
        """Return the current `FILE:LINE` of one of the hung functions; empty if unknown."""
        frames = sys._current_frames()
        for task in list(self._hung):
            frame = frames.get(task.thread or 0)
            if frame is not None:
                stack = traceback.extract_stack(frame)
                author_frames = [entry for entry in stack if not _is_library(entry.filename)]
                entry = (author_frames or stack)[-1]
                return f"{entry.filename}:{entry.lineno}"
        return ""

    def _start(self, function: Callable[..., Any], *arguments: Any) -> _Task:
        task = _Task(lambda: function(*arguments))
        with self._lock:
            if self._closed:
                raise Closed
            self._waiting += 1
            self._grow()
        self._tasks.put(task)
        return task

    def _grow(self) -> None:
        """Start a thread if a task waits and another thread is allowed; the caller holds the lock."""
        most = self.count + min(len(self._hung), self._spare)
        if self._waiting > self._idle and self._alive < most:
            self._alive += 1
            self._idle += 1
            name = f"{self._name}_{self._alive}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def _give_up(self, task: _Task) -> None:
        with self._lock:
            if task.thread is None:  # it has ended
                return
            task.given_up = True
            self._hung.add(task)
            self._grow()
        self._changed()

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None:
                return
            with self._lock:
                self._idle -= 1
                self._waiting -= 1
                begun = task.future.set_running_or_notify_cancel()
                task.thread = threading.get_ident() if begun else None
            if begun:
                self._do(task)
            with self._lock:
                task.thread = None
                self._hung.discard(task)
                surplus = self._alive > self.count + min(len(self._hung), self._spare)
                if surplus:
                    self._alive -= 1
                else:
                    self._idle += 1
            if task.given_up:
                self._changed()
            del task
            if surplus:
                return

    def _do(self, task: _Task) -> None:
        try:
            result = task.work()
        except BaseException as error:
            self._ended(task)
            task.future.set_exception(error)
            del error
        else:
            self._ended(task)
            task.future.set_result(result)

    def _ended(self, task: _Task) -> None:
        """Record that a task has ended, before its caller is woken."""
        with self._lock:
            task.thread = None


def _is_library(file: str) -> bool:
    return file.startswith((*_LIBRARIES, _PACKAGE, "<"))
