"""Write the answer of a pipeline over HTTP, as the bytes of its body."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from mlserver import MLModel

from tempo_runtime.protocol.binary import AskedOutputs, response_to_body
from tempo_runtime.protocol.messages import Response, to_json
from tempo_runtime.protocol.tensor import Tensor, json_numbers

Body = tuple[bytes, int | None]
"""A body, and the length of its JSON if binary data follows."""

_SMALL = 50  # elements
# The parameter that MLServer declares; it writes it before all others.
_DECLARED = "content_type"


def answer_body(
    model: MLModel, id_: str | None, response: Response, asked: AskedOutputs | None
) -> Body:
    """Write an answer; without binary data byte by byte as MLServer would.

    Args:
        model: The pipeline.
        id_: Id of the request.
        response: The answer.
        asked: The outputs that the request asks for as binary data; None if it does not.
    """
    head: dict[str, Any] = {"model_name": model.name}
    if model.version is not None:
        head["model_version"] = model.version
    head["id"] = id_
    head["parameters"] = response.parameters
    if asked is None:
        return to_json({**head, "outputs": [_output(tensor) for tensor in response.tensors]}), None
    return response_to_body(head, response.tensors, asked)


def _numbers(array: np.ndarray[Any, Any]) -> Any:
    """Return an array for orjson to write as MLServer writes its elements."""
    if array.size <= _SMALL:  # then each call of numpy takes longer than a list
        elements = array.ravel().tolist()
        if array.dtype.kind != "f" or math.isfinite(sum(elements)):
            return elements
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        array = array.astype(np.float64)  # as Python's float
    return json_numbers(array)


def _output(tensor: Tensor) -> dict[str, Any]:
    data = tensor.data
    if isinstance(data, np.ndarray):
        data = _numbers(data)
    else:
        data = [item.decode() if isinstance(item, bytes) else item for item in data]
    parameters = tensor.parameters
    if _DECLARED in parameters:  # a declared field comes first
        parameters = {_DECLARED: parameters[_DECLARED], **parameters}
    return {
        "name": tensor.name,
        "shape": tensor.shape,
        "datatype": tensor.datatype,
        "parameters": parameters,
        "data": data,
    }
