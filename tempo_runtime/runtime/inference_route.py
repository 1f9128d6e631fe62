"""Answer inference requests over HTTP in front of MLServer's own routes.

MLServer reads a request with FastAPI and pydantic, and checks its answer with pydantic again. For a small
request to a pipeline, that takes longer than everything else. `InferenceRoute` reads the usual requests
with orjson, and calls the pipeline as MLServer's data plane does: with its metrics, its middlewares and
its errors. It passes on every other request as it came, so that each error of validation is MLServer's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import orjson
from mlserver import MLModel
from mlserver.cloudevents import CloudEventsMiddleware
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane
from mlserver.rest.server import RESTServer
from mlserver.types import Datatype
from starlette.datastructures import Headers
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tempo_runtime.protocol.binary import EXTENSION, HEADER, MEDIA_TYPE, AskedOutputs
from tempo_runtime.protocol.messages import Request
from tempo_runtime.protocol.sizes import LARGE_BYTES
from tempo_runtime.protocol.tensor import Tensor
from tempo_runtime.runtime.answer_body import Body
from tempo_runtime.runtime.binary_http import (
    BinaryRequests,
    caches,
    has_environment,
    refuse_encoded,
)
from tempo_runtime.runtime.parallel import PipelineInWorkers, call_here_or_in_worker

T = TypeVar("T")
_PREDICT = "TempoPipelineRuntime.predict"
_FAST = "/infer"
_ROUTES = (_FAST, "/generate")
_BINARY_LENGTH = HEADER.lower()
_JSON = frozenset(("application/json", "application/json; charset=utf-8"))
_DATATYPES = frozenset(datatype.value for datatype in Datatype)
_DATA = (list, np.ndarray)
_DECLARED = "content_type"  # the parameter that MLServer declares
_ANSWER = "answer"
"""Method of a pipeline's runtime: `(Request, AskedOutputs | None) -> Body`."""


def extend(server: RESTServer) -> None:
    """Put an `InferenceRoute` in front of each inference route of a server of MLServer.

    The routes exist before the server loads any model.
    """
    data_plane, settings = server._data_plane, server._settings
    for route in server._app.routes:
        if not isinstance(route, Route) or not route.path.endswith(_ROUTES):
            continue
        if not isinstance(route.app, InferenceRoute):
            route.app = InferenceRoute(route.app, data_plane, is_fast=route.path.endswith(_FAST))
    if EXTENSION not in settings.extensions and not caches(data_plane):
        settings.extensions = [*settings.extensions, EXTENSION]


class InferenceRoute:
    """An ASGI application in front of one of MLServer's inference routes.

    Args:
        own_route: MLServer's own application, which answers all other requests.
        data_plane: MLServer's data plane.
        is_fast: Whether to call pipelines without MLServer's own models of requests.
    """

    def __init__(self, own_route: ASGIApp, data_plane: DataPlane, *, is_fast: bool) -> None:
        self._own_route = own_route
        self._data_plane = data_plane
        self._binary = BinaryRequests(data_plane)
        self._is_fast = is_fast

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = first_values(scope)
        if _BINARY_LENGTH in headers:
            refuse_encoded(Headers(scope=scope))
        messages = await received(receive)
        if messages[-1]["type"] == "http.request":  # the body is complete
            path = scope["path_params"]
            body = joined(messages)
            binary = await self._binary.read(body, Headers(scope=scope))
            if binary is not None:
                del body
                messages.clear()
                content, asked = binary
                request = request_of(content) if await self._takes(path) else None
                if request is not None:
                    await self._answer(request, headers, path, send, asked)
                    return
                response = await self._binary.answer(content, asked, headers, path)
                await response(scope, receive, send)
                return
            request = self._read(body, headers) if await self._takes(path) else None
            if request is not None:
                del body
                messages.clear()  # the body needs memory only until it is read
                await self._answer(request, headers, path, send)
                return
            del body
        await self._own_route(scope, again(messages, receive), send)

    async def _takes(self, path: Mapping[str, str]) -> bool:
        """Return whether requests with this path are for a pipeline that takes our own types."""
        if not self._is_fast or not is_standard(self._data_plane):
            return False
        model = await find_model(self._data_plane, path)
        if isinstance(model, PipelineInWorkers):
            # Workers in an environment of their own may have another version of our types.
            return is_here(model._model) and not has_environment(model)
        return is_here(model)

    def _read(self, body: bytes, headers: Mapping[str, str]) -> Request | None:
        """Return a request; None if MLServer's own route must read it."""
        if (
            "content-encoding" in headers
            or headers.get("content-type", "application/json") not in _JSON
        ):
            return None
        # Not in a thread, even if it is large: orjson would keep the interpreter from all others anyway,
        # while the bodies of more and more requests would wait.
        request = read_request(body)
        if request is not None and len(body) > LARGE_BYTES:
            for tensor in request.tensors:
                tensor.pack()
        return request

    async def _answer(
        self,
        request: Request,
        headers: dict[str, str],
        path: Mapping[str, str],
        send: Send,
        asked: AskedOutputs | None = None,
    ) -> None:
        async def answer(model: MLModel, id_: str, seen: dict[str, str]) -> Body:
            request.id, request.parameters["headers"] = id_, seen
            if isinstance(model, PipelineInWorkers):
                for tensor in request.tensors:
                    tensor.pack()  # arrays are sent to a worker in less time
            body: Body = await call_here_or_in_worker(model, _ANSWER, request, asked)
            return body

        (body, length), further = await infer(self._data_plane, request.id, headers, path, answer)
        if length is None:
            await respond(send, body, further)
        else:
            further = {**further, HEADER: str(length)}
            await respond(send, body, further, media_type=MEDIA_TYPE)


