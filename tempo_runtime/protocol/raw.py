"""Convert the elements of tensors to V2's raw contents, and back.

Numbers lie one after the other, little-endian; each element of a `BYTES` tensor has its length before it.
gRPC's messages and binary bodies over HTTP have the same form.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.tensor import BYTES, DATATYPES, Tensor

_LENGTH = struct.Struct("<I")  # before each element of a BYTES tensor


def to_raw(tensor: Tensor) -> bytes:
    """Return the elements of a tensor as raw contents.

    Raises:
        PayloadError: If they do not match the datatype or the shape.
    """
    if tensor.datatype == BYTES:
        encoded = [_encoded(tensor, element) for element in tensor.elements()]
        return b"".join(_LENGTH.pack(len(element)) + element for element in encoded)
    array = tensor.numbers()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def from_raw(tensor: Tensor, content: bytes | memoryview, role: str = "tensor") -> Any:
    """Return the elements in raw contents: an array that can be changed, or a list of `bytes`.

    Contents of an unknown datatype are returned as they are: an output that nobody reads may have any.

    Args:
        tensor: The tensor, without its elements.
        content: Its raw contents.
        role: Word for the tensor in messages.

    Raises:
        PayloadError: If the contents do not have the size of the datatype and the shape.
    """
    if tensor.datatype == BYTES:
        return _split(tensor, bytes(content), role)
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        return content
    if len(content) != tensor.size() * dtype.itemsize:
        raise PayloadError(
            f"{role} {tensor.name!r} has {len(content)} bytes, which is not the size of "
            f"{tensor.datatype} in shape {tensor.shape}"
        )
    if dtype.kind == "b" and np.frombuffer(content, np.uint8).max(initial=0) > 1:
        raise PayloadError(
            f"{role} {tensor.name!r} has datatype BOOL, but one of its bytes is neither 0 nor 1"
        )
    # A copy, because the contents are read-only, and their receiver may change the array.
    return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype)


def _encoded(tensor: Tensor, element: Any) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, bytes):
        return element
    raise PayloadError(
        f"tensor {tensor.name!r} has datatype BYTES, but an element of type "
        f"{type(element).__name__}; use text or bytes"
    )


def _split(tensor: Tensor, content: bytes, role: str) -> list[bytes]:
    elements, offset = [], 0
    while offset < len(content):
        start = offset + _LENGTH.size
        if start > len(content):
            break
        offset = start + _LENGTH.unpack_from(content, start - _LENGTH.size)[0]
        elements.append(content[start:offset])
    if offset != len(content):
        raise PayloadError(f"{role} {tensor.name!r} ends within an element")
    return elements
