"""End a server's process within a time limit, even if its threads are still working.

MLServer waits for running requests, and Python waits for threads. Both may take forever.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from tempo_runtime.settings import DRAIN_TIMEOUT

_LOOPS = ("asyncio", "uvloop", "uvicorn")
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
logger = logging.getLogger(__name__)


class _Deadline:
    """Ends this process some time after the first signal to end."""

    def __init__(self) -> None:
        self._stated: list[float] = []
        self.last: set[Callable[[], None]] = set()
        self._begun, self._begin = os.pipe()
        threading.Thread(target=self._end, name="tempo-drain", daemon=True).start()

    def state(self, seconds: float) -> None:
        self._stated.append(seconds)

    def begin(self, code: int) -> None:
        # A signal handler may interrupt code that holds a lock, so it must not take one.
        os.write(self._begin, bytes([code]))

    def _end(self) -> None:
        code = os.read(self._begun, 1)[0]
        seconds = max(self._stated, default=DRAIN_TIMEOUT)
        time.sleep(seconds)
        logger.warning(
            "the server did not end within %g s after the signal (`drain_timeout`); killing it now",
            seconds,
        )
        for function in self.last:
            try:
                function()
            except Exception:
                logger.exception("%r failed", function)
        for worker in multiprocessing.active_children():
            worker.kill()
        os._exit(code)


_deadline: _Deadline | None = None


def watch(seconds: float | None = None) -> None:
    """End this process in time after SIGTERM, SIGINT or SIGQUIT, if it is a server.

    Args:
        seconds: Seconds that the process may take to end. The longest of several models counts.
    """
    global _deadline
    # MLServer's parallel workers ignore signals; MLServer ends them itself.
    if threading.current_thread() is not threading.main_thread() or (
        multiprocessing.parent_process() is not None
    ):
        return
    handled = {number: signal.getsignal(number) for number in _SIGNALS}
    if not all(_is_loops(handler) for handler in handled.values()):
        return
    if _deadline is None:
        _deadline = _Deadline()
    if seconds is not None:
        _deadline.state(seconds)
    for number, handler in handled.items():
        if not isinstance(handler, _Handler):
            signal.signal(number, _Handler(_deadline, handler))


def before_killing(function: Callable[[], None]) -> None:
    """Call a function, which must not take long, before this process is killed; once, if given twice."""
    if _deadline is not None:
        _deadline.last.add(function)


def begin() -> None:
    """Start the time limit now, as a signal would."""
    if _deadline is not None:
        _deadline.begin(128 + signal.SIGTERM)


class _Handler:
    """Handles a signal and passes it on to an event loop's own handler."""

    def __init__(self, deadline: _Deadline, handler: Any) -> None:
        self._deadline = deadline
        self._handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._deadline.begin(128 + number)
        self._handler(number, frame)


def _is_loops(handler: Any) -> bool:
    """Return whether an event loop or uvicorn handles a signal, as in a running MLServer."""
    module = getattr(handler, "__module__", None) or ""
    return isinstance(handler, _Handler) or module.partition(".")[0] in _LOOPS
