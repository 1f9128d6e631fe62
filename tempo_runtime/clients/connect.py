"""Make the endpoints and limits of a child from its settings."""

from __future__ import annotations

import os

from tempo_runtime._util.ports import called
from tempo_runtime.clients.pool import RemoteEndpoint
from tempo_runtime.clients.remote import Limits
from tempo_runtime.clients.retry import Policy
from tempo_runtime.request.portal import Portal
from tempo_runtime.settings import ChildSettings, TlsSettings

_SIBLINGS = {"http": ("MLSERVER_HTTP_PORT", "8080"), "grpc": ("MLSERVER_GRPC_PORT", "8081")}


def endpoints(
    settings: ChildSettings, name: str, portal: Portal, *, is_triton: bool = False
) -> list[RemoteEndpoint]:
    """Return an endpoint for each URL; without a URL, one for the server in this process.

    Args:
        settings: The child's settings, with transport `http` or `grpc`.
        name: Name that the server knows the child by.
        portal: The loop that the connections belong to.
        is_triton: Whether the server is Triton.

    Raises:
        SettingsError: If a file in the TLS settings cannot be used.
    """
    if settings.transport == "grpc":
        return _grpc(settings, name)
    return _http(settings, name, portal, is_triton=is_triton)


def limits(settings: ChildSettings, *, forwards_deadline: bool) -> Limits:
    """Return the limits of each call; for `forwards_deadline` see `Limits`."""
    assert settings.unavailable_timeout is not None
    assert settings.retries is not None
    return Limits(
        Policy(settings.retries, settings.unavailable_timeout),
        timeout=settings.timeout,
        max_concurrency=settings.max_concurrency,
        headers={name: value.get_secret_value() for name, value in settings.headers.items()},
        forwards_deadline=forwards_deadline,
    )


def _http(
    settings: ChildSettings, name: str, portal: Portal, *, is_triton: bool
) -> list[RemoteEndpoint]:
    # Imported here, because not every pipeline needs aiohttp.
    from tempo_runtime.clients.connections import Connections
    from tempo_runtime.clients.http import HttpEndpoint

    return [
        HttpEndpoint(
            Connections.of(portal.loop, settings.tls or TlsSettings()),
            url=url,
            model=name,
            version=settings.version,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            proxy=settings.proxy,
            max_answer_bytes=settings.max_answer_bytes or None,
            is_triton=is_triton,
        )
        for url in settings.url or (_this_server("http"),)
    ]


def _grpc(settings: ChildSettings, name: str) -> list[RemoteEndpoint]:
    from tempo_runtime.clients.grpc import GrpcEndpoint

    return [
        GrpcEndpoint(
            url=url,
            model=name,
            version=settings.version,
            connect_timeout=settings.connect_timeout,
            tls=settings.tls,
            proxy=settings.proxy,
            max_answer_bytes=settings.max_answer_bytes or None,
        )
        for url in settings.url or (_this_server("grpc"),)
    ]


def _this_server(scheme: str) -> str:
    """Return the URL of the server in this process, which also serves siblings of the pipeline."""
    variable, default = _SIBLINGS[scheme]
    host = called(os.environ.get("MLSERVER_HOST", ""))
    return f"{scheme}://{host}:{os.environ.get(variable, default)}"
