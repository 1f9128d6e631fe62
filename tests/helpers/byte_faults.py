"""A fake model whose answers may be wrong in each byte, and connections that break.

Steps beside those of `tempo_runtime.testing`: `Raw` is a reply; `Trickle`, `Stall`, `Cut`, `Stale` and
`NotHttp` say how a reply is delivered, or that it is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import grpc

from tempo_runtime.protocol.messages import Response
from tempo_runtime.testing import FakeModel
from tempo_runtime.testing.over_grpc import GrpcSide
from tempo_runtime.testing.over_http import HttpSide
from tempo_runtime.testing.script import Call, Script
from tempo_runtime.testing.steps import Fail, Hang, Reply, Step


class Connection(Protocol):
    """The HTTP connection of a call, for deliveries."""

    stale: Cut | None

    async def send(self, data: bytes) -> None:
        """Send bytes; they have left this process when it returns."""
        ...

    def close(self, *, reset: bool) -> None:
        """End the connection with a reset, or regularly."""
        ...


@dataclass(frozen=True)
class Raw(Reply):
    """Reply with bytes as they are; over gRPC, in place of the message.

    Attributes:
        body: The bytes.
        status: HTTP status.
        headers: HTTP headers, such as a wrong `content-length`.
    """

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def SerializeToString(self) -> bytes:  # noqa: N802 - the name that messages have
        """Return the bytes, in place of a message's."""
        return self.body


class Delivery(Reply):
    """A way of sending a reply's bytes.

    Attributes:
        then: The step that leads to the reply; None for the fake's usual answer.
    """

    then: Step | None

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """Send the reply over HTTP."""
        raise NotImplementedError

    async def before_grpc(self) -> None:
        """Do what corresponds to it over gRPC, before the reply.

        Raises:
            ConnectionError: If no reply arrives.
        """


@dataclass(frozen=True)
class Trickle(Delivery):
    """Send the body byte by byte.

    Attributes:
        seconds: How long the whole body takes, at least.
        then: See `Delivery`.
    """

    seconds: float
    then: Step | None = None

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """See `Delivery.send`."""
        await connection.send(head)
        for position in range(len(body)):
            await asyncio.sleep(self.seconds / len(body))
            await connection.send(body[position : position + 1])

    async def before_grpc(self) -> None:
        """See `Delivery.before_grpc`."""
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True)
class Stall(Delivery):
    """Send the headers and half of the body, and then nothing."""

    then: Step | None = None

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """See `Delivery.send`."""
        await connection.send(head + body[: len(body) // 2])
        await Hang().wait()

    async def before_grpc(self) -> None:
        """See `Delivery.before_grpc`."""
        await Hang().wait()


@dataclass(frozen=True)
class Cut(Delivery):
    """End the connection in place of the reply, or within it.

    Attributes:
        at: Before the first byte of the reply, or after half of its body.
        reset: Whether to end it with a reset, or regularly.
        then: See `Delivery`.
    """

    at: Literal["start", "body"] = "body"
    reset: bool = True
    then: Step | None = None

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """See `Delivery.send`."""
        if self.at == "body":
            await connection.send(head + body[: len(body) // 2])
        connection.close(reset=self.reset)

    async def before_grpc(self) -> None:
        """See `Delivery.before_grpc`."""
        raise ConnectionResetError("the connection was cut")


@dataclass(frozen=True)
class Stale(Delivery):
    """Reply, and leave a connection that looks alive: the next request ends it, unread.

    A client meets this if the server has just given up an idle connection.

    Attributes:
        reset: Whether the connection ends with a reset, or regularly.
        then: See `Delivery`.
    """

    reset: bool = True
    then: Step | None = None

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """See `Delivery.send`."""
        connection.stale = Cut("start", self.reset)
        await connection.send(head + body)


@dataclass(frozen=True)
class NotHttp(Delivery):
    """Send bytes in place of HTTP, and end the connection.

    Attributes:
        data: The bytes.
    """

    data: bytes
    then: Step | None = field(default=Raw(b""), init=False)

    async def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """See `Delivery.send`."""
        await connection.send(self.data)
        connection.close(reset=False)

    async def before_grpc(self) -> None:
        """See `Delivery.before_grpc`."""
        raise ConnectionResetError("the connection does not speak the protocol")


@dataclass(frozen=True)
class Delivered(Reply):
    """A reply and its delivery.

    Attributes:
        reply: The reply, rendered.
        delivery: Its delivery.
    """

    reply: Response | Reply
    delivery: Delivery


class FaultScript(Script):
    """A script whose steps may be deliveries."""

    async def _rendered(self, reply: Reply, call: Call) -> Response | Reply:
        if not isinstance(reply, Delivery):
            return await super()._rendered(reply, call)
        inner = await self._reply(reply.then, call)
        if isinstance(inner, Delivery):  # the usual answer, which has no reply of its own
            inner = self._no_answer_left()
        return Delivered(await self._rendered(inner, call), reply)


class FaultyGrpcSide(GrpcSide):
    """A gRPC server that sends `Raw` as it is, and knows deliveries."""

    async def _play(self, call: Call) -> Response | Reply:
        reply = await super()._play(call)
        if not isinstance(reply, Delivered):
            return reply
        try:
            await reply.delivery.before_grpc()
        except ConnectionError as error:
            return Fail(503, str(error))
        return reply.reply

    def _sent(self, reply: Response | Reply, context: grpc.ServicerContext) -> Any:
        return reply if isinstance(reply, Raw) else super()._sent(reply, context)


class FaultyModel(FakeModel):
    """A `FakeModel` whose steps may be any of this module's, over HTTP/1.1 by its own server."""

    @staticmethod
    def _new_script(name: str, answer: Any, columns: bool) -> Script:
        return FaultScript(name, answer, columns=columns)

    def _http_side(self) -> HttpSide:
        from tests.helpers.raw_http import RawHttpSide

        return RawHttpSide(self, self._script)

    def _grpc_side(self, loop: asyncio.AbstractEventLoop) -> GrpcSide:
        credentials = None if isinstance(self._grpc, bool) else self._grpc
        return FaultyGrpcSide(self, self._script, loop, self._port(1), credentials)
