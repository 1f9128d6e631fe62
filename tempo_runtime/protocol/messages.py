"""Tensors <-> the V2 protocol's JSON, and <-> MLServer's own types.

JSON is written by orjson straight from numpy's memory and read without pydantic: the tensors are
checked when they become values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from json import loads as loads_with_nan  # bare NaN is not JSON, and many servers write it
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.memo import EncodedJsonCache
from tempo_runtime.protocol.tensor import BYTES, Tensor, json_numbers, plain_numbers, shown

if TYPE_CHECKING:
    from mlserver import types


@dataclass
class Request:
    """A V2 inference request.

    Attributes:
        tensors: Its inputs.
        outputs: Names of the outputs asked for; empty for the model's default.
        parameters: Its own parameters.
        id: Its id.
        memo: What it may have in common with other requests.
    """

    tensors: list[Tensor]
    outputs: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    id: str | None = None
    memo: EncodedJsonCache | None = field(default=None, compare=False)


@dataclass
class Response:
    """A V2 inference response.

    Attributes:
        tensors: Its outputs.
        parameters: Its own parameters.
        url: Where it came from; None in this process.
    """

    tensors: list[Tensor]
    parameters: dict[str, Any] = field(default_factory=dict)
    url: str | None = None

    @property
    def content_type(self) -> str | None:
        """MLServer's word for what all outputs together are."""
        return self.parameters.get("content_type")


def request_to_json(request: Request) -> bytes:
    """Return the body of `POST /v2/models/NAME/infer`."""
    memo = request.memo
    body: dict[str, Any] = {"inputs": [tensor_to_json(tensor, memo) for tensor in request.tensors]}
    if request.outputs:
        body["outputs"] = [{"name": name} for name in request.outputs]
    if request.parameters:
        body["parameters"] = request.parameters
    if request.id is not None:
        body["id"] = request.id
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def request_from_json(body: bytes) -> Request:
    """Read what `request_to_json`, or any V2 client, wrote.

    Raises:
        PayloadError: If it is not a V2 request.
    """
    content = load_object(body)
    return Request(
        tensors=_tensors(content, "inputs"),
        outputs=[_field(output, "name", str) for output in _field(content, "outputs", list, [])],
        parameters=_field(content, "parameters", dict, {}),
        id=_field(content, "id", str, None),
    )


def response_to_json(response: Response, model: str) -> bytes:
    """Return the body of an answer, as a V2 server writes it."""
    body: dict[str, Any] = {
        "model_name": model,
        "outputs": [tensor_to_json(tensor) for tensor in response.tensors],
    }
    if response.parameters:
        body["parameters"] = response.parameters
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def response_from_json(body: bytes) -> Response:
    """Read a V2 server's answer.

    Raises:
        PayloadError: If it is not a V2 response.
    """
    content = load_object(body)
    return Response(_tensors(content, "outputs"), _field(content, "parameters", dict, {}))


def load_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object, as any V2 body is one.

    Raises:
        PayloadError: If it is not one.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            content = loads_with_nan(body)
        except (ValueError, RecursionError):
            raise PayloadError(f"not JSON ({error}): {body[:80]!r}") from error
    if not isinstance(content, dict):
        raise PayloadError(f"not a V2 body, which is a JSON object: {body[:80]!r}")
    return content


def tensor_from_json(item: Any) -> Tensor:
    """Read one tensor of a V2 body.

    Raises:
        PayloadError: If it is not one.
    """
    name, shape = _field(item, "name", str), _field(item, "shape", list)
    if not all(type(length) is int for length in shape):
        raise PayloadError(f"tensor {name!r} says shape {shown(shape)}; it is a list of integers")
    datatype = _field(item, "datatype", str)
    parameters = _field(item, "parameters", dict, {})
    return Tensor(name, datatype, shape, _field(item, "data", object), parameters)


def _tensors(content: dict[str, Any], key: str) -> list[Tensor]:
    return [tensor_from_json(item) for item in _field(content, key, list)]


def _field(holder: Any, key: str, kind: type, default: Any = ...) -> Any:
    """Return a field of a JSON object; one that is null is not there."""
    value = holder.get(key) if isinstance(holder, dict) else None
    if value is None and default is not ...:
        return default
    if value is None or not isinstance(value, kind):
        names: dict[type, str] = {dict: "object", list: "list", str: "text"}
        what = names.get(kind, "value")
        raise PayloadError(f"not a V2 body: {key!r} must be a JSON {what}, in {shown(holder, 120)}")
    return value


def tensor_to_json(tensor: Tensor, memo: EncodedJsonCache | None = None) -> dict[str, Any]:
    """Convert a tensor to an object that orjson writes, with numpy's arrays in it."""
    data = tensor.data
    if isinstance(data, np.ndarray):
        data = json_numbers(data)
        if memo is not None and isinstance(data, np.ndarray):
            data = memo.json(data)
    elif tensor.datatype == BYTES:
        data = [element.decode() if isinstance(element, bytes) else element for element in data]
    body: dict[str, Any] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
        "data": data,
    }
    if tensor.parameters:
        body["parameters"] = tensor.parameters
    return body


# -- MLServer's types ------------------------------------------------------------------------------


def from_mlserver(tensor: types.RequestInput | types.ResponseOutput) -> Tensor:
    """Return a tensor that MLServer decoded, or that one of its runtimes answered."""
    data = getattr(tensor.data, "root", tensor.data)
    datatype = getattr(tensor.datatype, "value", tensor.datatype)
    return Tensor(
        tensor.name, str(datatype), list(tensor.shape), data, mlserver_parameters(tensor.parameters)
    )


def mlserver_parameters(parameters: types.Parameters | None) -> dict[str, Any]:
    """Parameters as a plain dict, without the ones that were never set."""
    if parameters is None:
        return {}
    given = {**vars(parameters), **(parameters.model_extra or {})}
    return {name: value for name, value in given.items() if value is not None}


def to_mlserver_output(tensor: Tensor, *, json: bool) -> types.ResponseOutput:
    """Return a tensor that MLServer will write.

    Args:
        tensor: The tensor.
        json: Whether it will be written as JSON, which has no word for infinity.
    """
    from mlserver import types

    data = tensor.data
    if isinstance(data, np.ndarray):
        data = plain_numbers(data) if json else data.reshape(-1).tolist()
    # Not model_construct: that is Python, and takes longer than pydantic's checks and copy.
    return types.ResponseOutput(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=tensor.shape,
        data=data,
        parameters=tensor.parameters,
    )


def to_mlserver_request(request: Request) -> types.InferenceRequest:
    """Return a request for a runtime in this process; arrays are handed over as they are."""
    from mlserver import types

    return types.InferenceRequest.model_construct(
        id=request.id,
        parameters=types.Parameters(**request.parameters),
        inputs=[
            types.RequestInput.model_construct(
                name=tensor.name,
                datatype=tensor.datatype,
                shape=tensor.shape,
                data=types.TensorData.model_construct(root=tensor.data),
                parameters=types.Parameters(**tensor.parameters),
            )
            for tensor in request.tensors
        ],
        outputs=[types.RequestOutput(name=name) for name in request.outputs] or None,
    )
