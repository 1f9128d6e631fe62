"""Convert text, bytes and datetimes, or lists of them, to tensors and back."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.codec.elements import (
    bytes_tensor,
    only_element,
    read_blobs,
    read_texts,
    to_base64,
    to_utf8,
)
from tempo_runtime.protocol.codec.equality import difference
from tempo_runtime.protocol.codec.json_values import (
    decode_json,
    encode_tagged,
    load_json,
    validate,
    without_numpy,
)
from tempo_runtime.protocol.signature import TensorSpec
from tempo_runtime.protocol.tensor import Tensor


def encode_text(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode a text as one element."""
    return bytes_tensor(spec, to_utf8(spec, [validate(spec, value)]), [1], "str")


def decode_text(spec: TensorSpec, tensor: Tensor) -> Any:
    """Decode the text in a tensor, plain or as JSON."""
    if tensor.content_type == "json":
        return load_json(spec, only_element(spec, tensor, tensor.elements()))
    return validate(spec, only_element(spec, tensor, read_texts(tensor)))


def encode_texts(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode a list of texts, each as one element."""
    texts = to_utf8(spec, validate(spec, value))
    # Shape [N, 1], as MLServer writes a list: a list of one text must differ from a text ([1]).
    return bytes_tensor(spec, texts, [len(texts), 1], "str")


def decode_texts(spec: TensorSpec, tensor: Tensor) -> Any:
    """Decode the list of texts in a tensor, plain or as JSON."""
    if tensor.content_type == "json":
        return decode_json(spec, tensor)
    return validate(spec, read_texts(tensor))


def encode_blob(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode bytes as one element of base64."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _wrong_type(spec, value)
    return bytes_tensor(spec, to_base64([bytes(value)]), [1], "base64")


def decode_blob(spec: TensorSpec, tensor: Tensor) -> Any:
    """Decode the bytes in a tensor, plain or as base64."""
    return validate(spec, only_element(spec, tensor, read_blobs(tensor)))


def encode_blobs(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode a list of bytes, each as one element of base64."""
    if not isinstance(value, list | tuple) or not all(isinstance(e, bytes) for e in value):
        raise _wrong_type(spec, value)
    return bytes_tensor(spec, to_base64(value), [len(value), 1], "base64")


def decode_blobs(spec: TensorSpec, tensor: Tensor) -> Any:
    """Decode the list of bytes in a tensor, plain or as base64."""
    return validate(spec, read_blobs(tensor))


def encode_datetime(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode a datetime as ISO 8601, or with a tag if that would lose something, such as its zone."""
    moment = settled(spec, validate(spec, value))
    tensor = bytes_tensor(spec, [moment.isoformat().encode()], [1], "datetime")
    return (
        tensor if not tagged or _is_complete(spec, tensor, moment) else encode_tagged(spec, moment)
    )


def decode_datetime(spec: TensorSpec, tensor: Tensor) -> Any:
    """Decode the datetime in a tensor of text."""
    return settled(spec, validate(spec, only_element(spec, tensor, read_texts(tensor))))


def encode_datetimes(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode a list of datetimes as ISO 8601 elements, or as a whole with tags."""
    moments = settled(spec, validate(spec, without_numpy(value, spec.name)))
    texts = [moment.isoformat().encode() for moment in moments]
    tensor = bytes_tensor(spec, texts, [len(texts), 1], "datetime")
    if tagged and not _is_complete(spec, tensor, moments):
        return encode_tagged(spec, moments)
    return tensor


def decode_datetimes(spec: TensorSpec, tensor: Tensor) -> Any:
    """Decode the list of datetimes in a tensor of text."""
    return settled(spec, validate(spec, read_texts(tensor)))


def settled(spec: TensorSpec, value: Any) -> Any:
    """Replace pydantic's time zone in a datetime, or a list of them, by Python's own."""
    if isinstance(value, list):
        return [_settled(spec, moment) for moment in value]
    return _settled(spec, value)


def _settled(spec: TensorSpec, moment: dt.datetime) -> dt.datetime:
    """Convert to Python's own datetime and time zone."""
    if type(moment) is not dt.datetime:
        if moment != moment:
            raise PayloadError(
                f"{spec.name!r} is {moment}, which is not a point in time; pass None instead"
            )
        if getattr(moment, "nanosecond", 0):  # in pandas
            raise PayloadError(
                f"{spec.name!r} is {moment}, but a datetime does not have nanoseconds; round it "
                "(.floor('us'))"
            )
        naive = dt.datetime.combine(moment.date(), moment.time())
        moment = naive.replace(tzinfo=moment.tzinfo, fold=moment.fold)
    offset = moment.utcoffset()
    if offset is not None and type(moment.tzinfo).__module__.startswith("pydantic_core"):
        return moment.replace(tzinfo=dt.timezone(offset))
    return moment


def _is_complete(spec: TensorSpec, tensor: Tensor, value: Any) -> bool:
    """Return whether ISO 8601 contains all of a datetime, or of a list of them."""
    decode = decode_datetimes if isinstance(value, list) else decode_datetime
    try:
        return difference(value, decode(spec, tensor)) is None
    except PayloadError:
        return False


def _wrong_type(spec: TensorSpec, value: Any) -> PayloadError:
    return PayloadError(
        f"{spec.name!r} must be {spec.kind.value.replace('_', ' ')}, but a "
        f"{type(value).__name__} was given"
    )
