"""Serve the page at `/`, which shows the pipelines of a server and calls them.

Its files are in `tempo_runtime/page`. It uses the routes that every client can use, and two of its own.
"""

from __future__ import annotations

import asyncio
import re
from importlib import resources
from urllib.parse import quote

import orjson
from mlserver.rest.server import RESTServer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tempo_runtime.errors import PayloadError
from tempo_runtime.explanations import html, reading
from tempo_runtime.protocol.error_details import ErrorInfo
from tempo_runtime.runtime import live_pipelines, reload_problem
from tempo_runtime.runtime.error_mapping import Answered
from tempo_runtime.runtime.inference_route import find_model
from tempo_runtime.runtime.parallel import is_pipeline
from tempo_runtime.runtime.plain_route import refuse_other_types

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
_FILE = re.compile(r"[\w-]+(?:\.[\w-]+)*(\.\w+)")
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_OF_A_MODEL = "/docs"
"""The end of MLServer's address of a model's API, which it shows with scripts of another host."""


class _PageRoute(Route):
    """A route of the page."""


class _DocsRoute:
    """An ASGI application that leads from MLServer's page of a pipeline's API to ours.

    Args:
        others: MLServer's own application, for a model that is not a pipeline.
        server: MLServer's HTTP server.
    """

    def __init__(self, others: ASGIApp, server: RESTServer) -> None:
        self._others = others
        self._data_plane = server._data_plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer, path = self._others, scope["path_params"]
        model = await find_model(self._data_plane, path)
        if model is not None and is_pipeline(model):
            root = scope.get("root_path", "")
            answer = RedirectResponse(f"{root}/#{quote(path['model_name'])}")
        await answer(scope, receive, send)


def extend(server: RESTServer) -> None:
    """Add the page to an HTTP server of MLServer, behind all routes of its models."""
    routes = server._app.router.routes
    own = [route for route in routes if isinstance(route, _PageRoute)] or _routes(server)
    routes[:] = [route for route in routes if not isinstance(route, _PageRoute)] + own
    for route in routes:
        is_route = isinstance(route, Route) and not isinstance(route.app, _DocsRoute)
        if is_route and route.path.endswith(_OF_A_MODEL) and "{model_name}" in route.path:
            route.app = _DocsRoute(route.app, server)


def _routes(server: RESTServer) -> list[BaseRoute]:
    async def pipelines(request: Request) -> Response:
        content = await live_pipelines.describe(server._data_plane, reload_problem.read())
        return Response(orjson.dumps(content), media_type="application/json", headers=_HEADERS)

    return [
        _PageRoute("/", _index, include_in_schema=False),
        _PageRoute("/page/explanation", _explanation, methods=["POST"], include_in_schema=False),
        _PageRoute("/page/{file}", _file, include_in_schema=False),
        _PageRoute("/pipelines.json", pipelines, include_in_schema=False),
    ]


async def _index(request: Request) -> Response:
    return _answer("index.html")


async def _file(request: Request) -> Response:
    return _answer(request.path_params["file"])


async def _explanation(request: Request) -> Response:
    """Answer with the picture of the explanation in the body."""
    try:
        refuse_other_types(request.headers)
        picture = await asyncio.to_thread(_picture, await request.body())
    except PayloadError as error:
        raise Answered(str(error), ErrorInfo.of(error), {"headers": request.headers}) from None
    return Response(picture, media_type="text/html", headers=_HEADERS)


def _picture(body: bytes) -> str:
    try:
        explanation = reading.read(orjson.loads(body))
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"the body is not valid JSON: {error}") from None
    if not reading.is_explanation(explanation):
        raise PayloadError(
            "the body is not an explanation; send an object with `meta` and `data`, as alibi's "
            "explainers return it"
        )
    return html.picture(explanation)


def _answer(name: str) -> Response:
    """Answer with a file of the page.

    Raises:
        HTTPException: If there is no such file.
    """
    known = _FILE.fullmatch(name)
    media_type = _TYPES.get(known[1]) if known is not None else None
    file = resources.files("tempo_runtime.page").joinpath(name)
    if media_type is None or not file.is_file():
        raise HTTPException(404)
    return Response(file.read_bytes(), media_type=media_type, headers=_HEADERS)
