"""Await something with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Elapsed(Exception):
    """The time limit passed."""


async def within(seconds: float | None, awaitable: Awaitable[T]) -> T:
    """Await something for at most this number of seconds; None for no limit.

    The scopes of anyio and asyncio can do more (they nest, and are level-triggered), but take several
    times as long, in every request and every call to a child.

    Raises:
        Elapsed: If the time limit passed; the awaitable is cancelled.
    """
    if seconds is None:
        return await awaitable
    task = asyncio.current_task()
    assert task is not None
    late = False

    def ring() -> None:
        nonlocal late
        late = True
        task.cancel()

    alarm = asyncio.get_running_loop().call_later(seconds, ring)
    try:
        return await awaitable
    except asyncio.CancelledError:
        # Another cancellation takes precedence (which can be detected from Python 3.11 on).
        if not late or (hasattr(task, "uncancel") and task.uncancel() > 0):
            raise
        raise Elapsed from None
    finally:
        alarm.cancel()
