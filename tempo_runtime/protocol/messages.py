"""Convert tensors to the JSON of the V2 protocol and to MLServer's types, and back.

orjson writes JSON directly from numpy's memory. It is read without pydantic: the tensors are checked when
they are converted to values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from json import loads as loads_with_nan  # NaN is not valid JSON, but many servers write it
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.memo import EncodedJsonCache
from tempo_runtime.protocol.tensor import BYTES, Tensor, json_numbers, plain_numbers, shown

if TYPE_CHECKING:
    from mlserver import types


_WHOLE = frozenset((int,))


@dataclass
class Request:
    """A V2 inference request.

    Attributes:
        tensors: The inputs.
        outputs: Names of the requested outputs; empty for the model's default.
        parameters: Parameters of the request.
        id: Id of the request.
        memo: Cache of JSON that several requests have in common.
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
        tensors: The outputs.
        parameters: Parameters of the response.
        url: URL of the server that answered; None in this process.
    """

    tensors: list[Tensor]
    parameters: dict[str, Any] = field(default_factory=dict)
    url: str | None = None

    @property
    def content_type(self) -> str | None:
        """MLServer's content type of the outputs as a whole."""
        return self.parameters.get("content_type")


def request_to_json(request: Request) -> bytes:
    """Return the body of `POST /v2/models/NAME/infer`."""
    memo = request.memo
    inputs = [tensor_to_json(tensor, memo) for tensor in request.tensors]
    return to_json(request_object(request, inputs))


def request_object(request: Request, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a request as an object for `to_json`.

    Args:
        request: The request.
        inputs: Its tensors, as objects.
    """
    body: dict[str, Any] = {"inputs": inputs}
    if request.outputs:
        body["outputs"] = [{"name": name} for name in request.outputs]
    if request.parameters:
        body["parameters"] = request.parameters
    if request.id is not None:
        body["id"] = request.id
    return body


def request_from_json(body: bytes) -> Request:
    """Read a request as `request_to_json`, or any V2 client, writes it.

    Raises:
        PayloadError: If it is not a V2 request.
    """
    return request_from_object(load_object(body))


def request_from_object(content: dict[str, Any]) -> Request:
    """Read the object of a request; raise as `request_from_json` does."""
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
    return to_json(body)


def to_json(content: dict[str, Any]) -> bytes:
    """Write an object that may contain arrays of `tensor_to_json`."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def response_from_json(body: bytes) -> Response:
    """Read a V2 server's answer.

    Raises:
        PayloadError: If it is not a V2 response.
    """
    return response_from_object(load_object(body))


def response_from_object(content: dict[str, Any]) -> Response:
    """Read the object of a V2 server's answer; raise as `response_from_json` does."""
    return Response(_tensors(content, "outputs"), _field(content, "parameters", dict, {}))


def load_object(body: bytes) -> dict[str, Any]:
    """Read the JSON object of a V2 body.

    Raises:
        PayloadError: If it is not a JSON object.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            content = loads_with_nan(body)
        except (ValueError, RecursionError):
            raise PayloadError(f"not JSON ({error}): {body[:80]!r}") from error
    if not isinstance(content, dict):
        raise PayloadError(f"not a V2 body, which must be a JSON object: {body[:80]!r}")
    return content


def tensor_from_json(item: Any) -> Tensor:
    """Read one tensor of a V2 body.

    Raises:
        PayloadError: If it is not a tensor.
    """
    if type(item) is dict:
        name, datatype, shape = item.get("name"), item.get("datatype"), item.get("shape")
        data, parameters = item.get("data"), item.get("parameters", {})
        if (
            type(name) is str
            and type(datatype) is str
            and type(shape) is list
            and data is not None
            and type(parameters) is dict
            and _WHOLE.issuperset(map(type, shape))
        ):
            return Tensor(name, datatype, shape, data, parameters)
    # The same once more, to name what is wrong.
    name, shape = _field(item, "name", str), _field(item, "shape", list)
    if not all(type(length) is int for length in shape):
        raise PayloadError(
            f"tensor {name!r} has shape {shown(shape)}; it must be a list of integers"
        )
    datatype = _field(item, "datatype", str)
    parameters = _field(item, "parameters", dict, {})
    return Tensor(name, datatype, shape, _field(item, "data", object), parameters)


def _tensors(content: dict[str, Any], key: str) -> list[Tensor]:
    return [tensor_from_json(item) for item in _field(content, key, list)]


def _field(holder: Any, key: str, expected: type, default: Any = ...) -> Any:
    """Return a field of a JSON object; null counts as missing."""
    value = holder.get(key) if isinstance(holder, dict) else None
    if value is None and default is not ...:
        return default
    if value is None or not isinstance(value, expected):
        names: dict[type, str] = {dict: "object", list: "list", str: "text"}
        name = names.get(expected, "value")
        raise PayloadError(f"not a V2 body: {key!r} must be a JSON {name}, in {shown(holder, 120)}")
    return value


def tensor_to_json(tensor: Tensor, memo: EncodedJsonCache | None = None) -> dict[str, Any]:
    """Convert a tensor to an object for orjson, which may contain numpy's arrays."""
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
    """Convert a tensor that MLServer decoded, or that one of its runtimes returned."""
    data = getattr(tensor.data, "root", tensor.data)
    datatype = getattr(tensor.datatype, "value", tensor.datatype)
    return Tensor(
        tensor.name, str(datatype), list(tensor.shape), data, mlserver_parameters(tensor.parameters)
    )


def mlserver_parameters(parameters: types.Parameters | None) -> dict[str, Any]:
    """Return parameters as a plain dict, without those that are not set."""
    if parameters is None:
        return {}
    values = {**vars(parameters), **(parameters.model_extra or {})}
    return {name: value for name, value in values.items() if value is not None}


def to_mlserver_output(tensor: Tensor, *, json: bool) -> types.ResponseOutput:
    """Convert a tensor to an output for MLServer to write.

    Args:
        tensor: The tensor.
        json: Whether MLServer writes JSON, which does not have infinity.
    """
    from mlserver import types

    data = tensor.data
    if isinstance(data, np.ndarray):
        data = plain_numbers(data) if json else data.reshape(-1).tolist()
    # The constructor is faster than model_construct, which is written in Python.
    return types.ResponseOutput(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=tensor.shape,
        data=data,
        parameters=tensor.parameters,
    )


def to_mlserver_arrays(tensor: Tensor) -> types.ResponseOutput:
    """Convert a tensor to an output that keeps its array; MLServer itself cannot write it."""
    from mlserver import types

    # Pydantic would copy the array into a list, to find that it is not one.
    return types.ResponseOutput.model_construct(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=tensor.shape,
        data=types.TensorData.model_construct(root=tensor.data),
        parameters=types.Parameters(**tensor.parameters),
    )


def to_mlserver_request(request: Request) -> types.InferenceRequest:
    """Convert a request for a runtime in this process, which receives the arrays as they are."""
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
