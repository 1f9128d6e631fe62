"""Python values <-> tensors, by kind. No I/O.

One codec a kind (`signature.Kind`). Reading is lenient where the wire leaves no doubt (an `int` may
come as INT64, as JSON, or as text), writing is strict: the same value always gives the same tensor.
"""

from __future__ import annotations

import ast
import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.errors import PayloadError
from tempo_runtime.signature import Kind, TensorSpec
from tempo_runtime.tensor import BYTES, Tensor, datatype_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_NULL = b"null"
_ELEMENT_TYPE = "dtype"  # tensor parameter: the numpy element type, where V2's BYTES hides it


@dataclass(frozen=True)
class Codec:
    """How values of one kind travel.

    Attributes:
        encode: `(spec, value) -> Tensor`.
        decode: `(spec, tensor) -> value`.
        datatype: V2 datatype in a model's metadata.
        shape: Shape in a model's metadata.
        content_type: MLServer's content type in a model's metadata.
    """

    encode: Callable[[TensorSpec, Any], Tensor]
    decode: Callable[[TensorSpec, Tensor], Any]
    datatype: str
    shape: tuple[int, ...]
    content_type: str


def encode(spec: TensorSpec, value: Any) -> Tensor:
    """One value as one tensor.

    Raises:
        PayloadError: If the value is not of the spec's type, or cannot travel.
    """
    if value is None and (spec.nullable or spec.kind is Kind.ANY):
        return _bytes_tensor(spec, [_NULL], [1], "json")
    return CODECS[spec.kind].encode(spec, value)


def decode(spec: TensorSpec, tensor: Tensor) -> Any:
    """The value a tensor holds.

    Raises:
        PayloadError: If it is not of the spec's type.
    """
    if (
        spec.nullable
        and tensor.content_type == "json"
        and tensor.elements() in ([_NULL], [_NULL.decode()], [None])
    ):
        return None
    return CODECS[spec.kind].decode(spec, tensor)


def parameter(spec: TensorSpec, value: Any) -> Any:
    """A small argument that came in the request's `parameters` and not as a tensor.

    gRPC carries only booleans, integers and strings there, so anything else may come as text.
    """
    if spec.kind is Kind.ARRAY:
        return _fit(spec, np.asarray(value))
    text = isinstance(value, str) and spec.kind is Kind.JSON
    return _load_json(spec, value) if text else _validate(spec, value)


def describe(spec: TensorSpec) -> tuple[str, list[int], dict[str, Any]]:
    """Datatype, shape and parameters of a tensor, for a model's V2 metadata."""
    codec = CODECS[spec.kind]
    parameters: dict[str, Any] = {"content_type": codec.content_type}
    datatype, shape = codec.datatype, list(codec.shape)
    if spec.kind is Kind.ARRAY:
        if spec.dtype is None:
            parameters[_ELEMENT_TYPE] = "any"
        else:
            datatype = datatype_of(spec.dtype)
        if spec.shape is not None:
            shape = list(spec.shape)
    if not spec.required:
        parameters["optional"] = True
    return datatype, shape, parameters


# -- arrays ----------------------------------------------------------------------------------------


def _encode_array(spec: TensorSpec, value: Any) -> Tensor:
    array = _fit(spec, np.asarray(value))
    datatype = datatype_of(array.dtype)
    shape = list(array.shape)
    if datatype != BYTES:
        return Tensor(spec.name, datatype, shape, array, {"content_type": "np"})
    flat = array.ravel().tolist()
    extra = {} if array.dtype.kind == "U" else {_ELEMENT_TYPE: array.dtype.kind}
    if array.dtype.kind == "S" or (flat and all(isinstance(e, bytes) for e in flat)):
        return _bytes_tensor(spec, _base64(flat), shape, "base64", extra)
    if all(isinstance(element, str) for element in flat):
        return _bytes_tensor(spec, [e.encode() for e in flat], shape, "np", extra)
    odd = next(element for element in flat if not isinstance(element, str))
    raise PayloadError(
        f"{spec.name!r} is an object array that holds {odd!r:.80} ({type(odd).__name__}), which no "
        "tensor can; convert it to numbers or text, or pass a list"
    )


