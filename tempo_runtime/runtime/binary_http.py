"""Take and answer V2's binary tensor data over HTTP, for all models of an MLServer.

MLServer only reads JSON. `runtime/inference_route` lets `BinaryRequests` read the requests that have or
want binary data, and answer those to models other than pipelines of this process: it hands them to
MLServer's data plane as MLServer's own route does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from fastapi.exceptions import RequestValidationError
from mlserver import MLModel
from mlserver.handlers import DataPlane
from mlserver.types import InferenceRequest, Parameters, TensorData
from mlserver.utils import extract_headers, insert_headers
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.responses import Response

from tempo_runtime.errors import PayloadError
from tempo_runtime.execution.frameworks import SERVED_SKLEARN
from tempo_runtime.protocol.binary import (
    HEADER,
    MEDIA_TYPE,
    AskedOutputs,
    attach_inputs,
    is_slow,
    response_to_body,
    split_body,
)
from tempo_runtime.protocol.error_details import ErrorInfo
from tempo_runtime.protocol.messages import from_mlserver
from tempo_runtime.protocol.sizes import LARGE_BYTES, convert, is_large
from tempo_runtime.runtime.error_mapping import Answered
from tempo_runtime.runtime.parallel import is_pipeline

ARRAYS = "binary_data_arrays"
"""Parameter of a request whose answer may have arrays, because `BinaryRequests` writes it."""

# Its value: neither JSON nor gRPC has bytes as a parameter, so no client can set it.
_FROM_ROUTE = b"route"

_MARK = b"binary_data"  # in each JSON request that asks for binary outputs
# They read numbers with MLServer's codecs, which take arrays as well as lists.
_TAKE_ARRAYS = frozenset(
    (
        "mlserver_sklearn.SKLearnModel",
        SERVED_SKLEARN,
        "mlserver_xgboost.XGBoostModel",
        "mlserver_lightgbm.LightGBMModel",
    )
)


class BinaryRequests:
    """Answers the requests to one server that have binary data, or ask for it.

    Args:
        data_plane: MLServer's data plane.
    """

    def __init__(self, data_plane: DataPlane) -> None:
        self._data_plane = data_plane

    async def read(
        self, body: bytes, headers: Headers
    ) -> tuple[dict[str, Any], AskedOutputs] | None:
        """Return a request's JSON object with its tensors, and the outputs that it asks for.

        Args:
            body: Its whole body.
            headers: Its headers.

        Returns:
            None if it has no binary data, and does not ask for it.
        """
        lengths = headers.getlist(HEADER)
        # A page of another site can send JSON as text without asking first, but not the header.
        if not lengths and not (_MARK in body and _is_json(headers)):
            return None
        try:
            content = await self._content(body, lengths)
            asked = AskedOutputs.take(content) if content is not None else AskedOutputs()
        except PayloadError as error:
            raise _refusal(error, headers) from None
        if content is None or not (lengths or asked):
            return None
        return content, asked

    async def _content(self, body: bytes, lengths: list[str]) -> dict[str, Any] | None:
        """Return a request's JSON object with its tensors; None if it does not ask for binary data."""
        if lengths:
            if caches(self._data_plane):
                raise PayloadError(
                    "this server caches answers (cache_enabled), by the JSON of requests; send JSON "
                    f"without the header {HEADER}"
                )
            is_large_json = len(body) > LARGE_BYTES and len(lengths[0]) >= len(f"{LARGE_BYTES}")
            content, raw = await convert(is_large_json, split_body, body, lengths)
            await convert(is_slow(content, raw), attach_inputs, content, raw)
            return content
        if caches(self._data_plane):
            return None
        try:
            asking = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        return asking if isinstance(asking, dict) else None

    async def answer(
        self,
        content: dict[str, Any],
        asked: AskedOutputs,
        headers: Mapping[str, str],
        path: Mapping[str, str],
    ) -> Response:
        """Answer a request through MLServer's own models of it.

        Args:
            content: Its JSON object with its tensors.
            asked: The outputs that it asks for.
            headers: Its headers.
            path: The model's name, and its version if there is one.
        """
        name, version = path["model_name"], path.get("model_version")
        model = await self._data_plane._model_registry.get_model(name, version)
        request = _request(content, model)
        insert_headers(request, dict(headers))
        answer = await self._data_plane.infer(request, name, version)
        own_headers = extract_headers(answer) or {}
        tensors = [from_mlserver(output) for output in answer.outputs]
        head = answer.model_dump(exclude={"outputs"})
        # Binary arrays are only copied.
        slow = [
            tensor.data
            for tensor in tensors
            if tensor.name not in asked or not isinstance(tensor.data, np.ndarray)
        ]
        body, length = await convert(is_large(slow), response_to_body, head, tensors, asked)
        if length is None:
            return Response(body, headers=own_headers, media_type="application/json")
        return Response(
            body, headers={**own_headers, HEADER.lower(): str(length)}, media_type=MEDIA_TYPE
        )


