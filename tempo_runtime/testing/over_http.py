"""A fake's side of V2 over HTTP, on raw streams: a script decides about every byte."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from typing import Any

import orjson

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.messages import Response, request_from_json, response_to_json
from tempo_runtime.testing.script import Call, Model, Script
from tempo_runtime.testing.steps import Cut, Fail, Raw

_PATH = re.compile(
    r"/v2/models/(?P<model>[^/?]+)(/versions/(?P<version>[^/?]+))?(?P<verb>/infer|/ready|)(\?.*)?$"
)
_RESET = struct.pack("ii", 1, 0)  # linger for no time


class HttpSide:
    """Answers the connections of a fake.

    Args:
        fake: The fake.
        script: What it does with its calls.
    """

    def __init__(self, fake: Model, script: Script) -> None:
        self._fake = fake
        self._script = script
        self._numbers = count(1)
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a new connection; what `asyncio.start_server` calls."""
        connection = _Connection(reader, writer, next(self._numbers))
        task = asyncio.get_running_loop().create_task(self._converse(connection))
        self._tasks[task] = writer
        task.add_done_callback(self._tasks.pop)

    def abort(self) -> None:
        """End every connection, as when a server's process dies."""
        for writer in self._tasks.values():
            writer.transport.abort()

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
        # All of it, even for a stale connection: who is cut off while sending sees one of two errors.
        asked = await connection.receive()
        if connection.stale is not None:
            await connection.stale.send(connection, b"", b"")
            return
        path = _PATH.search(asked.path)
        if path is None or path["verb"] != "/infer" or path["model"] != self._fake.name:
            await connection.send(_head_and_body(*self._about(asked.path, path)))
        else:
            await self._infer(connection, asked, path["version"])
        if asked.headers.get("connection", "").lower() == "close":
            connection.close(reset=False)

    async def _infer(self, connection: _Connection, asked: _Asked, version: str | None) -> None:
        try:
            call = Call.of(
                request_from_json(asked.body),
                headers=asked.headers,
                transport="http",
                path=asked.path,
                version=version,
                connection=connection.number,
            )
        except PayloadError as error:
            await connection.send(_head_and_body(*_json({"error": str(error)}, 422)))
            return
        reply, delivery = await self._script.play(call)
        head, body = _parts(*_rendered(reply, self._fake.name))
        if delivery is None:
            await connection.send(head + body)
        else:
            await delivery.send(connection, head, body)

    def _about(self, path: str, model: re.Match[str] | None) -> _Rendered:
        """Return what is asked beside inference."""
        if path.endswith(("/v2/health/live", "/v2/health/ready", "/v2")):
            return _json({"name": "tempo_runtime.testing", "version": "", "extensions": []})
        if model is None:
            return _json({"detail": "Not Found"}, 404)
        if model["model"] != self._fake.name:
            return _json({"error": f"Model {model['model']} not found"}, 404)
        if model["verb"] == "/ready" and not self._fake.ready:
            return _json({"error": f"Model {self._fake.name} is not ready yet."}, 400)
        return _json(self._fake.metadata)


@dataclass(frozen=True)
class _Asked:
    path: str
    headers: dict[str, str]
    body: bytes


class _Connection:
    """One client's; see `steps.Connection`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.number = number
        self.stale: Cut | None = None
        self.closed = False
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(0)  # `drain` waits until all is sent

    async def receive(self) -> _Asked:
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        _, path, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get("expect", "").lower() == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return _Asked(path, headers, await self._chunks())
        size = int(headers.get("content-length", 0))
        return _Asked(path, headers, await self._reader.readexactly(size))

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


_Rendered = tuple[int, Mapping[str, str], bytes]


def _rendered(reply: Response | Fail | Raw, name: str) -> _Rendered:
    if isinstance(reply, Raw):
        return reply.status, reply.headers, reply.body
    if isinstance(reply, Response):
        return 200, {}, response_to_json(reply, name)
    status, headers, body = _json({"error": reply.message or _phrase(reply.status)}, reply.status)
    if reply.retry_after is not None:
        headers = {"retry-after": f"{reply.retry_after:g}"}
    return status, headers, body


def _json(content: Any, status: int = 200) -> _Rendered:
    return status, {}, orjson.dumps(content)


def _parts(status: int, headers: Mapping[str, str], body: bytes) -> tuple[bytes, bytes]:
    fields = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{n}: {v}" for n, v in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1"), body


def _head_and_body(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    return b"".join(_parts(status, headers, body))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
