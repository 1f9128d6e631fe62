"""Elements of BYTES tensors, in UTF-8 and base64, for all codecs."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.signature import TensorSpec
from tempo_runtime.protocol.tensor import BYTES, Tensor, shown

ELEMENT_TYPE = "dtype"  # tensor parameter: the numpy element type, which V2's BYTES does not show
# Tensor parameter: the only element is a number instead of an array: Python's in shape [1], numpy's in
# shape [].
SCALAR = "scalar"


def bytes_tensor(
    spec: TensorSpec,
    data: list[bytes],
    shape: list[int],
    content_type: str,
    extra: dict[str, Any] | None = None,
) -> Tensor:
    """Return a BYTES tensor with its content type."""
    return Tensor(spec.name, BYTES, shape, data, {"content_type": content_type, **(extra or {})})


def only_element(spec: TensorSpec, tensor: Tensor, elements: Any) -> Any:
    """Return the element of a tensor that must have only one."""
    if len(elements) != 1:
        raise PayloadError(
            f"{spec.name!r} is a single {spec.kind.value}, but the tensor has {len(elements)} "
            f"elements (shape {tensor.shape}); send one"
        )
    return elements[0]


def to_utf8(spec: TensorSpec, texts: list[str]) -> list[bytes]:
    """Encode texts as UTF-8."""
    try:
        return [text.encode() for text in texts]
    except UnicodeEncodeError as error:
        raise PayloadError(
            f"{spec.name!r} is text that cannot be encoded as UTF-8: {error}"
        ) from error


def read_texts(tensor: Tensor) -> list[str]:
    """Return the elements of a BYTES tensor as text."""
    elements = read_blobs(tensor) if tensor.content_type == "base64" else tensor.elements()
    texts = []
    for element in elements:
        if isinstance(element, bytes):
            try:
                element = element.decode()
            except UnicodeDecodeError as error:
                raise PayloadError(
                    f"tensor {tensor.name!r} is not UTF-8 text; annotate the argument as bytes, "
                    'and send content type "base64"'
                ) from error
        if not isinstance(element, str):
            raise PayloadError(f"tensor {tensor.name!r} holds {shown(element)}, which is not text")
        texts.append(element)
    return texts


def read_blobs(tensor: Tensor) -> list[bytes]:
    """Return the elements of a BYTES tensor as bytes, decoded if its content type is base64."""
    blobs = []
    for element in tensor.elements():
        if not isinstance(element, str | bytes):
            raise PayloadError(f"tensor {tensor.name!r} holds {shown(element)}, which is not bytes")
        blobs.append(element.encode() if isinstance(element, str) else element)
    if tensor.content_type != "base64":
        return blobs
    try:
        return [base64.b64decode(blob, validate=True) for blob in blobs]
    except binascii.Error as error:
        raise PayloadError(
            f"tensor {tensor.name!r} has content type base64, but its data is not base64: {error}"
        ) from error


def to_base64(blobs: list[bytes] | tuple[bytes, ...]) -> list[bytes]:
    """Encode each of some bytes as base64."""
    return [base64.b64encode(blob) for blob in blobs]
