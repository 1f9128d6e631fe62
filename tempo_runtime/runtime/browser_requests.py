"""Refuse requests that pages of other sites make a browser send.

A browser says where a request comes from: in `Origin` if it can change something, and to a server on
this machine or over HTTPS in `Sec-Fetch-Site`. Other clients send neither, and may use any host.

For a body that is stated to be JSON, a browser first asks the server (CORS), which allows only the
origins in its `cors_settings`. It does not ask if the body is a form or plain text, or without a body:
every server refuses these. A server with a page refuses all requests of other sites.

A page of another site may also let its own name point to this server (DNS rebinding). Then the browser
takes both for one site, and says so. But the request's `Host` is that name, which this server does not
know.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from mlserver.rest.server import RESTServer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from tempo_runtime.errors import OriginRefused
from tempo_runtime.protocol.error_details import ErrorInfo
from tempo_runtime.protocol.tensor import shown
from tempo_runtime.runtime.error_mapping import Answered

_OF_BROWSERS = (b"origin", b"sec-fetch-site")
_READ_BY_THE_PAGE = re.compile(
    r"/|/page/.*|/pipelines\.json|/openapi\.json|.*/docs/dataplane\.json"
)
_LOCALHOST = "localhost"
_UNASKED = frozenset(("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"))


def extend(server: RESTServer, hosts: Iterable[str] | None) -> None:
    """Put a `BrowserRequests` in front of all routes of an HTTP server of MLServer, unless there is one.

    Args:
        server: The server.
        hosts: Names by which browsers reach its page; None if it has no page.
    """
    router = server._app.router
    if not isinstance(router.middleware_stack, BrowserRequests):
        settings = server._settings
        known = None if hosts is None else {_LOCALHOST, settings.host, *hosts}
        router.middleware_stack = BrowserRequests(
            router.middleware_stack, known, settings.cors_settings
        )


class BrowserRequests:
    """An ASGI application that refuses requests of other sites' pages.

    Args:
        application: What answers all other requests.
        hosts: Names by which browsers reach the server's page; IP addresses are always known. None if
            it has no page.
        cors: MLServer's `cors_settings`, whose origins may call the server; None for none.
    """

    def __init__(self, application: ASGIApp, hosts: Iterable[str] | None, cors: Any = None) -> None:
        self._application = application
        self._has_page = hosts is not None
        self._hosts = frozenset(host.lower() for host in hosts or ())
        self._origins = frozenset(cors.allow_origins if cors else ())
        pattern = cors.allow_origin_regex if cors else None
        self._pattern = re.compile(pattern) if pattern else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except OriginRefused as error:
                # The header makes it an error over HTTP.
                raise Answered(str(error), ErrorInfo.of(error), {"headers": {"host": ""}}) from None
        await self._application(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Refuse a request that a page of another site may have caused.

        Raises:
            OriginRefused: If it is one.
        """
        for name, _ in scope["headers"]:
            if name in _OF_BROWSERS:
                self._check_browsers(scope)
                return
        # A browser does not mark requests of a rebound name that only read.
        if (
            self._has_page
            and scope["method"] != "POST"
            and _READ_BY_THE_PAGE.fullmatch(_path(scope))
        ):
            self._check_host(Headers(scope=scope))

    def _check_browsers(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if not self._has_page and not _is_unasked(scope, headers):
            return
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and self._is_allowed(origin):
            return
        if self._has_page:
            self._check_host(headers)
        if site is None:
            is_own = origin is None or _netloc(origin) == headers.get("host", "").lower()
        else:
            is_own = site in ("same-origin", "none") or _is_link(scope, headers)
        if not is_own:
            raise OriginRefused(
                f"a page of another site ({shown(origin or site)}) must not call this server; use the "
                "server's own page, or add the origin to `allow_origins` in `cors_settings` of "
                "MLServer's settings.json"
            )

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if name not in self._hosts and not _is_address(name):
            raise OriginRefused(
                f"browsers do not reach this server by the name {shown(host)}; open its page by its IP "
                "address or localhost, or add the name to TEMPO_RUNTIME_PAGE_HOSTS"
            )

    def _is_allowed(self, origin: str) -> bool:
        if "*" in self._origins or origin in self._origins:
            return True
        return self._pattern is not None and self._pattern.fullmatch(origin) is not None


def _is_unasked(scope: Scope, headers: Headers) -> bool:
    """Return whether a browser sends such a request to another site without asking it first."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return scope["method"] == "POST" and media_type in _UNASKED


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Return whether somebody follows a link to the page, which a page of another site cannot read."""
    return (
        scope["method"] in ("GET", "HEAD")
        and _path(scope) == "/"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "").rstrip("/")) or "/"


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