async def infer(
    data_plane: DataPlane,
    id_: str | None,
    headers: dict[str, str],
    path: Mapping[str, str],
    answer: Callable[[MLModel, str, dict[str, str]], Awaitable[T]],
) -> tuple[T, Mapping[str, str]]:
    """Let a pipeline answer a request, as `DataPlane.infer` does.

    Args:
        data_plane: MLServer's data plane.
        id_: Id of the request; None for a new one.
        headers: Headers of the request.
        path: The model's name, and its version if there is one.
        answer: Called with the model, the id, and the headers that the model is to see.

    Returns:
        What `answer` returns, and the headers of the answer.
    """
    name, version = path["model_name"], path.get("model_version")
    async with data_plane._infer_contextmanager(name, version) as model:
        seen = seen_by_middlewares(id_, headers)
        data_plane._prepare_payload(seen, model)
        answered = await answer(model, seen.id, seen.parameters.headers)
        seen = seen_by_middlewares(seen.id, {})
        data_plane._inference_middleware.response_middleware(seen, model.settings)
        return answered, seen.parameters.headers


def is_here(model: MLModel | None) -> bool:
    """Return whether a model is a pipeline in this process that answers requests itself."""
    # By the method, since MLServer may import the class again. A derived one may do more in `predict`.
    predict = getattr(model, "predict", None)
    named, wrapped = getattr(predict, "__qualname__", None), hasattr(predict, "__wrapped__")
    return named == _PREDICT and not wrapped


async def find_model(data_plane: DataPlane, path: Mapping[str, str]) -> MLModel | None:
    """Return a model of a server; None if the server does not have it."""
    try:
        return await data_plane._model_registry.get_model(
            path["model_name"], path.get("model_version")
        )
    except MLServerError:
        return None


def is_standard(data_plane: DataPlane) -> bool:
    """Return whether a data plane does nothing that `infer` does not do."""
    middlewares = data_plane._inference_middleware._middlewares
    return not caches(data_plane) and all(
        type(middleware) is CloudEventsMiddleware for middleware in middlewares
    )


def read_request(body: bytes) -> Request | None:
    """Read the JSON of a request; None unless pydantic would take it as it is.

    pydantic converts some values, such as a shape of `["2"]`, and has its own errors for others: it
    reads these requests.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return request_of(content)


def request_of(content: Any) -> Request | None:
    """Return the request in an object of JSON, whose tensors may have arrays; see `read_request`."""
    if type(content) is not dict:
        return None
    inputs, outputs, id_ = content.get("inputs"), content.get("outputs"), content.get("id")
    parameters = _parameters(content)
    if (
        type(inputs) is not list
        or not (id_ is None or type(id_) is str)
        or parameters is None
        or not (outputs is None or (type(outputs) is list and all(map(_is_output, outputs))))
    ):
        return None
    tensors = []
    for item in inputs:
        tensor = _tensor(item)
        if tensor is None:
            return None
        tensors.append(tensor)
    return Request(tensors, [output["name"] for output in outputs or ()], parameters, id_)


async def respond(
    send: Send, body: bytes, headers: Mapping[str, str], media_type: str = "application/json"
) -> None:
    """Send a body with the status 200."""
    raw = [(b"content-length", b"%d" % len(body)), (b"content-type", media_type.encode())]
    raw += [(name.lower().encode("latin-1"), headers[name].encode("latin-1")) for name in headers]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def first_values(scope: Scope) -> dict[str, str]:
    """Return the headers of a request as MLServer hands them to models: the first value of each."""
    pairs = reversed(scope["headers"])  # of two with one name, the first is set last
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}


async def received(receive: Receive) -> list[Message]:
    """Return the messages of a request's body."""
    messages = [await receive()]
    while messages[-1]["type"] == "http.request" and messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


def again(messages: list[Message], receive: Receive) -> Receive:
    """Return a function that receives the same messages again, and then further ones."""
    messages.reverse()

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def joined(messages: list[Message]) -> bytes:
    """Return the body in the messages of a request."""
    if len(messages) == 1:  # then the body is not copied
        return bytes(messages[0].get("body", b""))
    return b"".join(message.get("body", b"") for message in messages)


def seen_by_middlewares(id_: str | None, headers: dict[str, str]) -> Any:
    """Return what MLServer's middlewares see and change of a request or an answer."""
    return SimpleNamespace(id=id_, parameters=SimpleNamespace(headers=headers))


def _tensor(item: Any) -> Tensor | None:
    if type(item) is not dict:
        return None
    name, datatype, shape = item.get("name"), item.get("datatype"), item.get("shape")
    data, parameters = item.get("data"), _parameters(item)
    if (
        type(name) is not str
        or type(datatype) is not str
        or datatype not in _DATATYPES
        or type(shape) is not list
        or type(data) not in _DATA
        or parameters is None
    ):
        return None
    for length in shape:
        if type(length) is not int:
            return None
    return Tensor(name, datatype, shape, data, parameters)


def _parameters(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return the parameters of a request or a tensor; None if MLServer must read them."""
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    # MLServer warns about headers in the body.
    if type(parameters) is not dict or "headers" in parameters:
        return None
    content_type = parameters.get(_DECLARED)
    if content_type is not None and type(content_type) is not str:
        return None
    return {name: value for name, value in parameters.items() if value is not None}


def _is_output(item: Any) -> bool:
    return type(item) is dict and type(item.get("name")) is str and _parameters(item) is not None
