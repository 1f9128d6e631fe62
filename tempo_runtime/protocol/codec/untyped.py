"""Determine the kinds of values and tensors without an annotation."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np

from tempo_runtime.protocol.codec.elements import ELEMENT_TYPE
from tempo_runtime.protocol.signature import KINDS, Kind, TensorSpec
from tempo_runtime.protocol.tensor import BYTES, Tensor

# Kinds of untyped tensors by content type: for shape [1], and for any other shape.
MEANT = {
    "json": (Kind.JSON, Kind.JSON),
    "str": (Kind.STRING, Kind.STRINGS),
    "base64": (Kind.BYTES, Kind.BYTES_LIST),
    "datetime": (Kind.DATETIME, Kind.DATETIMES),
}
_LISTS = {str: Kind.STRINGS, bytes: Kind.BYTES_LIST, datetime: Kind.DATETIMES}
_HINTS: dict[Kind, Any] = {
    Kind.BOOL: bool,
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.STRING: str,
    Kind.STRINGS: list[str],
    Kind.BYTES: bytes,
    Kind.BYTES_LIST: list[bytes],
    Kind.DATETIME: datetime,
    Kind.DATETIMES: list[datetime],
}


def kind_of(value: Any) -> Kind:
    """Return the kind of a value without an annotation."""
    if type(value) in KINDS:
        return KINDS[type(value)]
    if isinstance(value, np.ndarray | np.generic):
        return Kind.ARRAY
    if type(value) is list and value:
        kinds = set(map(type, value))
        if len(kinds) == 1:
            return _LISTS.get(kinds.pop(), Kind.JSON)
    if _is_frame(value):
        return Kind.FRAME
    return Kind.JSON


def kind_in(tensor: Tensor) -> Kind:
    """Return the kind that the sender of a tensor most likely meant, by content type and shape."""
    one, many = Kind.ARRAY, Kind.ARRAY
    if ELEMENT_TYPE not in tensor.parameters and tensor.datatype == BYTES:
        one, many = MEANT.get(tensor.content_type or "", (one, many))
    return one if tensor.shape == [1] else many


@lru_cache(1024)
def spec_of(name: str, kind: Kind = Kind.ANY) -> TensorSpec:
    """Return the spec of a value of this kind without an annotation."""
    return TensorSpec(name, kind, _HINTS.get(kind, Any))


def _is_frame(value: Any) -> bool:
    module = type(value).__module__.partition(".")[0]
    return module == "pandas" and type(value).__name__ == "DataFrame"
