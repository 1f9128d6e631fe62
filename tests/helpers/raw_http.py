"""A fake model over HTTP/1.1 on raw streams: its script decides about every byte."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from tempo_runtime._util.ports import HOST
from tempo_runtime.protocol.messages import Response
from tempo_runtime.testing.over_http import BACKLOG, HttpAnswer, HttpSide, phrase
from tempo_runtime.testing.script import Model, Script
from tempo_runtime.testing.steps import Reply
from tests.helpers.byte_faults import Cut, Delivered, Delivery, Raw

_RESET = struct.pack("ii", 1, 0)  # linger for no time


@dataclass(frozen=True)
class _DeliveredAnswer(HttpAnswer):
    delivery: Delivery | None = None


class RawHttpSide(HttpSide):
    """An HTTP server that answers for a fake model, byte by byte.

    Args:
        fake: The fake model.
        script: What it does with its calls.
    """

    def __init__(self, fake: Model, script: Script) -> None:
        super().__init__(fake, script)
        self._counter = count(1)
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def listen(self, port: int, ssl_context: ssl.SSLContext | None) -> None:
        """Accept connections on a loopback port, in the running loop."""
        self._server = await asyncio.start_server(
            self._connected, HOST, port, ssl=ssl_context, backlog=BACKLOG
        )

    async def abort(self) -> None:
        """Stop listening and end every connection, as when a server's process dies."""
        await super().abort()
        for writer in self._tasks.values():
            writer.transport.abort()

    def _render(self, reply: Response | Reply) -> HttpAnswer:
        if isinstance(reply, Delivered):
            answer = self._render(reply.reply)
            return _DeliveredAnswer(answer.status, answer.body, answer.headers, reply.delivery)
        if isinstance(reply, Raw):
            headers = {"content-type": "application/json", **reply.headers}
            return HttpAnswer(reply.status, reply.body, headers)
        return super()._render(reply)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer, next(self._counter))
        task = asyncio.get_running_loop().create_task(self._converse(connection))
        self._tasks[task] = writer
        task.add_done_callback(self._tasks.pop)

    async def _converse(self, connection: _Connection) -> None:
        try:
            # A client that leaves, or that does not speak HTTP, ends its connection.
            with suppress(
                OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
            ):
                while not connection.closed:
                    await self._exchange(connection)
        finally:
            connection.close(reset=False)

    async def _exchange(self, connection: _Connection) -> None:
        # Read all of it, even if stale: a client that is cut off while it sends sees one of two errors.
        request = await connection.receive()
        if connection.stale is not None:
            await connection.stale.send(connection, b"", b"")
            return
        answer = await self.answer(request.path, request.headers, request.body, connection.number)
        delivery = answer.delivery if isinstance(answer, _DeliveredAnswer) else None
        if delivery is None:
            await connection.send(_head(answer) + answer.body)
        else:
            await delivery.send(connection, _head(answer), answer.body)
        if request.headers.get("connection", "").lower() == "close":
            connection.close(reset=False)


@dataclass(frozen=True)
class _Request:
    path: str
    headers: dict[str, str]
    body: bytes


class _Connection:
    """A client's connection; see `byte_faults.Connection`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.number = number
        self.stale: Cut | None = None
        self.closed = False
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(0)  # `drain` waits until all is sent

    async def receive(self) -> _Request:
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        _, path, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get("expect", "").lower() == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return _Request(path, headers, await self._chunks())
        size = int(headers.get("content-length", 0))
        return _Request(path, headers, await self._reader.readexactly(size))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self, *, reset: bool) -> None:
        self.closed = True
        if not reset:
            self._writer.close()
            return
        with suppress(OSError):  # it is gone already
            self._writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _RESET
            )
        self._writer.transport.abort()

    async def _chunks(self) -> bytes:
        chunks = []
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            chunks.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readuntil(b"\r\n")
        return b"".join(chunks)


def _head(answer: HttpAnswer) -> bytes:
    fields = {"content-length": str(len(answer.body)), **answer.headers}
    lines = [
        f"HTTP/1.1 {answer.status} {phrase(answer.status)}",
        *(f"{name}: {value}" for name, value in fields.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
