"""A child's server behind V2 over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import aiohttp
import orjson
from pydantic import SecretStr
from yarl import URL

from tempo_runtime.children.connections import Connections
from tempo_runtime.children.failures import Failure, Kind, Place
from tempo_runtime.errors import PayloadError
from tempo_runtime.timing import within
from tempo_runtime.wire import Request, Response, request_to_json, response_from_json

_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}
_EXCERPT = 300


class HttpEndpoint:
    """Called with `POST {url}/v2/models/{model}/infer`.

    Args:
        connections: Shared connections.
        url: Base URL of the server.
        model: Name the child is served under.
        version: Version to ask for.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the next byte of an answer.
        proxy: URL of an HTTP proxy.
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
    ) -> None:
        path = f"/v2/models/{model}{f'/versions/{version}' if version else ''}/infer"
        self.place = Place(model, url + path)
        self._connections = connections
        self._url = URL(self.place.url)
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_timeout, sock_read=read_timeout)
        self._proxy = proxy.get_secret_value() if proxy else None

    async def call(
        self, request: Request, seconds: float | None, headers: Mapping[str, str], *, fresh: bool
    ) -> Response:
        """See `Endpoint.call`."""
        try:
            return await within(seconds, self._call(request, headers, fresh))
        except aiohttp.ClientError as error:
            raise self._failure(error) from error
        except PayloadError as error:
            raise self.place.unusable(error) from error

    async def close(self) -> None:
        """Gives the connections back."""
        await self._connections.close()

    async def _call(self, request: Request, headers: Mapping[str, str], fresh: bool) -> Response:
        session = self._connections.new if fresh else self._connections.kept
        async with session.post(
            self._url,
            data=request_to_json(request),
            headers={**headers, **_HEADERS},
            timeout=self._timeout,
            proxy=self._proxy,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
        if answer.status != 200:
            said = _message(content) or answer.reason or ""
            wait = _seconds(answer.headers.get("retry-after"))
            raise self.place.by_status(answer.status, said, wait)
        return response_from_json(content)

    def _failure(self, error: aiohttp.ClientError) -> Failure:
        said = str(error) or type(error).__name__
        match error:
            case aiohttp.ClientSSLError():
                return self.place.distrusted(said)
            case aiohttp.SocketTimeoutError():
                return self.place.silent(f"{self._timeout.sock_read:g} s, its `read_timeout`")
            case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
                return self.place.unreachable(said)
            case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError():
                return self.place.unreachable(f"the connection broke: {said}", Kind.LOST)
            case _:
                return self.place.unusable(PayloadError(f"not HTTP ({said})"))


def _message(content: bytes) -> str:
    """What an error body says, in any of the forms V2 servers give it."""
    with suppress(orjson.JSONDecodeError):
        body = orjson.loads(content)
        said = (body.get("error") or body.get("detail")) if isinstance(body, dict) else body
        return f"{said if isinstance(said, str) else body}"[:_EXCERPT]
    return content.decode(errors="replace").strip()[:_EXCERPT]


def _seconds(retry_after: str | None) -> float | None:
    """The header's seconds; a date, which the header may also be, is as good as none."""
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None