def _request(content: dict[str, Any], model: MLModel) -> InferenceRequest:
    """Return MLServer's request; raise as its own route does if it is not one."""
    inputs = content.get("inputs")
    tensors = (
        [item for item in inputs if isinstance(item, dict)] if isinstance(inputs, list) else []
    )
    elements = [item.get("data") for item in tensors]
    for item in tensors:
        if item.get("data") is not None:
            item["data"] = []  # pydantic would copy an array into a list
    try:
        request = InferenceRequest.model_validate(content)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in errors]
        ) from None
    own_process = not has_environment(model)
    as_arrays = own_process and (is_pipeline(model) or _takes_arrays(model))
    for tensor, data in zip(request.inputs, elements):
        if isinstance(data, np.ndarray) and not as_arrays:
            data = data.tolist()
        elif tensor.datatype == "BYTES" and not is_pipeline(model):
            data = _as_json_has_it(data)
        tensor.data = TensorData.model_construct(root=data)
    if own_process and is_pipeline(model):
        parameters = request.parameters or Parameters()
        request.parameters = parameters.model_copy(update={ARRAYS: _FROM_ROUTE})
    elif request.parameters is not None:
        (request.parameters.model_extra or {}).pop(ARRAYS, None)
    return request


def answers_arrays(parameters: Mapping[str, Any]) -> bool:
    """Return whether a request came through `BinaryRequests`, which takes arrays, by its parameters."""
    return bool(parameters.get(ARRAYS) == _FROM_ROUTE)


def _takes_arrays(model: MLModel) -> bool:
    settings = model.settings
    batches = settings.max_batch_size > 1 and settings.max_batch_time > 0  # it merges lists only
    return settings.implementation_ in _TAKE_ARRAYS and not batches


def has_environment(model: MLModel) -> bool:
    """Return whether a model runs in an environment that may have another version of numpy."""
    parameters = model.settings.parameters
    return parameters is not None and bool(
        parameters.environment_tarball or parameters.environment_path
    )


def _as_json_has_it(elements: Any) -> Any:
    """Return bytes as text, if they are: MLServer's array codecs expect that."""
    if not isinstance(elements, list):  # of a request in JSON
        return elements
    try:
        return [item.decode() if isinstance(item, bytes) else item for item in elements]
    except UnicodeDecodeError:
        return elements


def refuse_encoded(headers: Headers) -> None:
    """Refuse a body with binary data that does not come as it is."""
    problem = None
    if "content-length" not in headers:
        problem = "has no Content-Length; send it whole, and not in chunks"
    elif headers.get("content-encoding", "identity") != "identity":
        problem = f"is compressed ({headers['content-encoding']!r:.40}); send it as it is"
    if problem is not None:
        raise _refusal(PayloadError(f"a body with the header {HEADER} {problem}"), headers)


def _is_json(headers: Headers) -> bool:
    media_type = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _refusal(error: PayloadError, headers: Headers) -> Answered:
    error.status = (
        400  # it is not a request at all, while 422 is for one that does not fit the model
    )
    return Answered(str(error), ErrorInfo.of(error), {"headers": headers})


def caches(data_plane: DataPlane) -> bool:
    """Return whether a server keeps answers, by the JSON of requests."""
    return data_plane._get_response_cache() is not None
