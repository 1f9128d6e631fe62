"""Steps: what a fake model does with a call.

A step is a reply (`Answer`, `Fail`) or a pause before one (`Delay`, `Hang`). The reply after a pause is
its `then`, or the fake's usual answer.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


class Step:
    """The behaviour of a fake with one call; `step * 3` is for three calls."""

    def __mul__(self, times: int) -> list[Step]:
        return [self] * times


class Reply(Step):
    """A reply of a fake."""


@dataclass(frozen=True)
class Answer(Reply):
    """Reply with a value, encoded as a pipeline's server encodes it.

    Attributes:
        value: The value.
    """

    value: Any


@dataclass(frozen=True)
class Fail(Reply):
    """Reply with an error, in the form of MLServer's errors.

    Attributes:
        status: HTTP status; over gRPC, the status code that corresponds to it.
        message: Its message; by default the phrase of the status.
        retry_after: Seconds in the `Retry-After` header; over HTTP only.
        code: Name of the gRPC status code, if it is not the one that corresponds to `status`.
    """

    status: int = 500
    message: str = ""
    retry_after: float | None = None
    code: str | None = None


class Pause(Step):
    """Something that comes before a reply.

    Attributes:
        then: The reply, or another pause; None for the fake's usual answer.
    """

    then: Step | None

    async def wait(self) -> None:
        """Return when the pause is over."""
        raise NotImplementedError


@dataclass(frozen=True)
class Delay(Pause):
    """Wait before the reply.

    Attributes:
        seconds: How long to wait.
        then: See `Pause`.
    """

    seconds: float
    then: Step | None = None

    async def wait(self) -> None:
        """See `Pause.wait`."""
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True, eq=False)
class Hang(Pause):
    """Do not reply until `release` is called.

    Attributes:
        then: See `Pause`.
    """

    then: Step | None = None
    _released: Future[None] = field(default_factory=Future, repr=False)

    def release(self) -> None:
        """Let every call continue that hangs here, now or later. Safe to call from any thread."""
        if not self._released.done():
            self._released.set_result(None)

    async def wait(self) -> None:
        """See `Pause.wait`."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake(_: Future[None]) -> None:
            with suppress(RuntimeError):  # the loop is closed: the fake was stopped first
                loop.call_soon_threadsafe(woken.set)

        self._released.add_done_callback(wake)
        await woken.wait()
