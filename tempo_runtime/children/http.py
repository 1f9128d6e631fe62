"""A child behind V2 over HTTP."""

from __future__ import annotations

from contextlib import suppress

import aiohttp
import anyio
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from tempo_runtime import context
from tempo_runtime.children.failures import NOT_READY, Place, seconds_left
from tempo_runtime.errors import PayloadError, TempoError
from tempo_runtime.portal import Portal
from tempo_runtime.wire import Request, Response, request_to_json, response_from_json

# Idle connections are closed before uvicorn closes them, after 5 s: at exactly 5 s a request can be
# sent into a connection that is being closed. Zero connections is no limit, to aiohttp.
_LIMITS = httpx.Limits(max_connections=0, keepalive_expiry=2.5)
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}
_EXCERPT = 300


def connections() -> httpx.AsyncBaseTransport:
    """The connections that all HTTP children of a pipeline share.

    httpx over aiohttp's, because httpx's own are what such a pipeline waits for
    (`benchmarks/children.py`); and without httpx's client, whose cookies, redirects and hooks no
    child needs.
    """
    return AiohttpTransport(limits=_LIMITS, trust_env=False)


class HttpTransport:
    """Calls a child with `POST {url}/v2/models/{model}/infer`.

    Args:
        shared: Shared connections; they live on the portal's loop.
        portal: That loop.
        url: Base URL of the child's server.
        model: Name the child is served under.
        version: Version to ask for.
        connect_timeout: Seconds to wait for a connection.
        timeout: Seconds one call may take.
    """

    def __init__(
        self,
        shared: httpx.AsyncBaseTransport,
        portal: Portal,
        *,
        url: str,
        model: str,
        connect_timeout: float,
        version: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._shared = shared
        self._portal = portal
        path = f"/v2/models/{model}{f'/versions/{version}' if version else ''}/infer"
        self._place = Place(model, url + path)
        self._url = httpx.URL(self._place.url)
        self._extensions = {"timeout": {"connect": connect_timeout}}
        self._timeout = timeout

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        return await self._portal.arun(self._infer(request, context.current()))

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        return self._portal.run(self._infer(request, context.current()))

    async def close(self) -> None:
        """The connections are shared, and closed by who made them."""

    async def _infer(self, request: Request, current: context.RequestContext) -> Response:
        # The context is passed by hand: a coroutine that crosses to another loop loses its own.
        seconds = seconds_left(self._timeout, current)
        asked = httpx.Request(
            "POST",
            self._url,
            headers={**_HEADERS, **current.headers},
            content=request_to_json(request),
            extensions=self._extensions,
        )
        answer = None
        try:
            with anyio.move_on_after(seconds):
                answer = await self._exchange(asked)
        except httpx.TransportError as error:
            raise self._place.unreachable(str(error) or type(error).__name__) from error
        except aiohttp.ClientError as error:  # the few that httpx has no name for
            raise self._place.unusable(PayloadError(f"not HTTP ({error})")) from error
        if answer is None:
            raise self._place.silent(seconds or 0, current)
        if answer.status_code != 200:
            raise self._refusal(answer)
        try:
            return response_from_json(answer.content)
        except PayloadError as error:
            raise self._place.unusable(error) from error

    async def _exchange(self, asked: httpx.Request) -> httpx.Response:
        answer = await self._shared.handle_async_request(asked)
        try:
            await answer.aread()
        except BaseException:
            # Given up half-way, by the deadline or by the server: its connection is not used again.
            with anyio.CancelScope(shield=True):
                await answer.aclose()
            raise
        return answer

    def _refusal(self, answer: httpx.Response) -> TempoError:
        status, said = answer.status_code, _message(answer)
        if status == 404:
            return self._place.not_found(said)
        if status in (429, 503) or (status == 400 and NOT_READY in said):
            return self._place.not_ready(f"{said} (status {status})")
        if status == 504:
            return self._place.late(said)
        return self._place.refused(str(status), said)


def _message(answer: httpx.Response) -> str:
    """What an error body says, in any of the forms V2 servers give it."""
    with suppress(orjson.JSONDecodeError):
        body = orjson.loads(answer.content)
        said = (body.get("error") or body.get("detail")) if isinstance(body, dict) else body
        return f"{said if isinstance(said, str) else body}"[:_EXCERPT]
    return answer.text.strip()[:_EXCERPT] or answer.reason_phrase
