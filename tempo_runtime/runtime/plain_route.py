"""Answer calls in plain JSON: `POST /v2/models/NAME/predict`, with the arguments by name.

The routes stand beside those of MLServer, and call pipelines through the same function as
`runtime/inference_route`: with MLServer's metrics, the limits of the pipeline, and the same errors.
`POST /v2/models/NAME/predict_stream` answers with server-sent events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl

import orjson
from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane
from mlserver.rest.server import RESTServer
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tempo_runtime.errors import PayloadError
from tempo_runtime.execution.runner import Progress
from tempo_runtime.protocol.error_details import KEY, ErrorInfo, unmarked
from tempo_runtime.protocol.plain import PlainCall
from tempo_runtime.protocol.tensor import shown
from tempo_runtime.request.budget import (
    ALLOW_INCOMPLETE_ANCHORS,
    BEST_SO_FAR,
    MAX_CALLS,
    MAX_ROWS,
)
from tempo_runtime.request.context import SEED, TIMEOUT
from tempo_runtime.runtime.error_mapping import Answered
from tempo_runtime.runtime.inference_route import (
    find_model,
    first_values,
    infer,
    is_here,
    joined,
    received,
    respond,
    seen_by_middlewares,
)
from tempo_runtime.runtime.own_task import in_own_task
from tempo_runtime.runtime.parallel import (
    PipelineInWorkers,
    call_here_or_in_worker,
    name_current_span,
)

PREDICT, PREDICT_STREAM = "predict", "predict_stream"
_PATHS = ("/v2/models/{model_name}/", "/v2/models/{model_name}/versions/{model_version}/")
_ANSWER = "answer_plain"
"""Method of a pipeline's runtime, called here or in a worker: `PlainCall -> bytes`."""
_STREAM = "stream_plain"
"""The same for streams: `PlainCall -> AsyncGenerator[Progress | bytes, None]`."""

_LIMITS = (TIMEOUT, SEED, MAX_CALLS, MAX_ROWS, ALLOW_INCOMPLETE_ANCHORS, BEST_SO_FAR)
_FLAGS = {"true": True, "false": False}


def extend(server: RESTServer) -> None:
    """Add the routes to an HTTP server of MLServer, unless it has them."""
    routes = server._app.router.routes
    if any(isinstance(route, Route) and isinstance(route.app, PlainRoute) for route in routes):
        return
    for path in _PATHS:
        for name in (PREDICT, PREDICT_STREAM):
            route = PlainRoute(server._data_plane, streams=name == PREDICT_STREAM)
            routes.append(Route(path + name, route, methods=["POST"], include_in_schema=False))


