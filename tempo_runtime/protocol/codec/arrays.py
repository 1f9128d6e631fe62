"""Arrays and single numbers <-> tensors."""

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
# Bytes that numpy may fill up texts to one length with: a short message must not make a huge array.
_PADDING = 2**28
_TEXTS = re.compile(r"[<>|=]?([US])(\d{0,8})")
_WHOLE = (np.ndarray, np.memmap)  # of which nothing is lost in a plain array


def encode_array(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Encode an array with its own datatype and shape, or as tagged JSON if V2 has no such datatype."""
    array = as_array(spec, value)
    try:
        datatype = datatype_of(array.dtype)
    except PayloadError as error:
        if tagged:
            return encode_tagged(spec, array)
        raise PayloadError(f"{spec.name!r}: {error}") from error
    shape = list(array.shape)
    if datatype != BYTES:
        # Numbers on the wire have no order of bytes of their own.
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
        f"{spec.name!r} is an object array that holds {shown(odd)} ({type(odd).__name__}), which no "
        "tensor can; convert it to numbers or text, or pass a list"
    )


def decode_array(spec: TensorSpec, tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return the array a tensor holds, in the annotated dtype and shape."""
    said = tensor.parameters.get(ELEMENT_TYPE)
    if tensor.datatype != BYTES:
        return _fit(spec, _in_order(tensor.numbers(), said))
    binary = tensor.content_type == "base64" or (spec.dtype is not None and spec.dtype.kind == "S")
    elements: list[Any] = read_blobs(tensor) if binary else read_texts(tensor)
    # Bytes of others are kept as objects: numpy's own drop zeros at the end.
    wanted = said if isinstance(said, str) else "O" if binary else "U"
    array = tensor.shaped(np.array(elements, object))
    found = _TEXTS.fullmatch(wanted)
    if found and _holds(array, found[1]):
        array = _of_one_length(spec, array, found[1], int(found[2] or 0))
        if array.dtype.kind == found[1]:
            array = _in_order(array, wanted)
    return _fit(spec, array)


def _element_type(array: np.ndarray[Any, Any], flat: list[Any], tagged: bool) -> dict[str, Any]:
    """Return what BYTES leaves out of a dtype: objects, bytes, room for longer texts."""
    kind = array.dtype.kind
    if kind == "O":
        return {ELEMENT_TYPE: kind}
    longest = max(1, max(map(len, flat), default=0))
    natural = np.dtype(f"{kind}{longest}").str
    if tagged and array.dtype.str != natural:
        return {ELEMENT_TYPE: array.dtype.str}
    return {ELEMENT_TYPE: kind} if kind == "S" else {}


def _in_order(array: np.ndarray[Any, Any], said: Any) -> np.ndarray[Any, Any]:
    """Return the array in its sender's byte order."""
    if not isinstance(said, str):
        return array
    swapped = array.dtype.newbyteorder("S")
    return array.astype(swapped) if said == swapped.str and said != array.dtype.str else array


def as_array(spec: TensorSpec, value: Any) -> np.ndarray[Any, Any]:
    """Return a value as an array, in the annotated dtype and shape."""
    if isinstance(value, np.ndarray) and type(value) not in _WHOLE:
        raise PayloadError(
            f"{spec.name!r} is of type {kind_name(type(value))}, but only a plain array would "
            "arrive; convert it (numpy.asarray(x), or x.filled() if it is masked)"
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
    """Return a plain value, which no tensor gave a type, as an array that a tensor can hold."""
    texts = [e for e in np.asarray(value, object).ravel().tolist() if isinstance(e, str | bytes)]
    _refuse_padding(spec, texts, "U")
    array = as_array(spec, value)
    encode_array(spec, array)
    return array


def _of_one_length(
    spec: TensorSpec, array: np.ndarray[Any, Any], kind: Any, room: int = 0
) -> np.ndarray[Any, Any]:
    """Make a numpy array of texts or bytes, as wide as the longest or as the given width."""
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
            f"{spec.name!r} is {len(lengths)} texts of up to {max(lengths)} letters, for which "
            f"numpy takes {padded / 2**20:.0f} MB; send shorter ones, or annotate it as a list"
        )


def _holds(array: np.ndarray[Any, Any], kind: str) -> bool:
    """Return whether all elements are what numpy's text (`U`) or bytes (`S`) are made of."""
    return array.dtype.kind == kind or all(
        isinstance(element, _ELEMENTS[kind]) for element in array.ravel().tolist()
    )


def _fit(spec: TensorSpec, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array in the annotated dtype and shape, where that loses nothing but float precision."""
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
        # An empty list is float64 to numpy.
        if not fits and not (array.size == 0 and array.dtype.kind == "f"):
            raise PayloadError(
                f"{spec.name!r} must be {wanted}, and {array.dtype} was given; convert it first"
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
            f"{spec.name!r} must have shape {list(spec.shape)} (-1 is any length), and "
            f"{list(array.shape)} was given"
        )
    return array


# -- numbers ---------------------------------------------------------------------------------------


def encode_number(spec: TensorSpec, value: Any, tagged: bool = False) -> Tensor:
    """Return a number as INT64, UINT64, FP64 or BOOL; an integer over 64 bits as JSON."""
    value = validate(spec, value)
    dtype: Any = {Kind.BOOL: np.bool_, Kind.INT: np.int64, Kind.FLOAT: np.float64}[spec.kind]
    if spec.kind is Kind.INT and not -(2**63) <= value < 2**63:
        if not 0 <= value < 2**64:
            return encode_json(spec, value, tagged)
        dtype = np.uint64
    array = np.array([value], dtype)
    parameters: dict[str, Any] = {"content_type": "np"}
    if tagged:  # for an end of ours that does not know the annotation
        parameters[SCALAR] = True
    return Tensor(spec.name, datatype_of(array.dtype), [1], array, parameters)


def decode_number(spec: TensorSpec, tensor: Tensor) -> Any:
    """Return the number a tensor holds, as a number or as JSON."""
    if tensor.datatype == BYTES:
        return load_json(spec, only_element(spec, tensor, tensor.elements()))
    return validate(spec, only_element(spec, tensor, tensor.numbers().ravel()).item())
