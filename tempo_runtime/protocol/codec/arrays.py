"""Convert arrays and single numbers to tensors and back."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.codec.elements import (
    ELEMENT_TYPE,
    SCALAR,
    bytes_tensor,
    only_element,
    read_blobs,
    read_texts,
    to_base64,
    to_utf8,
)
from tempo_runtime.protocol.codec.json_values import (
    encode_json,
    encode_tagged,
    load_json,
    validate,
)
from tempo_runtime.protocol.codec.tagged_json import kind_name
from tempo_runtime.protocol.signature import Kind, TensorSpec
from tempo_runtime.protocol.tensor import BYTES, Tensor, datatype_of, misfits, shown

_ELEMENTS: dict[str, Any] = {"U": str, "S": bytes}
# numpy pads texts to the same length, so that a short message could become a huge array.
_PADDING = 2**28  # bytes
_TEXTS = re.compile(r"[<>|=]?([US])(\d{0,8})")
_PLAIN = (np.ndarray, np.memmap)  # classes that lose nothing as a plain array


def encode_array(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode an array with its datatype and shape, or as tagged JSON if V2 lacks the datatype."""
    array = as_array(spec, value)
    try:
        datatype = datatype_of(array.dtype)
    except PayloadError as error:
        if tagged:
            return encode_tagged(spec, array)
        raise PayloadError(f"{spec.name!r}: {error}") from error
    shape = list(array.shape)
    if datatype != BYTES:
        # V2's numbers do not have a byte order, so ours is sent as a parameter.
        order = {} if array.dtype.isnative or not tagged else {ELEMENT_TYPE: array.dtype.str}
        return Tensor(spec.name, datatype, shape, array, {"content_type": "np", **order})
    flat = array.ravel().tolist()
    extra = _element_type(array, flat, tagged)
    if array.dtype.kind == "S" or (flat and all(type(e) is bytes for e in flat)):
        return bytes_tensor(spec, to_base64(flat), shape, "base64", extra)
    if all(type(element) is str for element in flat):
        return bytes_tensor(spec, to_utf8(spec, flat), shape, "np", extra)
    if tagged:
        return encode_tagged(spec, array)
    odd = next(element for element in flat if type(element) is not str)
    raise PayloadError(
        f"{spec.name!r} is an object array that holds {shown(odd)} ({type(odd).__name__}), which a "
        "tensor cannot hold; convert it to numbers or text, or pass a list"
    )


def decode_array(spec: TensorSpec, tensor: Tensor) -> np.ndarray[Any, Any]:
    """Decode the array in a tensor, in the annotated dtype and shape."""
    element_type = tensor.parameters.get(ELEMENT_TYPE)
    if tensor.datatype != BYTES:
        return _fit(spec, _in_order(tensor.numbers(), element_type))
    binary = tensor.content_type == "base64" or (spec.dtype is not None and spec.dtype.kind == "S")
    elements: list[Any] = read_blobs(tensor) if binary else read_texts(tensor)
    # Bytes without an element type stay objects, because numpy's bytes drop zeros at the end.
    default = "O" if binary else "U"
    dtype = element_type if isinstance(element_type, str) else default
    array = tensor.shaped(np.array(elements, object))
    match = _TEXTS.fullmatch(dtype)
    if match and _holds(array, match[1]):
        array = _of_one_length(spec, array, match[1], int(match[2] or 0))
        if array.dtype.kind == match[1]:
            array = _in_order(array, dtype)
    return _fit(spec, array)


def _element_type(array: np.ndarray[Any, Any], flat: list[Any], tagged: bool) -> dict[str, Any]:
    """Return the parts of a dtype that BYTES omits: objects, bytes, the width of texts."""
    kind = array.dtype.kind
    if kind == "O":
        return {ELEMENT_TYPE: kind}
    longest = max(1, max(map(len, flat), default=0))
    natural = np.dtype(f"{kind}{longest}").str
    if tagged and array.dtype.str != natural:
        return {ELEMENT_TYPE: array.dtype.str}
    return {ELEMENT_TYPE: kind} if kind == "S" else {}


def _in_order(array: np.ndarray[Any, Any], element_type: Any) -> np.ndarray[Any, Any]:
    """Return the array in the byte order of its sender."""
    if not isinstance(element_type, str):
        return array
    swapped = array.dtype.newbyteorder("S")
    is_swapped = element_type == swapped.str and element_type != array.dtype.str
    return array.astype(swapped) if is_swapped else array


