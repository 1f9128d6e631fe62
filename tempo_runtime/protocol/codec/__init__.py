"""Convert Python values to tensors and back, by kind. No I/O.

Each kind (`signature.Kind`) has one codec. Reading is lenient where the meaning is clear (an `int` may be
INT64, JSON or text). Writing is strict: the same value always becomes the same tensor.

Values that V2 and plain JSON lack are sent with tags if the receiver is part of this package (`tagged`),
and refused by name otherwise.

This module has the table of codecs. Their code is in modules with one direction of imports:
`elements`, `tagged_json`, `equality` <- `json_values` <- `arrays`, `text`. `untyped` chooses a kind for
values without an annotation, and `tempo_values` has the form of tempo 0.5.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, get_args, get_origin

import numpy as np

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.codec.arrays import (
    argument_as_array,
    as_array,
    decode_array,
    decode_number,
    encode_array,
    encode_number,
)
from tempo_runtime.protocol.codec.elements import ELEMENT_TYPE, SCALAR, bytes_tensor, read_texts
from tempo_runtime.protocol.codec.equality import difference
from tempo_runtime.protocol.codec.json_values import (
    changed,
    decode_json,
    encode_json,
    encode_tagged,
    has_tags,
    load_json,
    lossy_json,
    read_tagged,
    refuse_deep,
    validate,
    without_numpy,
)
from tempo_runtime.protocol.codec.tempo_values import is_literal, read_spelled
from tempo_runtime.protocol.codec.tempo_values import spell as spell_literal
from tempo_runtime.protocol.codec.tensor_metadata import spec_described
from tempo_runtime.protocol.codec.text import (
    decode_blob,
    decode_blobs,
    decode_datetime,
    decode_datetimes,
    decode_text,
    decode_texts,
    encode_blob,
    encode_blobs,
    encode_datetime,
    encode_datetimes,
    encode_text,
    encode_texts,
    settled,
)
from tempo_runtime.protocol.codec.untyped import kind_in, kind_of, spec_of
from tempo_runtime.protocol.signature import Kind, TensorSpec
from tempo_runtime.protocol.sizes import DecodingLimits
from tempo_runtime.protocol.tensor import BYTES, Tensor, datatype_of, is_repr

__all__ = [
    "CODECS",
    "Codec",
    "decode",
    "describe",
    "encode",
    "is_null",
    "kind_of",
    "parameter",
    "spec_described",
    "spec_of",
    "spell",
]

_NULL = b"null"
_LIMITS = DecodingLimits()


@dataclass(frozen=True)
class Codec:
    """How values of one kind are sent.

    Attributes:
        encode: `(spec, value, tagged) -> Tensor`.
        decode: `(spec, tensor) -> value`.
        datatype: V2 datatype in a model's metadata.
        shape: Shape in a model's metadata.
        content_type: MLServer's content type in a model's metadata.
    """

    encode: Callable[[TensorSpec, Any, bool], Tensor]
    decode: Callable[[TensorSpec, Tensor], Any]
    datatype: str
    shape: tuple[int, ...]
    content_type: str


def encode(spec: TensorSpec, value: Any, *, tagged: bool = False) -> Tensor:
    """Encode a value as a tensor.

    Args:
        spec: The value's spec.
        value: The value.
        tagged: Whether the receiver reads the forms that only this package writes: JSON with tags, and
            numpy's dtypes.

    Raises:
        PayloadError: If the value is not of the spec's type, or cannot be sent.
    """
    if value is None and (spec.nullable or spec.kind is Kind.ANY):
        return bytes_tensor(spec, [_NULL], [1], "json")
    if spec.kind in _CHECKED_TWICE and get_origin(spec.hint) is Annotated:
        return _encode_annotated(spec, value, tagged)
    return CODECS[spec.kind].encode(spec, value, tagged)


def decode(spec: TensorSpec, tensor: Tensor, limits: DecodingLimits = _LIMITS) -> Any:
    """Decode the value in a tensor.

    Args:
        spec: The value's spec.
        tensor: The tensor.
        limits: Limits for decoding.

    Raises:
        PayloadError: If the value is not of the spec's type.
    """
    if tensor.datatype == BYTES:
        elements = tensor.elements()
        if is_repr(elements) or (not elements and _is_empty_text(spec, tensor)):
            return _accept(spec, read_spelled(spec, tensor, elements, limits))
        if spec.nullable and is_null(tensor):
            return None
        if has_tags(tensor):
            return _held(spec, read_tagged(spec, tensor))
    if spec.kind is Kind.JSON and _is_typed(tensor):
        return _accept(spec, _decode_any(spec, tensor))
    return CODECS[spec.kind].decode(spec, tensor)


def is_null(tensor: Tensor) -> bool:
    """Return whether a tensor is None as `encode` writes it."""
    if tensor.datatype != BYTES or tensor.content_type != "json":
        return False
    return tensor.elements() in ([_NULL], [_NULL.decode()], [None])


def spell(spec: TensorSpec, value: Any) -> Tensor:
    """Encode a value as a tensor for a client of tempo 0.5.

    Raises:
        PayloadError: As `encode` does.
    """
    if spec.kind is Kind.ANY and isinstance(value, np.generic):
        value = value.item()
    kind = kind_of(value) if spec.kind is Kind.ANY else spec.kind
    if kind is Kind.JSON and value is not None:
        return spell_literal(spec.name, _literal(spec, value))
    tensor = encode(spec, value)
    if kind is Kind.ARRAY and tensor.datatype != BYTES:
        return tensor
    return spell_literal(spec.name, _plain(kind, tensor))


def parameter(spec: TensorSpec, value: Any) -> Any:
    """Return a small argument from the parameters of a request.

    Over gRPC these are only booleans, integers and strings, so other values may be JSON text.

    Raises:
        PayloadError: If it is not of the spec's type.
    """
    try:
        return _accept(spec, value)
    except PayloadError:
        if not isinstance(value, str) or spec.kind not in _AS_JSON:
            raise
    return load_json(spec, value)


def describe(spec: TensorSpec) -> tuple[str, list[int], dict[str, Any]]:
    """Return the datatype, shape and parameters of a tensor for a model's V2 metadata."""
    codec = CODECS[spec.kind]
    parameters: dict[str, Any] = {"content_type": codec.content_type}
    datatype, shape = codec.datatype, list(codec.shape)
    if spec.kind is Kind.ARRAY:
        if spec.dtype is None:
            parameters[ELEMENT_TYPE] = "any"
        else:
            datatype = datatype_of(spec.dtype)
        if spec.shape is not None:
            shape = list(spec.shape)
    if not spec.required:
        parameters["optional"] = True
    return datatype, shape, parameters


