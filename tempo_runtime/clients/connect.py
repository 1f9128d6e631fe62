"""A child on servers, as its settings name them."""

from __future__ import annotations

import os

from tempo_runtime._util.ports import called
from tempo_runtime.clients.pool import Endpoint
from tempo_runtime.clients.remote import Limits
from tempo_runtime.clients.retry import Policy
from tempo_runtime.request.portal import Portal
from tempo_runtime.settings import ChildSettings, TlsSettings

_SIBLINGS = {"http": ("MLSERVER_HTTP_PORT", "8080"), "grpc": ("MLSERVER_GRPC_PORT", "8081")}


def endpoints(settings: ChildSettings, name: str, portal: Portal) -> list[Endpoint]:
    """One endpoint for each URL; without any, for the server that this process is.

    Args:
        settings: How the child is reached: over `http` or `grpc`.
        name: Name it is served under.
        portal: The loop that the connections live on.

    Raises:
        SettingsError: If a file of its TLS settings cannot be used.
    """
    make = _grpc if settings.transport == "grpc" else _http
    return make(settings, name, portal)


def limits(settings: ChildSettings, *, forwards_deadline: bool) -> Limits:
    """Return what one call may do; `forwards_deadline` is that of `Limits`."""
    assert settings.patience is not None
    assert settings.retries is not None
    return Limits(
        Policy(settings.retries, settings.patience),
        timeout=settings.timeout,
        max_concurrency=settings.max_concurrency,
        headers={name: value.get_secret_value() for name, value in settings.headers.items()},
        forwards_deadline=forwards_deadline,
    )


def _http(settings: ChildSettings, name: str, portal: Portal) -> list[Endpoint]:
    # aiohttp, which a pipeline may not need
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
        )
        for url in settings.url or (_this_server("http"),)
    ]


def _grpc(settings: ChildSettings, name: str, portal: Portal) -> list[Endpoint]:
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
    """Return where a sibling is: the server this process is."""
    variable, usual = _SIBLINGS[scheme]
    host = called(os.environ.get("MLSERVER_HOST", ""))
    return f"{scheme}://{host}:{os.environ.get(variable, usual)}"
