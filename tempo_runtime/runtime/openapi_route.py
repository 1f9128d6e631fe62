"""Serve the OpenAPI document of the pipelines of a server, which knows their arguments and results.

MLServer's own document describes V2 for any model. It stays at `/v2/docs/dataplane.json`, and at the
address of a model that is not a pipeline.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from mlserver import MLModel
from mlserver.rest.server import RESTServer
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tempo_runtime import __version__
from tempo_runtime.protocol.openapi import DescribedPipeline, document
from tempo_runtime.runtime.inference_route import find_model
from tempo_runtime.runtime.parallel import PipelineInWorkers, is_pipeline

PATH = "/openapi.json"
_OF_A_MODEL = "/docs/dataplane.json"
_DESCRIBED = "described"
"""Method of a pipeline's runtime, called here or in a worker: `() -> DescribedPipeline`."""


def extend(server: RESTServer) -> None:
    """Serve the documents from an HTTP server of MLServer, unless it does already."""
    routes = server._app.router.routes
    for route in routes:
        if not isinstance(route, Route) or isinstance(route.app, OpenApiRoute):
            continue
        if route.path == PATH or (route.path.endswith(_OF_A_MODEL) and "{" in route.path):
            route.app = OpenApiRoute(route.app, server)


class OpenApiRoute:
    """An ASGI application that answers with the document of one pipeline, or of all.

    Args:
        others: MLServer's own application, for a model that is not a pipeline.
        server: MLServer's HTTP server.
    """

    def __init__(self, others: ASGIApp, server: RESTServer) -> None:
        self._others = others
        self._data_plane = server._data_plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path_params", {})
        if "model_name" in path:
            model = await find_model(self._data_plane, path)
            models = [model] if model is not None and is_pipeline(model) else []
        else:
            loaded = await self._data_plane._model_registry.get_models()
            models = [model for model in loaded if is_pipeline(model)]
        if "model_name" in path and not models:
            await self._others(scope, receive, send)
            return
        described = await asyncio.gather(*map(_described, models))
        content = document(sorted(described, key=lambda pipeline: pipeline.name), __version__)
        root = Request(scope).scope.get("root_path", "")
        if root:
            content["servers"] = [{"url": root}]
        await Response(orjson.dumps(content), media_type="application/json")(scope, receive, send)


async def _described(model: MLModel) -> DescribedPipeline:
    if isinstance(model, PipelineInWorkers):
        described: Any = await model._send(_DESCRIBED)
    else:
        described = await getattr(model, _DESCRIBED)()
    assert isinstance(described, DescribedPipeline)
    return described
