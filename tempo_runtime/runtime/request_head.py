"""Limit the head of an HTTP request: its first line and its headers.

uvicorn, which serves MLServer's HTTP, reads requests with httptools where that is installed. Other than
h11, httptools reads a head of any length into memory, so that one client could fill it.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST = 64 * 1024
"""Bytes; httptools may read one more piece of at most 256 KB before they are counted."""

_data_received = HttpToolsProtocol.data_received


def install() -> None:
    """Make each HTTP server of this process refuse heads that are too large."""
    HttpToolsProtocol.data_received = _limited  # type: ignore[assignment,method-assign]


def _limited(protocol: HttpToolsProtocol, data: bytes) -> None:
    _data_received(protocol, data)
    scope = protocol.scope
    if scope is None or "method" in scope:  # no request has begun, or its head is complete
        return
    counted: tuple[object, int] = getattr(protocol, "head", (None, 0))
    # The first piece may also have the end of the previous request.
    size = counted[1] + len(data) if counted[0] is scope else 0
    protocol.head = (scope, size)
    if size > LARGEST and not protocol.transport.is_closing():
        protocol.send_400_response(
            f"The first line and the headers of a request must not exceed {LARGEST} bytes."
        )
