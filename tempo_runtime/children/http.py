"""A child behind V2 over HTTP."""

from __future__ import annotations

from contextlib import suppress

import anyio
import httpx
import orjson

from tempo_runtime import context
from tempo_runtime.children.failures import NOT_READY, Place, seconds_left
from tempo_runtime.errors import PayloadError, TempoError
from tempo_runtime.portal import Portal
from tempo_runtime.wire import Request, Response, request_to_json, response_from_json

# Below the 5 s after which uvicorn closes an idle connection: at exactly 5 s a request can be sent
# into a connection that is being closed.
_KEEPALIVE = 2.5
_LIMITS = httpx.Limits(
    max_connections=None, max_keepalive_connections=64, keepalive_expiry=_KEEPALIVE
)
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}
_EXCERPT = 300


def client(connect_timeout: float) -> httpx.AsyncClient:
    """The client that all HTTP children of a pipeline share."""
    return httpx.AsyncClient(
        limits=_LIMITS, timeout=httpx.Timeout(None, connect=connect_timeout), trust_env=False
    )


class HttpTransport:
    """Calls a child with `POST {url}/v2/models/{model}/infer`.

    Args:
        client: Shared client; it lives on the portal's loop.
        portal: That loop.
        url: Base URL of the child's server.
        model: Name the child is served under.
        version: Version to ask for.
        timeout: Seconds one call may take.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        portal: Portal,
        *,
        url: str,
        model: str,
        version: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._client = client
        self._portal = portal
        path = f"/v2/models/{model}{f'/versions/{version}' if version else ''}/infer"
        self._place = Place(model, url + path)
        self._timeout = timeout

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        return await self._portal.arun(self._infer(request, context.current()))

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        return self._portal.run(self._infer(request, context.current()))

    async def close(self) -> None:
        """The client is shared, and closed by who made it."""

    async def _infer(self, request: Request, current: context.RequestContext) -> Response:
        # The context is passed by hand: a coroutine that crosses to another loop loses its own.
        seconds = seconds_left(self._timeout, current)
        body = request_to_json(request)
        headers = {**_HEADERS, **current.headers}
        answer = None
        try:
            with anyio.move_on_after(seconds):
                answer = await self._client.post(self._place.url, content=body, headers=headers)
        except httpx.ConnectTimeout as error:
            raise self._place.unreachable("no connection in time") from error
        except httpx.TransportError as error:
            raise self._place.unreachable(str(error) or type(error).__name__) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise self._place.unreachable(f"the URL cannot be used: {error}") from error
        if answer is None:
            raise self._place.silent(seconds or 0, current)
        if answer.status_code != 200:
            raise self._refusal(answer)
        try:
            return response_from_json(answer.content)
        except PayloadError as error:
            raise self._place.unusable(error) from error

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