class PlainRoute:
    """An ASGI application that answers calls in plain JSON.

    Args:
        data_plane: MLServer's data plane.
        streams: Whether to answer with server-sent events.
    """

    def __init__(self, data_plane: DataPlane, *, streams: bool) -> None:
        self._data_plane = data_plane
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        headers, path = first_values(scope), scope["path_params"]
        try:
            refuse_other_types(headers)
            parameters = _limits(scope["query_string"])
        except PayloadError as error:
            raise Answered(str(error), ErrorInfo.of(error), {"headers": headers}) from None
        await self._refuse_others(path)
        messages = await received(receive)
        if messages[-1]["type"] != "http.request":  # the client has left
            return
        call = PlainCall(joined(messages), parameters, headers.get("x-request-id"))
        messages.clear()
        if not self._streams:
            await respond(send, *await self._answer(call, headers, path))
            return
        events = in_own_task(self._events(call, headers, path))
        async with aclosing(events):
            # An error before the first item is answered with its own status.
            first = await _unless_left(anext(events, b""), receive)
            if first is None:
                return
            response = StreamingResponse(
                _all(first, events),
                media_type="text/event-stream",
                headers={"cache-control": "no-cache"},
            )
            await response(scope, receive, send)

    async def _answer(
        self, call: PlainCall, headers: dict[str, str], path: Mapping[str, str]
    ) -> tuple[bytes, Mapping[str, str]]:
        async def answer(model: MLModel, id_: str, seen: dict[str, str]) -> bytes:
            call.id, call.parameters["headers"] = id_, seen
            body: bytes = await call_here_or_in_worker(model, _ANSWER, call)
            return body

        return await infer(self._data_plane, call.id, headers, path, answer)

    async def _events(
        self, call: PlainCall, headers: dict[str, str], path: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        name, version = path["model_name"], path.get("model_version")
        async with self._data_plane._infer_contextmanager(name, version) as model:
            seen = seen_by_middlewares(call.id, headers)
            self._data_plane._prepare_payload(seen, model)
            call.id, call.parameters["headers"] = seen.id, seen.parameters.headers
            async with aclosing(_stream_here_or_in_worker(model, call)) as items:
                async for item in items:
                    if isinstance(item, Progress):
                        progress = {"calls": item.calls, "rows": item.rows, **item.news}
                        yield _event(orjson.dumps(progress), "progress")
                    else:
                        yield _event(item)

    async def _refuse_others(self, path: Mapping[str, str]) -> None:
        """Refuse a model that is not a pipeline, whose arguments only V2 can state."""
        model = await find_model(self._data_plane, path)
        # A class that is derived from ours may do more in `predict`, in workers too.
        own = model._model if isinstance(model, PipelineInWorkers) else model
        if own is None or is_here(own):
            return
        name = path["model_name"]
        raise MLServerError(
            f"model {name!r} is not a pipeline, so it has no arguments by name; send V2 requests to "
            f"/v2/models/{name}/infer",
            404,
        )


def _stream_here_or_in_worker(model: MLModel, call: PlainCall) -> AsyncGenerator[Any, None]:
    if isinstance(model, PipelineInWorkers):
        name_current_span(call)
        return model.stream(_STREAM, call)
    stream: AsyncGenerator[Any, None] = getattr(model, _STREAM)(call)
    return stream


async def _unless_left(item: Awaitable[bytes], receive: Receive) -> bytes | None:
    """Await an item; cancel it, and return None, if the client leaves first."""
    waiting, left = asyncio.ensure_future(item), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({waiting, left}, return_when=asyncio.FIRST_COMPLETED)
        return await waiting if waiting.done() else None
    finally:
        left.cancel()
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})


async def _all(first: bytes, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield all events; an error becomes the last one."""
    yield first
    try:
        async for event in events:
            yield event
    except MLServerError as error:
        message, info = unmarked(str(error))
        content: dict[str, Any] = {"error": message, "status": error.status_code}
        if info is not None:
            content[KEY] = info.to_json()
        yield _event(orjson.dumps(content), "error")


def _event(data: bytes, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + data + b"\n\n"


def refuse_other_types(headers: Mapping[str, str]) -> None:
    """Refuse a body that is not stated to be JSON, as forms of other sites would send it.

    Raises:
        PayloadError: If it is not, or is compressed.
    """
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    problem = None
    if media_type != "application/json":
        stated = f"is {media_type!r:.60}" if media_type else "has no content type"
        problem = f"{stated}; send JSON, with the header content-type: application/json"
    elif headers.get("content-encoding", "identity") != "identity":
        problem = f"is compressed ({headers['content-encoding']!r:.40}); send it as it is"
    if problem is not None:
        error = PayloadError(f"the body {problem}")
        error.status = 415
        raise error


def _limits(query: bytes) -> dict[str, Any]:
    """Return the parameters of a request in its URL: the body has only arguments."""
    parameters: dict[str, Any] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in _LIMITS:
            raise PayloadError(
                f"parameter {shown(name)} of the URL is unknown; expected: {', '.join(_LIMITS)}"
            )
        parameters[name] = _FLAGS.get(value, value)
    return parameters