def _literal(spec: TensorSpec, value: Any) -> Any:
    """Return a value as it is if it has a Python literal, and otherwise its form in JSON."""
    text = lossy_json(replace(spec, kind=Kind.JSON), value)
    # JSON does not have tuples, and only text as keys.
    if is_literal(value) and lossy_json(TensorSpec(spec.name, Kind.JSON), value) == text:
        return value
    return json.loads(text)


def _plain(kind: Kind, tensor: Tensor) -> Any:
    """Return a tensor's value in types that have Python literals."""
    if tensor.content_type == "datetime":
        texts = read_texts(tensor)
        return texts[0] if kind is Kind.DATETIME else texts
    value = decode(TensorSpec(tensor.name), tensor)
    if isinstance(value, np.ndarray):
        return value.tolist() if kind is Kind.ARRAY else value.item()
    return value


def _encode_annotated(spec: TensorSpec, value: Any, tagged: bool) -> Tensor:
    """Encode a value whose annotation may have a validator, which runs again when the value is read.

    The value is sent unchanged, or as the validator returns it, depending on which of the two the reader
    decodes to the validated value.
    """
    bare = replace(spec, hint=get_args(spec.hint)[0])
    checked = validate(spec, without_numpy(value, spec.name))
    faults: list[Exception] = []
    for sent in (checked, value):
        try:
            tensor = CODECS[spec.kind].encode(bare, sent, tagged)
            gap = difference(checked, decode(spec, tensor), spec.name)
            plain = decode(bare, CODECS[spec.kind].encode(bare, checked, tagged))
            if gap is None or difference(plain, decode(spec, tensor)) is None:
                return tensor
            faults.append(changed(spec, gap))
        except PayloadError as error:
            faults.append(error)
    raise faults[-1]


def _is_typed(tensor: Tensor) -> bool:
    """Return whether a tensor describes its content better than JSON, without an annotation."""
    return tensor.parameters.get(SCALAR) is True or (
        tensor.datatype == BYTES and tensor.content_type in ("datetime", "base64")
    )


