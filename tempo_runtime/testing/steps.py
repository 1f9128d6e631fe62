"""What a fake child does with a call.

A step is a reply (`Answer`, `Fail`, `Raw`), or a way to one: `Delay` and `Hang` come before it, and
`Trickle`, `Stall`, `Cut`, `Stale` and `NotHttp` are how it is, or is not, delivered. The reply of a
way is its `then`, or what the fake usually answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


class Connection(Protocol):
    """What a step may do to the connection that a call came on."""

    stale: Cut | None

    async def send(self, data: bytes) -> None:
        """Send bytes; they have left this process when it returns."""
        ...

    def close(self, *, reset: bool) -> None:
        """End it: with a reset, or as a server does that is done."""
        ...


class Step:
    """What is done with one call. `step * 3` does it with three."""

    def __mul__(self, times: int) -> list[Step]:
        return [self] * times


class Reply(Step):
    """What a call is answered."""


@dataclass(frozen=True)
class Answer(Reply):
    """A value, encoded as the package's own server does.

    Attributes:
        value: The value.
    """

    value: Any


@dataclass(frozen=True)
class Fail(Reply):
    """An error, in the form of MLServer's.

    Attributes:
        status: HTTP status. Over gRPC, its counterpart.
        message: What it says; the status' own phrase by default.
        retry_after: Seconds of the `Retry-After` header; over HTTP only.
        code: Name of the gRPC status, where the counterpart of `status` will not do.
    """

    status: int = 500
    message: str = ""
    retry_after: float | None = None
    code: str | None = None


@dataclass(frozen=True)
class Raw(Reply):
    """A body as it stands; over gRPC, the bytes in place of the message.

    Attributes:
        body: The bytes.
        status: HTTP status.
        headers: HTTP headers, such as a `content-length` that is wrong.
    """

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Way(Step):
    """A way to a reply.

    Attributes:
        then: The reply, or another way; None for what the fake usually answers.
    """

    then: Step | None

    async def wait(self) -> None:
        """Act before the reply is made."""


class Delivery(Way):
    """A way in which a reply's bytes are sent."""

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """Send them."""
        raise NotImplementedError

    async def whole(self) -> None:
        """Its likeness where there are no bytes: over gRPC, and in this process.

        Raises:
            ConnectionError: If no reply arrives.
        """


@dataclass(frozen=True)
class Delay(Way):
    """Waits before the reply.

    Attributes:
        seconds: How long.
        then: See `Way`.
    """

    seconds: float
    then: Step | None = None

    async def wait(self) -> None:
        """See `Way.wait`."""
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True, eq=False)
class Hang(Way):
    """Does not reply until it is released; never, if it is not.

    Attributes:
        then: See `Way`.
    """

    then: Step | None = None
    _released: Future[None] = field(default_factory=Future, repr=False)

    def release(self) -> None:
        """Let every call that hangs here, or comes here, go on. From any thread."""
        if not self._released.done():
            self._released.set_result(None)

    async def wait(self) -> None:
        """See `Way.wait`."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake(_: Future[None]) -> None:
            with suppress(RuntimeError):  # the loop is closed: the fake was stopped first
                loop.call_soon_threadsafe(woken.set)

        self._released.add_done_callback(wake)
        await woken.wait()


@dataclass(frozen=True)
class Trickle(Delivery):
    """Sends the body byte by byte.

    Attributes:
        seconds: What the whole body takes, at least.
        then: See `Way`.
    """

    seconds: float
    then: Step | None = None

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """See `Delivery.send`."""
        await connection.send(head)
        for position in range(len(body)):
            await asyncio.sleep(self.seconds / len(body))
            await connection.send(body[position : position + 1])

    async def whole(self) -> None:
        """See `Delivery.whole`."""
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True)
class Stall(Delivery):
    """Sends the headers and half of the body, and then nothing."""

    then: Step | None = None

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """See `Delivery.send`."""
        await connection.send(head + body[: len(body) // 2])
        await Hang().wait()

    async def whole(self) -> None:
        """See `Delivery.whole`."""
        await Hang().wait()


@dataclass(frozen=True)
class Cut(Delivery):
    """Ends the connection in place of the reply, or within it.

    Attributes:
        at: Where: before the first byte of the reply, or after half of its body.
        reset: Whether with a reset, or as a server does that is done.
        then: See `Way`.
    """

    at: Literal["start", "body"] = "body"
    reset: bool = True
    then: Step | None = None

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """See `Delivery.send`."""
        if self.at == "body":
            await connection.send(head + body[: len(body) // 2])
        connection.close(reset=self.reset)

    async def whole(self) -> None:
        """See `Delivery.whole`."""
        raise ConnectionResetError("the connection was cut")


@dataclass(frozen=True)
class Stale(Delivery):
    """Replies, and leaves a connection that looks alive: the next request on it ends it, unread.

    What a client meets whose kept connection the server has just given up.

    Attributes:
        reset: Whether it ends with a reset, or as a server does that is done.
        then: See `Way`.
    """

    reset: bool = True
    then: Step | None = None

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """See `Delivery.send`."""
        connection.stale = Cut("start", self.reset)
        await connection.send(head + body)


@dataclass(frozen=True)
class NotHttp(Delivery):
    """Sends bytes in place of HTTP, and ends the connection.

    Attributes:
        data: The bytes.
    """

    data: bytes
    then: Step | None = field(default=Raw(b""), init=False)

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """See `Delivery.send`."""
        await connection.send(self.data)
        connection.close(reset=False)

    async def whole(self) -> None:
        """See `Delivery.whole`."""
        raise ConnectionResetError("the connection does not speak the protocol")
