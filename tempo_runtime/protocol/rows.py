"""Put requests that differ only in their rows together, and split the answer again.

The rows of a tensor are along its first dimension. Some inputs do not have rows, such as a threshold or
a JSON object: requests with different values of them do not go together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np
import orjson

from tempo_runtime.protocol.codec.dataframes import FRAME, PANDAS
from tempo_runtime.protocol.codec.elements import SCALAR
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.signature import Kind, Signature
from tempo_runtime.protocol.tensor import BYTES, Tensor

_OF_ROWS = (Kind.ARRAY, Kind.STRINGS, Kind.BYTES_LIST, Kind.DATETIMES, Kind.FRAME)
_ANY = (Kind.ANY, Kind.JSON)  # JSON may be a list, but arrives as one element
_LONGEST_CONSTANT = 1024  # elements


class NotRowWise(Exception):
    """An answer that cannot be split, because it does not have a row for each row of the request."""


@dataclass(frozen=True)
class Rows:
    """The rows of a request.

    Attributes:
        count: Number of rows; at least 1.
        form: All of the request but the rows, and its id: requests of the same form go together.
        inputs: Whether each of the inputs has rows.
    """

    count: int
    form: tuple[Any, ...]
    inputs: tuple[bool, ...]


def have_rows(signature: Signature | None) -> dict[str, bool]:
    """Return which inputs of a signature have rows, of those where the signature says so."""
    specs = () if signature is None else signature.inputs
    return {spec.name: spec.kind in _OF_ROWS for spec in specs if spec.kind not in _ANY}


def answers_in_rows(signature: Signature | None) -> bool:
    """Return whether a model with this signature may answer in rows: False if its outputs have none."""
    specs = () if signature is None else signature.outputs
    return all(spec.kind in (*_OF_ROWS, Kind.ANY) for spec in specs)


def rows_of(request: Request, known: Mapping[str, bool]) -> Rows | None:
    """Return the rows of a request; None if it cannot be put together with others.

    Args:
        request: The request.
        known: Which inputs have rows, as far as that is known: see `have_rows`. Of the others, those
            with one dimension and one element count as single values if they are not alone.
    """
    tensors = request.tensors
    frame = request.parameters.get("content_type") == FRAME
    several = len(tensors) > 1 and not frame
    inputs = tuple(_has_rows(tensor, known, several) for tensor in tensors)
    lengths = {tensor.shape[0] for tensor, rows in zip(tensors, inputs) if rows}
    if len(lengths) != 1 or lengths == {0}:
        return None
    try:
        parts = tuple(_form(tensor, rows) for tensor, rows in zip(tensors, inputs))
        form = (*parts, _frozen(request.parameters), *request.outputs)
    except (_CannotJoin, TypeError):
        return None
    return Rows(lengths.pop(), form, inputs)


def join(requests: Sequence[Request], inputs: Sequence[bool]) -> Request:
    """Return one request with the rows of all, in order.

    Args:
        requests: Requests of the same form.
        inputs: Whether each of their inputs has rows.
    """
    first = requests[0]
    tensors = [
        _joined([request.tensors[position] for request in requests]) if rows else tensor
        for position, (tensor, rows) in enumerate(zip(first.tensors, inputs))
    ]
    return Request(tensors, first.outputs, first.parameters)


def single_rows(request: Request, rows: Rows) -> Iterator[Request]:
    """Yield a request for each row of a request, in order."""
    parts = split(
        Response([tensor for tensor, has in zip(request.tensors, rows.inputs) if has]),
        [1] * rows.count,
    )
    for part in parts:
        found = iter(part.tensors)
        tensors = [
            next(found) if has else tensor for tensor, has in zip(request.tensors, rows.inputs)
        ]
        yield Request(tensors, request.outputs, request.parameters)


def check_rows(response: Response, rows: int) -> None:
    """Check that an answer has a row for each row of its request.

    Raises:
        NotRowWise: If an output does not have that many.
    """
    if not response.tensors:
        raise NotRowWise("its answer has no outputs")
    for tensor in response.tensors:
        if not tensor.shape or tensor.shape[0] != rows:
            raise NotRowWise(f"its output {tensor.name!r} has shape {tensor.shape} for {rows} rows")


def layout_of(response: Response) -> list[tuple[Any, ...]]:
    """Return all that the answers of a row-wise model to requests of one form have in common."""
    return [(tensor.name, tensor.datatype, *tensor.shape[1:]) for tensor in response.tensors]


def split(response: Response, counts: Sequence[int]) -> list[Response]:
    """Split an answer into one for each request.

    Args:
        response: The answer to a request with the rows of all.
        counts: The number of rows of each.

    Raises:
        NotRowWise: If an output does not have as many rows as the request.
    """
    check_rows(response, sum(counts))
    bounds = list(pairwise(accumulate(counts, initial=0)))
    parts = [_split(tensor, bounds) for tensor in response.tensors]
    return [
        replace(response, tensors=list(tensors), parameters=dict(response.parameters))
        for tensors in zip(*parts)
    ]


class _CannotJoin(Exception):
    pass


def _has_rows(tensor: Tensor, known: Mapping[str, bool], several: bool) -> bool:
    if not tensor.shape or tensor.content_type == "json" or SCALAR in tensor.parameters:
        return False
    rows = known.get(tensor.name)
    if rows is None:
        return not (several and tensor.shape == [1])
    return rows


def _form(tensor: Tensor, rows: bool) -> tuple[Any, ...]:
    """Return all of a tensor but its rows; all of it if it has none."""
    data, shape, parameters = tensor.data, tensor.shape, tensor.parameters
    if PANDAS in parameters:
        raise _CannotJoin  # the description has the index of these rows
    if isinstance(data, np.ndarray):
        size, element = data.size, data.dtype.str
    elif tensor.datatype == BYTES and isinstance(data, list):
        size, element = len(data), ""
    else:
        raise _CannotJoin
    if size != prod(shape):  # as of texts whose declared shape is their length
        raise _CannotJoin
    form = (tensor.name, tensor.datatype, element, _frozen(parameters))
    if rows:
        return (*form, *shape[1:])
    if size > _LONGEST_CONSTANT:
        raise _CannotJoin
    value = data.tobytes() if isinstance(data, np.ndarray) else tuple(data)
    return (*form, tuple(shape), value)


def _frozen(parameters: Mapping[str, Any]) -> bytes:
    return orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS) if parameters else b""


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    data: Any
    if isinstance(first.data, np.ndarray):
        data = np.concatenate([tensor.data.reshape(tensor.shape) for tensor in tensors])
    else:
        data = [element for tensor in tensors for element in tensor.data]
    shape = [sum(tensor.shape[0] for tensor in tensors), *first.shape[1:]]
    return replace(first, shape=shape, data=data)


def _split(tensor: Tensor, bounds: Sequence[tuple[int, int]]) -> list[Tensor]:
    rows, shape, data = bounds[-1][1], tensor.shape, tensor.data
    if PANDAS in tensor.parameters:
        raise NotRowWise(
            f"its output {tensor.name!r} is a DataFrame whose index is one for all rows"
        )
    width = prod(shape[1:])
    length = len(data) if isinstance(data, Sized) else -1
    if length == rows * width:
        step = width  # a flat list
    elif length == rows:
        step = 1  # nested lists, or an array in its shape
    else:
        raise NotRowWise(f"its output {tensor.name!r} has {length} elements for the shape {shape}")
    return [
        replace(
            tensor,
            shape=[stop - start, *shape[1:]],
            data=_part(data, start * step, stop * step),
            parameters=dict(tensor.parameters),
        )
        for start, stop in bounds
    ]


def _part(data: Any, start: int, stop: int) -> Any:
    part = data[start:stop]
    # A copy, so that one request's rows do not keep those of all others in memory.
    return part.copy() if isinstance(part, np.ndarray) else part