def _is_empty_text(spec: TensorSpec, tensor: Tensor) -> bool:
    """Return whether a tensor without elements is an empty text as tempo 0.5 sends it."""
    return spec.kind is Kind.STRING and not tensor.parameters


def _accept(spec: TensorSpec, value: Any) -> Any:
    """Convert a plain Python value, which does not come from a typed tensor, to the spec's type."""
    if value is None and spec.nullable:
        return None
    refuse_deep(spec, value)
    if spec.kind is Kind.ARRAY:
        return argument_as_array(spec, value)
    if spec.kind is Kind.FRAME:
        return _no_frame(spec)
    return validate(spec, value)


def _held(spec: TensorSpec, value: Any) -> Any:
    """Convert a value from tagged JSON to the spec's type."""
    if spec.kind is Kind.ANY:
        return value
    if spec.kind is Kind.ARRAY:
        return as_array(spec, value)
    value = _accept(spec, value)
    if spec.kind in (Kind.DATETIME, Kind.DATETIMES):
        return settled(spec, value)
    return value


def _encode_any(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    kind = kind_of(value)
    if tagged and isinstance(value, np.generic):
        return _encode_scalar(spec, value)
    return CODECS[kind].encode(spec_of(spec.name, kind), value, tagged)


def _encode_scalar(spec: TensorSpec, value: np.generic) -> Tensor:
    """Encode a numpy number as an array without dimensions, marked as a scalar."""
    if np.dtype(value.dtype.str).type is not type(value) or value.dtype.kind not in "biuf":
        return encode_tagged(spec, value)
    tensor = CODECS[Kind.ARRAY].encode(spec_of(spec.name, Kind.ARRAY), value, True)
    tensor.parameters[SCALAR] = True
    return tensor


def _decode_any(spec: TensorSpec, tensor: Tensor) -> Any:
    kind = kind_in(tensor)
    value = CODECS[kind].decode(spec_of(spec.name, kind), tensor)
    if kind is not Kind.ARRAY or tensor.parameters.get(SCALAR) is not True or value.size != 1:
        return value
    return value.item() if value.ndim else value[()]


def _no_frame(spec: TensorSpec, *_: Any) -> Any:
    raise PayloadError(
        f"{spec.name!r} is a DataFrame, which can be the only result or one argument, not one of "
        "several results"
    )


# Kinds whose values are validated by the sender and by the reader.
_CHECKED_TWICE = (
    Kind.BOOL,
    Kind.INT,
    Kind.FLOAT,
    Kind.STRING,
    Kind.STRINGS,
    Kind.DATETIME,
    Kind.DATETIMES,
)
# Kinds whose values can be given as JSON text, but not as plain text.
_AS_JSON = (Kind.JSON, Kind.STRINGS, Kind.BYTES_LIST, Kind.DATETIMES)
CODECS: dict[Kind, Codec] = {
    Kind.ANY: Codec(_encode_any, _decode_any, BYTES, (-1,), "json"),
    Kind.ARRAY: Codec(encode_array, decode_array, "FP64", (-1,), "np"),
    Kind.BOOL: Codec(encode_number, decode_number, "BOOL", (1,), "np"),
    Kind.INT: Codec(encode_number, decode_number, "INT64", (1,), "np"),
    Kind.FLOAT: Codec(encode_number, decode_number, "FP64", (1,), "np"),
    Kind.STRING: Codec(encode_text, decode_text, BYTES, (1,), "str"),
    Kind.STRINGS: Codec(encode_texts, decode_texts, BYTES, (-1, 1), "str"),
    Kind.BYTES: Codec(encode_blob, decode_blob, BYTES, (1,), "base64"),
    Kind.BYTES_LIST: Codec(encode_blobs, decode_blobs, BYTES, (-1, 1), "base64"),
    Kind.DATETIME: Codec(encode_datetime, decode_datetime, BYTES, (1,), "datetime"),
    Kind.DATETIMES: Codec(encode_datetimes, decode_datetimes, BYTES, (-1, 1), "datetime"),
    Kind.JSON: Codec(encode_json, decode_json, BYTES, (1,), "json"),
    Kind.FRAME: Codec(_no_frame, _no_frame, BYTES, (-1,), "pd"),
}
