"""A child behind V2 over HTTP."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NoReturn

import anyio
import httpx
import orjson

from tempo_runtime import context
from tempo_runtime.errors import (
    ChildError,
    ChildFailed,
    ChildNotFound,
    ChildUnavailable,
    DeadlineExceeded,
    PayloadError,
)
from tempo_runtime.portal import Portal
from tempo_runtime.wire import Request, Response, request_to_json, response_from_json

# Below the 5 s after which uvicorn closes an idle connection: at exactly 5 s a request can be sent
# into a connection that is being closed.
_KEEPALIVE = 2.5
_LIMITS = httpx.Limits(
    max_connections=None, max_keepalive_connections=64, keepalive_expiry=_KEEPALIVE
)
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}
_NOT_READY = "is not ready yet"  # MLServer answers 400 with this while a model loads
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
        self._model = model
        self._url = f"{url}/v2/models/{model}{f'/versions/{version}' if version else ''}/infer"
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
        budget, own = current.remaining(), self._timeout
        seconds = min(own, budget) if own is not None and budget is not None else own or budget
        body = request_to_json(request)
        answer = None
        try:
            with anyio.move_on_after(seconds):
                answer = await self._client.post(
                    self._url, content=body, headers=_HEADERS | dict(current.headers)
                )
        except httpx.ConnectTimeout as error:
            raise self._unavailable("no connection in time") from error
        except httpx.TransportError as error:
            raise self._unavailable(str(error) or type(error).__name__) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise self._unavailable(f"the URL cannot be used: {error}") from error
        if answer is None:
            raise self._timed_out(seconds, current)
        if answer.status_code != 200:
            self._refuse(answer)
        try:
            return response_from_json(answer.content)
        except PayloadError as error:
            raise ChildFailed(
                f"child {self._model!r} at {self._url} gave an answer that cannot be used: {error}",
                model=self._model,
                url=self._url,
            ) from error

    def _timed_out(
        self, seconds: float | None, current: context.RequestContext
    ) -> ChildError | DeadlineExceeded:
        try:
            current.remaining()
        except DeadlineExceeded as spent:
            return DeadlineExceeded(
                f"child {self._model!r} at {self._url} had not answered when the time was up: {spent}"
            )
        return self._unavailable(f"no answer within {seconds:g} s, the child's `timeout`")

    def _unavailable(self, reason: str) -> ChildUnavailable:
        return ChildUnavailable(
            f"child {self._model!r} cannot be reached at {self._url}: {reason}; is its server up, "
            "and is the URL right?",
            model=self._model,
            url=self._url,
        )

    def _refuse(self, answer: httpx.Response) -> NoReturn:
        status, said = answer.status_code, _message(answer)
        where: dict[str, Any] = {"model": self._model, "url": self._url}
        if status == 404:
            raise ChildNotFound(
                f"child {self._model!r} is not at {self._url}: {said}; is that its server, and the "
                "name it is served under?",
                **where,
            )
        if status in (429, 503) or (status == 400 and _NOT_READY in said):
            raise ChildUnavailable(
                f"child {self._model!r} at {self._url} is not ready (status {status}): {said}",
                **where,
            )
        if status == 504:
            raise DeadlineExceeded(f"child {self._model!r} at {self._url} ran out of time: {said}")
        raise ChildFailed(
            f"child {self._model!r} at {self._url} answered {status}: {said}", **where
        )


def _message(answer: httpx.Response) -> str:
    """What an error body says, in any of the forms V2 servers give it."""
    with suppress(orjson.JSONDecodeError):
        body = orjson.loads(answer.content)
        said = (body.get("error") or body.get("detail")) if isinstance(body, dict) else body
        return f"{said if isinstance(said, str) else body}"[:_EXCERPT]
    return answer.text.strip()[:_EXCERPT] or answer.reason_phrase