def _decode_array(spec: TensorSpec, tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.datatype != BYTES:
        return _fit(spec, tensor.numbers())
    binary = tensor.content_type == "base64" or (spec.dtype is not None and spec.dtype.kind == "S")
    elements: list[Any] = _blobs(tensor) if binary else _texts(tensor)
    kind = tensor.parameters.get(_ELEMENT_TYPE)
    dtype = np.dtype(object) if kind == "O" else np.dtype("S" if binary else "U")
    array = np.array(elements, dtype)
    return _fit(spec, array.reshape(tensor.shape))


def _fit(spec: TensorSpec, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array in the annotated dtype and shape, where that loses nothing but float precision."""
    wanted = spec.dtype
    if wanted is not None and array.dtype != wanted:
        fits = np.can_cast(array.dtype, wanted, "same_kind")
        if array.dtype.kind in "iu" and wanted.kind in "iu" and array.size:
            limits = np.iinfo(wanted)
            fits = limits.min <= int(array.min()) and int(array.max()) <= limits.max
        if not fits and not (array.size == 0 and array.dtype.kind == "f"):
            raise PayloadError(
                f"{spec.name!r} must be {wanted}, and {array.dtype} was given; convert it first"
            )
        array = array.astype(wanted)
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


def _encode_number(spec: TensorSpec, value: Any) -> Tensor:
    value = _validate(spec, value)
    dtype: Any = {Kind.BOOL: np.bool_, Kind.INT: np.int64, Kind.FLOAT: np.float64}[spec.kind]
    if spec.kind is Kind.INT and not -(2**63) <= value < 2**63:
        if not 0 <= value < 2**64:
            return _encode_json(spec, value)
        dtype = np.uint64
    array = np.array([value], dtype)
    return Tensor(spec.name, datatype_of(array.dtype), [1], array, {"content_type": "np"})


def _decode_number(spec: TensorSpec, tensor: Tensor) -> Any:
    if tensor.datatype == BYTES:
        return _load_json(spec, _one(spec, tensor, tensor.elements()))
    return _validate(spec, _one(spec, tensor, tensor.numbers().ravel()).item())


# -- text and bytes --------------------------------------------------------------------------------


def _encode_text(spec: TensorSpec, value: Any) -> Tensor:
    return _bytes_tensor(spec, [_validate(spec, value).encode()], [1], "str")


def _decode_text(spec: TensorSpec, tensor: Tensor) -> Any:
    if tensor.content_type == "json":
        return _load_json(spec, _one(spec, tensor, tensor.elements()))
    return _one(spec, tensor, _texts(tensor))


def _encode_texts(spec: TensorSpec, value: Any) -> Tensor:
    texts = [text.encode() for text in _validate(spec, value)]
    # [N, 1] as MLServer writes a list, so that a list of one text is not a text ([1]).
    return _bytes_tensor(spec, texts, [len(texts), 1], "str")


def _decode_texts(spec: TensorSpec, tensor: Tensor) -> Any:
    return _decode_json(spec, tensor) if tensor.content_type == "json" else _texts(tensor)


def _encode_blob(spec: TensorSpec, value: Any) -> Tensor:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _wrong_type(spec, value)
    return _bytes_tensor(spec, _base64([bytes(value)]), [1], "base64")


def _decode_blob(spec: TensorSpec, tensor: Tensor) -> Any:
    return _one(spec, tensor, _blobs(tensor))


def _encode_blobs(spec: TensorSpec, value: Any) -> Tensor:
    if not isinstance(value, list | tuple) or not all(isinstance(e, bytes) for e in value):
        raise _wrong_type(spec, value)
    return _bytes_tensor(spec, _base64(value), [len(value), 1], "base64")


def _decode_blobs(_: TensorSpec, tensor: Tensor) -> Any:
    return _blobs(tensor)


def _encode_datetime(spec: TensorSpec, value: Any) -> Tensor:
    return _bytes_tensor(spec, [_validate(spec, value).isoformat().encode()], [1], "datetime")


def _decode_datetime(spec: TensorSpec, tensor: Tensor) -> Any:
    return _validate(spec, _one(spec, tensor, _texts(tensor)))


def _encode_datetimes(spec: TensorSpec, value: Any) -> Tensor:
    texts = [moment.isoformat().encode() for moment in _validate(spec, value)]
    return _bytes_tensor(spec, texts, [len(texts), 1], "datetime")


def _decode_datetimes(spec: TensorSpec, tensor: Tensor) -> Any:
    return _validate(spec, _texts(tensor))


# -- JSON ------------------------------------------------------------------------------------------


def _encode_json(spec: TensorSpec, value: Any) -> Tensor:
    try:
        if spec.kind is Kind.JSON:
            value = _adapter(spec.hint).dump_python(value, mode="json", fallback=_plain)
        # The standard library's writer: orjson has no integers over 64 bits, no NaN, no infinity.
        text = json.dumps(value, default=_plain, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise PayloadError(f"{spec.name!r} cannot be written as JSON: {error}") from error
    return _bytes_tensor(spec, [text.encode()], [1], "json")


def _decode_json(spec: TensorSpec, tensor: Tensor) -> Any:
    if tensor.datatype != BYTES:
        return _validate(spec, tensor.numbers().tolist())
    elements = tensor.elements()
    if tensor.content_type == "str":
        return _validate(spec, _texts(tensor) if tensor.shape != [1] else _texts(tensor)[0])
    if _is_repr(elements):
        return _validate(spec, _load_repr(tensor, elements))
    return _load_json(spec, _one(spec, tensor, elements))


def _load_json(spec: TensorSpec, element: Any) -> Any:
    if not isinstance(element, str | bytes):
        return _validate(spec, element)
    from pydantic import ValidationError

    try:
        return _adapter(spec.hint).validate_json(element)
    except ValidationError as error:
        raise _invalid(spec, error) from error


def _plain(value: Any) -> Any:
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} has no JSON form")


# -- anything --------------------------------------------------------------------------------------


def kind_of(value: Any) -> Kind:
    """The kind an untyped value travels as."""
    simple: dict[type, Kind] = {
        bool: Kind.BOOL,
        int: Kind.INT,
        float: Kind.FLOAT,
        str: Kind.STRING,
        bytes: Kind.BYTES,
        datetime: Kind.DATETIME,
    }
    if type(value) in simple:
        return simple[type(value)]
    if isinstance(value, np.ndarray | np.generic):
        return Kind.ARRAY
    if isinstance(value, list) and value:
        if all(isinstance(element, str) for element in value):
            return Kind.STRINGS
        if all(isinstance(element, bytes) for element in value):
            return Kind.BYTES_LIST
    if _is_frame(value):
        return Kind.FRAME
    return Kind.JSON


def _encode_any(spec: TensorSpec, value: Any) -> Tensor:
    kind = kind_of(value)
    hint = {Kind.STRINGS: list[str], Kind.JSON: Any}.get(kind, type(value))
    return CODECS[kind].encode(TensorSpec(spec.name, kind, hint), value)


def _decode_any(spec: TensorSpec, tensor: Tensor) -> Any:
    """What the sender most likely meant, by content type and shape."""
    name, content_type = spec.name, tensor.content_type
    if _ELEMENT_TYPE in tensor.parameters or tensor.datatype != BYTES:
        return _decode_array(TensorSpec(name, Kind.ARRAY), tensor)
    if content_type == "json" or _is_repr(tensor.elements()):
        return _decode_json(TensorSpec(name, Kind.JSON), tensor)
    pairs = {
        "str": (TensorSpec(name, Kind.STRING, str), TensorSpec(name, Kind.STRINGS, list[str])),
        "base64": (
            TensorSpec(name, Kind.BYTES, bytes),
            TensorSpec(name, Kind.BYTES_LIST, list[bytes]),
        ),
        "datetime": (
            TensorSpec(name, Kind.DATETIME, datetime),
            TensorSpec(name, Kind.DATETIMES, list[datetime]),
        ),
    }
    if content_type not in pairs:
        return _decode_array(TensorSpec(name, Kind.ARRAY), tensor)
    one, many = pairs[content_type]
    return decode(one if tensor.shape == [1] else many, tensor)


# -- shared ----------------------------------------------------------------------------------------


def _bytes_tensor(
    spec: TensorSpec,
    data: list[bytes],
    shape: list[int],
    content_type: str,
    extra: dict[str, Any] | None = None,
) -> Tensor:
    return Tensor(spec.name, BYTES, shape, data, {"content_type": content_type, **(extra or {})})


def _one(spec: TensorSpec, tensor: Tensor, elements: Any) -> Any:
    if len(elements) != 1:
        raise PayloadError(
            f"{spec.name!r} is a single {spec.kind.value}, and the tensor holds {len(elements)} "
            f"elements (shape {tensor.shape}); send one"
        )
    return elements[0]


def _texts(tensor: Tensor) -> list[str]:
    elements = tensor.elements()
    if _is_repr(elements):
        loaded = _load_repr(tensor, elements)
        return [loaded] if isinstance(loaded, str) else loaded
    if tensor.content_type == "base64":
        elements = _blobs(tensor)
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
            raise PayloadError(f"tensor {tensor.name!r} holds {element!r:.80}, which is not text")
        texts.append(element)
    return texts


def _blobs(tensor: Tensor) -> list[bytes]:
    blobs = [
        element.encode() if isinstance(element, str) else element for element in tensor.elements()
    ]
    if tensor.content_type != "base64":
        return blobs
    try:
        return [base64.b64decode(blob, validate=True) for blob in blobs]
    except (binascii.Error, TypeError) as error:
        raise PayloadError(
            f"tensor {tensor.name!r} has content type base64, and its data is not base64: {error}"
        ) from error


def _base64(blobs: list[bytes] | tuple[bytes, ...]) -> list[bytes]:
    return [base64.b64encode(blob) for blob in blobs]


def _is_repr(elements: list[Any]) -> bool:
    return bool(elements) and all(type(element) is int for element in elements)


def _load_repr(tensor: Tensor, integers: list[Any]) -> Any:
    """A value as tempo 0.5 writes it: the bytes of its `repr`, an integer each."""
    try:
        return ast.literal_eval(bytes(integers).decode())
    except (ValueError, SyntaxError, UnicodeDecodeError) as error:
        raise PayloadError(
            f"tensor {tensor.name!r} is BYTES given as integers, but they do not spell a Python "
            f"literal: {error}"
        ) from error


@lru_cache(maxsize=1024)
def _cached_adapter(hint: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(hint)
    except TypeError:  # an unhashable annotation
        return _cached_adapter.__wrapped__(hint)


def _validate(spec: TensorSpec, value: Any) -> Any:
    if type(value) is spec.hint and spec.kind is not Kind.JSON:
        return value
    from pydantic import ValidationError

    if isinstance(value, np.generic):
        value = value.item()
    try:
        return _adapter(spec.hint).validate_python(value)
    except ValidationError as error:
        raise _invalid(spec, error) from error


def _invalid(spec: TensorSpec, error: Any) -> PayloadError:
    faults = error.errors(include_url=False, include_context=False)
    first = faults[0]
    where = ".".join(str(step) for step in (spec.name, *first["loc"]))
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return PayloadError(f"{where!r}: {first['msg']}, got {first['input']!r:.80}{more}")


def _wrong_type(spec: TensorSpec, value: Any) -> PayloadError:
    return PayloadError(
        f"{spec.name!r} must be {spec.kind.value.replace('_', ' ')}, and a "
        f"{type(value).__name__} was given"
    )


def _is_frame(value: Any) -> bool:
    module = type(value).__module__.partition(".")[0]
    return module == "pandas" and type(value).__name__ == "DataFrame"


def _no_frame(spec: TensorSpec, *_: Any) -> Any:
    raise PayloadError(
        f"{spec.name!r} is a DataFrame, which can be the only result or one argument, not a part "
        "of several results"
    )


CODECS: dict[Kind, Codec] = {
    Kind.ANY: Codec(_encode_any, _decode_any, BYTES, (-1,), "json"),
    Kind.ARRAY: Codec(_encode_array, _decode_array, "FP64", (-1,), "np"),
    Kind.BOOL: Codec(_encode_number, _decode_number, "BOOL", (1,), "np"),
    Kind.INT: Codec(_encode_number, _decode_number, "INT64", (1,), "np"),
    Kind.FLOAT: Codec(_encode_number, _decode_number, "FP64", (1,), "np"),
    Kind.STRING: Codec(_encode_text, _decode_text, BYTES, (1,), "str"),
    Kind.STRINGS: Codec(_encode_texts, _decode_texts, BYTES, (-1, 1), "str"),
    Kind.BYTES: Codec(_encode_blob, _decode_blob, BYTES, (1,), "base64"),
    Kind.BYTES_LIST: Codec(_encode_blobs, _decode_blobs, BYTES, (-1, 1), "base64"),
    Kind.DATETIME: Codec(_encode_datetime, _decode_datetime, BYTES, (1,), "datetime"),
    Kind.DATETIMES: Codec(_encode_datetimes, _decode_datetimes, BYTES, (-1, 1), "datetime"),
    Kind.JSON: Codec(_encode_json, _decode_json, BYTES, (1,), "json"),
    Kind.FRAME: Codec(_no_frame, _no_frame, BYTES, (-1,), "pd"),
}