def as_array(spec: TensorSpec, value: Any) -> np.ndarray[Any, Any]:
    """Convert a value to an array, in the annotated dtype and shape."""
    if isinstance(value, np.ndarray) and type(value) not in _PLAIN:
        raise PayloadError(
            f"{spec.name!r} is of type {kind_name(type(value))}, but would arrive as a plain array; "
            "convert it (numpy.asarray(x), or x.filled() if it is masked)"
        )
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise PayloadError(f"{spec.name!r} is not an array: {error}") from error
    fitted = _fit(spec, array)
    if not array.ndim and array.dtype.kind == "O" and array is not value:
        raise PayloadError(
            f"{spec.name!r} is of type {kind_name(type(value))}, which is not an array; pass numbers, "
            "texts or lists of them"
        )
    return fitted


def argument_as_array(spec: TensorSpec, value: Any) -> np.ndarray[Any, Any]:
    """Convert a plain value, which does not come from a typed tensor, to an array for a tensor."""
    texts = [e for e in np.asarray(value, object).ravel().tolist() if isinstance(e, str | bytes)]
    _refuse_padding(spec, texts, "U")
    array = as_array(spec, value)
    encode_array(spec, array)
    return array


def _of_one_length(
    spec: TensorSpec, array: np.ndarray[Any, Any], kind: Any, room: int = 0
) -> np.ndarray[Any, Any]:
    """Return a numpy array of texts or bytes, as wide as the longest or as the given width."""
    if array.dtype.kind == "O":
        texts = array.ravel().tolist()
        room = max(room, *map(len, texts), 1) if room else 0
        _refuse_padding(spec, texts, np.dtype(kind).kind, room)
    return array.astype(f"{kind}{room}" if room else kind)


def _refuse_padding(spec: TensorSpec, texts: list[Any], kind: str, room: int = 0) -> None:
    lengths = [len(text) for text in texts]
    width = np.dtype(f"{kind}1").itemsize
    padded = width * len(lengths) * max(lengths, default=0)
    padded = max(padded, width * len(lengths) * room)
    if padded > _PADDING and padded > 16 * width * sum(lengths):
        raise PayloadError(
            f"{spec.name!r} is {len(lengths)} texts of up to {max(lengths)} letters, which would take "
            f"{padded / 2**20:.0f} MB in numpy; send shorter ones, or annotate it as a list"
        )


def _holds(array: np.ndarray[Any, Any], kind: str) -> bool:
    """Return whether all elements are text (for numpy's `U`) or bytes (for numpy's `S`)."""
    return array.dtype.kind == kind or all(
        isinstance(element, _ELEMENTS[kind]) for element in array.ravel().tolist()
    )


def _fit(spec: TensorSpec, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert an array to the annotated dtype and shape, if that loses only float precision."""
    wanted = spec.dtype
    if wanted is not None and array.dtype != wanted:
        if wanted.kind in _ELEMENTS:
            fits = _holds(array, wanted.kind)
        elif array.dtype.kind in "biuf" and wanted.kind in "biuf":
            integers = array.dtype.kind in "iu" and wanted.kind in "iu"
            fits = integers or np.can_cast(array.dtype, wanted, "same_kind")
            fits = fits and not misfits(array, wanted).any()
        else:
            fits = wanted.kind == "O"
        # numpy makes an empty list float64.
        if not fits and not (array.size == 0 and array.dtype.kind == "f"):
            raise PayloadError(
                f"{spec.name!r} must be {wanted}, but {array.dtype} was given; convert it first"
            )
        array = (
            _of_one_length(spec, array, wanted)
            if wanted.kind in _ELEMENTS
            else array.astype(wanted)
        )
    if spec.shape is not None and (
        array.ndim != len(spec.shape)
        or any(want not in (-1, got) for want, got in zip(spec.shape, array.shape))
    ):
        raise PayloadError(
            f"{spec.name!r} must have shape {list(spec.shape)} (-1 is any length), but "
            f"{list(array.shape)} was given"
        )
    return array


# -- numbers ---------------------------------------------------------------------------------------


def encode_number(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode a number as INT64, UINT64, FP64 or BOOL, and an integer of more than 64 bits as JSON."""
    value = validate(spec, value)
    dtype: Any = {Kind.BOOL: np.bool_, Kind.INT: np.int64, Kind.FLOAT: np.float64}[spec.kind]
    if spec.kind is Kind.INT and not -(2**63) <= value < 2**63:
        if not 0 <= value < 2**64:
            return encode_json(spec, value, tagged)
        dtype = np.uint64
    array = np.array([value], dtype)
    parameters: dict[str, Any] = {"content_type": "np"}
    if tagged:  # for a receiver that does not know the annotation
        parameters[SCALAR] = True
    return Tensor(spec.name, datatype_of(array.dtype), [1], array, parameters)


def decode_number(spec: TensorSpec, tensor: Tensor) -> Any:
    """Decode the number in a tensor, which may be JSON."""
    if tensor.datatype == BYTES:
        return load_json(spec, only_element(spec, tensor, tensor.elements()))
    return validate(spec, only_element(spec, tensor, tensor.numbers().ravel()).item())
