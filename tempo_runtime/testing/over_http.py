"""Serve a fake model over HTTP."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from aiohttp import web

from tempo_runtime._util.ports import HOST
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import binary
from tempo_runtime.protocol.messages import (
    Request,
    Response,
    request_from_json,
    request_from_object,
    response_to_json,
)
from tempo_runtime.testing.script import Call, Model, Script
from tempo_runtime.testing.steps import Fail, Reply

BACKLOG = 512  # connections that wait to be accepted
_PATH = re.compile(
    r"/v2/models/(?P<model>[^/?]+)(/versions/(?P<version>[^/?]+))?(?P<verb>/infer|/ready|)(\?.*)?$"
)
_STEPS_OF_ACCEPTING = 3
_MAX_HEADER = 65536  # bytes: pipelines send more headers on than aiohttp accepts by default


@dataclass(frozen=True)
class HttpAnswer:
    """An answer over HTTP.

    Attributes:
        status: HTTP status.
        body: The body.
        headers: HTTP headers, with lower-case names.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpSide:
    """An HTTP server that answers for a fake model.

    Args:
        fake: The fake model.
        script: What it does with its calls.
    """

    def __init__(self, fake: Model, script: Script) -> None:
        self._fake = fake
        self._script = script
        self._numbers: WeakKeyDictionary[asyncio.BaseTransport, int] = WeakKeyDictionary()
        self._connections = 0
        self._handlers: web.Server | None = None
        self._server: asyncio.Server | None = None

    async def listen(self, port: int, ssl_context: ssl.SSLContext | None) -> None:
        """Accept connections on a loopback port, in the running loop."""
        app = web.Application(client_max_size=0)  # no limit
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            app, access_log=None, max_line_size=_MAX_HEADER, max_field_size=_MAX_HEADER
        )
        await runner.setup()
        assert runner.server is not None
        self._handlers = runner.server
        self._server = await asyncio.get_running_loop().create_server(
            runner.server, HOST, port, ssl=ssl_context, backlog=BACKLOG
        )

    async def abort(self) -> None:
        """Stop listening and end every connection, as when a server's process dies."""
        if self._server is not None:
            loop = asyncio.get_running_loop()
            for listening in self._server.sockets:
                loop.remove_reader(listening.fileno())
            # asyncio would leave open a connection that it has accepted, and not yet given to a handler.
            for _ in range(_STEPS_OF_ACCEPTING):
                await asyncio.sleep(0)
            self._server.close()
        for handler in self._handlers.connections if self._handlers is not None else ():
            if handler.transport is not None:
                handler.transport.abort()

    async def answer(
        self, path: str, headers: Mapping[str, str], body: bytes, connection: int | None
    ) -> HttpAnswer:
        """Answer a request.

        Args:
            path: Its target, with the query.
            headers: Its headers, with lower-case names.
            body: Its body.
            connection: Number of its connection.
        """
        model = _PATH.search(path)
        if model is None or model["verb"] != "/infer" or model["model"] != self._fake.name:
            return self._about(path, model)
        try:
            call = Call.of(
                _request(headers, body),
                headers=headers,
                transport="http",
                path=path,
                version=model["version"],
                connection=connection,
            )
        except PayloadError as error:
            return _json({"error": str(error)}, 422)
        return self._render(await self._script.play(call))

    async def _handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        number = self._number(request.transport)
        answer = await self.answer(request.raw_path, headers, await request.read(), number)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def _number(self, connection: asyncio.BaseTransport | None) -> int | None:
        if connection is not None and connection not in self._numbers:
            self._connections += 1
            self._numbers[connection] = self._connections
        return self._numbers.get(connection) if connection is not None else None

    def _about(self, path: str, model: re.Match[str] | None) -> HttpAnswer:
        """Answer requests other than inference."""
        if path.endswith(("/v2/health/live", "/v2/health/ready", "/v2")):
            return _json({"name": "tempo_runtime.testing", "version": "", "extensions": []})
        if model is None:
            return _json({"detail": "Not Found"}, 404)
        if model["model"] != self._fake.name:
            return _json({"error": f"Model {model['model']} not found"}, 404)
        if model["verb"] == "/ready" and not self._fake.ready:
            return _json({"error": f"Model {self._fake.name} is not ready yet."}, 400)
        return _json(self._fake.metadata)

    def _render(self, reply: Response | Reply) -> HttpAnswer:
        if isinstance(reply, Response):
            return HttpAnswer(200, response_to_json(reply, self._fake.name), _JSON)
        assert isinstance(reply, Fail)
        wait = {} if reply.retry_after is None else {"retry-after": f"{reply.retry_after:g}"}
        return _json({"error": reply.message or phrase(reply.status)}, reply.status, wait)


def _request(headers: Mapping[str, str], body: bytes) -> Request:
    """Read a request, which may have binary data."""
    length = headers.get(binary.HEADER.lower())
    if length is None:
        return request_from_json(body)
    content, raw = binary.split_body(body, [length])
    binary.AskedOutputs.take(content)  # the answer is JSON in any case
    binary.attach_inputs(content, raw)
    return request_from_object(content)


_JSON = {"content-type": "application/json"}


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpAnswer:
    return HttpAnswer(status, orjson.dumps(content), {**_JSON, **(headers or {})})


def phrase(status: int) -> str:
    """Return the phrase that belongs to an HTTP status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
