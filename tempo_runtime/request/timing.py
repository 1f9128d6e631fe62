"""Awaiting something for so long and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Elapsed(Exception):
    """The time was up first."""


async def within(seconds: float | None, awaitable: Awaitable[T]) -> T:
    """Await something, for so many seconds; None is for ever.

    anyio's and asyncio's own scopes do more (they nest, they are level-triggered) and take several
    times as long, which every request and every call to a child would pay.

    Raises:
        Elapsed: If the time is up; what was awaited is cancelled.
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
        # Cancelled by someone else as well: then that is what it is (known from Python 3.11 on).
        if not late or (hasattr(task, "uncancel") and task.uncancel() > 0):
            raise
        raise Elapsed from None
    finally:
        alarm.cancel()
