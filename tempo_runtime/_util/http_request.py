"""Ask a server on this machine over HTTP, without a proxy and without following redirects."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit


class HttpAnswer(NamedTuple):
    """The status and the body of an answer."""

    status: int
    body: bytes


def request(
    url: str,
    timeout: float,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpAnswer:
    """Open a connection, and send a GET, or a POST if there is a body.

    Args:
        url: An `http` URL.
        timeout: Seconds to wait for the connection, and for each part of the answer.
        body: The body to post.
        headers: Headers.

    Raises:
        OSError: If there is no answer.
    """
    parts = urlsplit(url)
    assert parts.scheme == "http"
    assert parts.hostname
    path = urlunsplit(("", "", quote(parts.path, safe="/%"), parts.query, ""))
    with closing(HTTPConnection(parts.hostname, parts.port, timeout=timeout)) as connection:
        try:
            connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
            answer = connection.getresponse()
            return HttpAnswer(answer.status, answer.read())
        except HTTPException as error:
            raise ConnectionError(f"the server does not answer with HTTP: {error!r}") from error
