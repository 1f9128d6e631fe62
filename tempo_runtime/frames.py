"""DataFrames <-> tensors.

They are bound with a whole call and not by a codec, because each of their columns is a tensor.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np

from tempo_runtime import codec
from tempo_runtime.errors import PayloadError
from tempo_runtime.signature import Kind, TensorSpec
from tempo_runtime.tensor import BYTES, Tensor, refuse_twice

FRAME = "pd"  # MLServer's content type for a request or response that is one DataFrame
_LISTS: dict[Kind, Any] = {Kind.STRINGS: list[str], Kind.BYTES_LIST: list[bytes]}


def encode_frame(frame: Any) -> list[Tensor]:
    """The tensors of a DataFrame, one a column."""
    if codec.kind_of(frame) is not Kind.FRAME:
        raise PayloadError(f"a DataFrame is expected, and a {type(frame).__name__} was given")
    tensors = [_encode_column(str(name), column) for name, column in frame.items()]
    refuse_twice([tensor.name for tensor in tensors])
    return tensors


def decode_frame(tensors: list[Tensor]) -> Any:
    """The DataFrame whose columns the tensors are."""
    import pandas

    refuse_twice([tensor.name for tensor in tensors])
    columns = {tensor.name: pandas.Series(_column(tensor)) for tensor in tensors}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise PayloadError(f"the columns differ in length: {lengths}; send the same number of rows")
    return pandas.DataFrame(columns)


def _encode_column(name: str, column: Any) -> Tensor:
    if getattr(column.dtype, "tz", None) is not None:
        # One zone: pandas cannot read a column of several offsets, as summer time makes.
        column = column.dt.tz_convert("UTC")
    shape = [len(column), 1]
    if column.dtype.kind == "M":
        moments = [moment.isoformat().encode() for moment in column]
        return Tensor(name, BYTES, shape, moments, {"content_type": "datetime"})
    if column.hasnans and not isinstance(column.dtype, np.dtype):
        column = column.astype(object)  # numpy has no missing integer, and would make it a float
    array = column.to_numpy()
    if array.dtype.kind in "biuf":
        return codec.encode(TensorSpec(name, Kind.ARRAY), array.reshape(shape))
    values = array.tolist()
    kind = codec.kind_of(values) if values else Kind.STRINGS
    if kind in _LISTS:
        return codec.encode(TensorSpec(name, kind, _LISTS[kind]), values)
    # MLServer's content type for a column of anything: JSON, an element at a time.
    try:
        data = [json.dumps(_plain(element)).encode() for element in array]
    except (TypeError, ValueError) as error:
        raise PayloadError(
            f"column {name!r} cannot travel: {error}; convert it to numbers, text or datetime64"
        ) from error
    return Tensor(name, BYTES, shape, data, {"content_type": "pd_json"})


def _plain(element: Any) -> Any:
    import pandas

    if element is pandas.NA:
        return None
    if isinstance(element, np.generic) and element.dtype.kind in "biufU":
        return element.item()
    return element


def _column(tensor: Tensor) -> Any:
    import pandas

    if prod(tensor.shape[1:]) != 1:
        raise PayloadError(f"column {tensor.name!r} must have shape [N, 1], not {tensor.shape}")
    if tensor.datatype != BYTES:
        return tensor.numbers().reshape(-1)
    kind = Kind.BYTES_LIST if tensor.content_type == "base64" else Kind.STRINGS
    values = codec.decode(TensorSpec(tensor.name, kind, _LISTS[kind]), tensor)
    try:
        if tensor.content_type == "datetime":
            return pandas.to_datetime(values, format="ISO8601")
        if tensor.content_type == "pd_json":
            values = [json.loads(element) for element in values]
    except (ValueError, RecursionError) as error:
        raise PayloadError(
            f"column {tensor.name!r} is not what its content type {tensor.content_type} says: {error}"
        ) from error
    return pandas.Series(values, dtype=object)
