"""Calls to a child over HTTP, in the V2 protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import aiohttp
import orjson
from pydantic import SecretStr
from yarl import URL

from tempo_runtime.clients.binary_use import BinaryUse
from tempo_runtime.clients.connections import Connections
from tempo_runtime.clients.failures import EXCERPT, AnswerLimit, ChildAddress, Failure, FailureKind
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import binary
from tempo_runtime.protocol.error_details import HEADER, KEY, ErrorInfo, unmarked
from tempo_runtime.protocol.messages import (
    Request,
    Response,
    load_object,
    request_to_json,
    response_from_json,
)
from tempo_runtime.request.timing import within

_JSON = "application/json"
# Statuses with which servers and proxies may refuse binary data.
_NOT_TAKEN = (400, 403, 406, 411, 415, 422, 501)
_TEXTS = ("error", "detail", "message", "msg", "reason")  # keys of an error's text in JSON
_TRACEBACK = "Traceback (most recent call last):"


class HttpEndpoint:
    """A child's server, called with `POST {url}/v2/models/{model}/infer`.

    Args:
        connections: Shared connections.
        url: Base URL of the server.
        model: Name that the server knows the child by.
        version: Version to ask for.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the next byte of an answer.
        proxy: URL of an HTTP proxy.
        max_answer_bytes: Largest size of an answer, or of an item of a stream; None for no limit.
        is_triton: Whether the server is Triton.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        url: str,
        model: str,
        version: str | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        proxy: SecretStr | None = None,
        max_answer_bytes: int | None = None,
        is_triton: bool = False,
    ) -> None:
        base = f"{url}/v2/models/{model}{f'/versions/{version}' if version else ''}"
        self.place = ChildAddress(model, f"{base}/infer")  # errors show it as the user wrote it
        self._model_url, self._url = URL(base), URL(self.place.url)
        self._server_url = URL(f"{url}/v2")
        self.binary = BinaryUse(self._server_metadata, is_triton=is_triton)
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_timeout, sock_read=read_timeout)
        self._proxy = proxy.get_secret_value() if proxy else None
        self._limit = AnswerLimit(max_answer_bytes)
        self._failures = _Failures(self)

    async def call(
        self, request: Request, seconds: float | None, headers: Mapping[str, str], *, fresh: bool
    ) -> Response:
        """See `Endpoint.call`."""
        session = self._connections.fresh if fresh else self._connections.pooled
        with self._failures:
            is_binary = self.binary.suits(request, headers)
            if is_binary:
                begin = asyncio.get_running_loop().time()
                answered = await within(seconds, self._call_binary(session, request, headers))
                if answered is not None:
                    return answered
                if seconds is not None:
                    seconds -= asyncio.get_running_loop().time() - begin
            answer = session.post(self._url, data=self._json_of(request), **self._how(headers))
            response = response_from_json(await within(seconds, self._content(answer)))
            if is_binary:  # it was not the request that was wrong
                self.binary.refused()
            return response

    def _json_of(self, request: Request) -> bytes:
        try:
            return request_to_json(request)
        except UnicodeDecodeError:  # only Triton gets bytes as they are
            text = "it takes no binary data, and JSON cannot hold bytes that are not text"
            raise self.place.refused("a request in JSON only", text) from None

    async def _call_binary(
        self, session: aiohttp.ClientSession, request: Request, headers: Mapping[str, str]
    ) -> Response | None:
        """Call with binary data; None if the server, or a proxy before it, may not take that."""
        is_triton = self.binary.is_triton
        body, length = binary.request_to_body(request, with_text=is_triton)
        how = self._how({**headers, binary.HEADER: str(length)}, binary.MEDIA_TYPE)
        async with session.post(self._url, data=body, **how) as answer:
            content = await self._read(answer)
        lengths = answer.headers.getall(binary.HEADER, [])
        if answer.status == 200 and lengths:
            return binary.response_from_body(content, lengths)
        if answer.status == 200 and answer.content_type == _JSON:
            return response_from_json(content)
        # A server with our runtime takes it: its error is about the request.
        is_ours = HEADER in answer.headers or _read(content)[1] is not None
        is_about_request = is_ours or (is_triton and answer.status == 400)
        if answer.status == 200 or (answer.status in _NOT_TAKEN and not is_about_request):
            return None
        raise self._refusal(answer, content)

    async def _server_metadata(self, headers: Mapping[str, str]) -> dict[str, Any]:
        with self._failures:
            answer = self._connections.pooled.get(self._server_url, **self._how(headers))
            return load_object(await self._content(answer))

    async def metadata(self, seconds: float | None, headers: Mapping[str, str]) -> dict[str, Any]:
        """See `Endpoint.metadata`."""
        with self._failures:
            answer = self._connections.pooled.get(self._model_url, **self._how(headers))
            return load_object(await within(seconds, self._content(answer)))

    async def stream(
        self, request: Request, headers: Mapping[str, str]
    ) -> AsyncGenerator[Response, None]:
        """See `Endpoint.stream`."""
        url, body = self._model_url / "infer_stream", request_to_json(request)
        with self._failures:
            async with self._connections.pooled.post(
                url, data=body, **self._how(headers)
            ) as answer:
                if answer.status != 200:
                    raise self._refusal(answer, await self._read(answer))
                self._refuse_compressed(answer)
                async for event in _events(answer.content, self._limit):
                    response = response_from_json(event)
                    parameters = response.parameters
                    if "error" in parameters:  # from our runtime, after the status line was sent
                        raise self._ended(parameters)
                    yield response

    async def close(self) -> None:
        """Release the shared connections."""
        self.binary.close()
        await self._connections.close()

    def _how(self, headers: Mapping[str, str], content_type: str = _JSON) -> dict[str, Any]:
        own = {"content-type": content_type, "accept-encoding": "identity"}
        return {
            "headers": {**headers, **own},
            "timeout": self._timeout,
            "proxy": self._proxy,
            "allow_redirects": False,
            "auto_decompress": False,
        }

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        self._refuse_compressed(answer)
        if answer.content_length is not None:  # the body cannot be longer
            self._limit.check(answer.content_length)
            return await answer.read()
        parts, length = [], 0
        async for part in answer.content.iter_any():
            length += len(part)
            self._limit.check(length)
            parts.append(part)
        return b"".join(parts)

    def _refuse_compressed(self, answer: aiohttp.ClientResponse) -> None:
        """Refuse a compressed answer, which was not requested: a few bytes may expand without limit."""
        encoding = answer.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise PayloadError(f"it is compressed ({encoding!r:.40}), which was not requested")

    async def _content(self, call: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> bytes:
        async with call as answer:
            content = await self._read(answer)
        if answer.status != 200:
            raise self._refusal(answer, content)
        return content

    def _refusal(self, answer: aiohttp.ClientResponse, content: bytes) -> Failure:
        failure = self._failure_of(answer, content)
        failure.status = answer.status
        return failure

    def _failure_of(self, answer: aiohttp.ClientResponse, content: bytes) -> Failure:
        if 300 <= answer.status < 400 and (target := answer.headers.get("location")):
            return self.place.redirected(answer.status, target)
        text, info = _read(content)
        # A proxy may have replaced the body; the header has the same details.
        info = info or ErrorInfo.parse(answer.headers.get(HEADER))
        if info is not None and info.status == answer.status:
            return self.place.passed_up(info, text)
        wait = _seconds(answer.headers.get("retry-after"))
        return self.place.by_status(answer.status, (text or answer.reason or "")[:EXCERPT], wait)

    def _ended(self, parameters: Mapping[str, Any]) -> Failure:
        info, text = ErrorInfo.read(parameters.get(KEY)), f"{parameters['error']}"
        if info is not None:
            return self.place.passed_up(info, text)
        status = parameters.get("status")
        return self.place.by_status(status if isinstance(status, int) else 500, text[:EXCERPT])

    def failure(self, error: aiohttp.ClientError) -> Failure:
        """Return the failure that an error of aiohttp is."""
        reason = str(error) or type(error).__name__
        match error:
            case aiohttp.ClientSSLError():
                return self.place.distrusted(reason)
            case aiohttp.SocketTimeoutError():
                return self.place.silent(f"{self._timeout.sock_read:g} s, its `read_timeout`")
            case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
                return self.place.unreachable(reason)
            case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError():
                return self.place.unreachable(
                    f"the connection broke: {reason}", FailureKind.CONNECTION_LOST
                )
            case _:
                return self.place.unusable(PayloadError(f"not HTTP ({reason})"))


class _Failures:
    """Turns errors of a call into failures.

    One object serves all calls, because each call would pay for a generator of `contextlib`.
    """

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self._endpoint = endpoint

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if isinstance(error, aiohttp.ClientError):
            raise self._endpoint.failure(error) from error
        if isinstance(error, PayloadError):
            raise self._endpoint.place.unusable(error) from error


async def _events(content: aiohttp.StreamReader, limit: AnswerLimit) -> AsyncIterator[bytes]:
    """Yield the data of server-sent events; their lines may be longer than aiohttp's limit."""
    parts: list[bytes] = []  # of the current line
    length = 0
    async for chunk in content.iter_any():
        *lines, rest = chunk.split(b"\n")
        for end in lines:
            line = b"".join([*parts, end])
            parts, length = [], 0
            limit.check(len(line))
            if line.startswith(b"data:"):
                yield line[len(b"data:") :]
        parts.append(rest)
        length += len(rest)
        limit.check(length)


def _read(content: bytes) -> tuple[str, ErrorInfo | None]:
    """Return the text of an error's body, and the details if a pipeline's server sent it."""
    text = content.decode(errors="replace").strip()
    info = None
    with suppress(orjson.JSONDecodeError, RecursionError):
        body = orjson.loads(content)
        text = _text(body) or text
        info = ErrorInfo.read(body.get(KEY)) if isinstance(body, dict) else None
    if text.startswith(_TRACEBACK):  # from a server in debug mode
        text = text.splitlines()[-1]
    if info is None:
        return unmarked(text)  # from a server whose main process does not run our code
    return text, info


def _text(error: Any) -> str:
    """Return the text of an error, in any of the forms that V2 servers and FastAPI use."""
    if isinstance(error, list):
        return "; ".join(filter(None, map(_text, error)))
    if not isinstance(error, dict):
        return f"{error}" if error is not None else ""
    text = next((text for key in _TEXTS if (text := _text(error.get(key)))), "")
    field = error.get("loc")
    return f"{'.'.join(map(str, field))}: {text}" if text and isinstance(field, list) else text


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds in a `Retry-After` header; None if it has a date, or is missing."""
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None
