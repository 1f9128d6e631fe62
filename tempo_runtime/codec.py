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
from tempo_runtime.tensor import BYTES, Tensor, datatype_of, is_repr, misfits

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_NULL = b"null"
_ELEMENT_TYPE = "dtype"  # tensor parameter: the numpy element type, where V2's BYTES hides it
_ELEMENTS: dict[str, Any] = {"U": str, "S": bytes}


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
    if tensor.datatype == BYTES:
        elements = tensor.elements()
        if is_repr(elements):
            return _accept(spec, _load_repr(tensor, elements))
        nulls = ([_NULL], [_NULL.decode()], [None])
        if spec.nullable and tensor.content_type == "json" and elements in nulls:
            return None
    return CODECS[spec.kind].decode(spec, tensor)


def parameter(spec: TensorSpec, value: Any) -> Any:
    """A small argument that came in the request's `parameters` and not as a tensor.

    gRPC carries only booleans, integers and strings there, so anything else may come as JSON text.

    Raises:
        PayloadError: If it is not of the spec's type.
    """
    try:
        return _accept(spec, value)
    except PayloadError:
        if not isinstance(value, str) or spec.kind not in _AS_JSON:
            raise
    return _load_json(spec, value)


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
    array = _as_array(spec, value)
    try:
        datatype = datatype_of(array.dtype)
    except PayloadError as error:
        raise PayloadError(f"{spec.name!r}: {error}") from error
    shape = list(array.shape)
    if datatype != BYTES:
        return Tensor(spec.name, datatype, shape, array, {"content_type": "np"})
    flat = array.ravel().tolist()
    extra = {} if array.dtype.kind == "U" else {_ELEMENT_TYPE: array.dtype.kind}
    if array.dtype.kind == "S" or (flat and all(isinstance(e, bytes) for e in flat)):
        return _bytes_tensor(spec, _base64(flat), shape, "base64", extra)
    if all(isinstance(element, str) for element in flat):
        return _bytes_tensor(spec, _utf8(spec, flat), shape, "np", extra)
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
    # Bytes of others are kept as objects: numpy's own drop zeros at the end.
    kind = tensor.parameters.get(_ELEMENT_TYPE, "O" if binary else "U")
    array = tensor.shaped(np.array(elements, object))
    if kind in _ELEMENTS and _holds(array, kind):
        array = array.astype(kind)
    return _fit(spec, array)


def _as_array(spec: TensorSpec, value: Any) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise PayloadError(f"{spec.name!r} is no array: {error}") from error
    return _fit(spec, array)


def _holds(array: np.ndarray[Any, Any], kind: str) -> bool:
    """Whether all elements are what numpy's text (`U`) or bytes (`S`) are made of."""
    return array.dtype.kind == kind or all(
        isinstance(element, _ELEMENTS[kind]) for element in array.ravel().tolist()
    )


def _fit(spec: TensorSpec, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array in the annotated dtype and shape, where that loses nothing but float precision."""
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
    return _bytes_tensor(spec, _utf8(spec, [_validate(spec, value)]), [1], "str")


def _decode_text(spec: TensorSpec, tensor: Tensor) -> Any:
    if tensor.content_type == "json":
        return _load_json(spec, _one(spec, tensor, tensor.elements()))
    return _validate(spec, _one(spec, tensor, _texts(tensor)))


def _encode_texts(spec: TensorSpec, value: Any) -> Tensor:
    texts = _utf8(spec, _validate(spec, value))
    # [N, 1] as MLServer writes a list, so that a list of one text is not a text ([1]).
    return _bytes_tensor(spec, texts, [len(texts), 1], "str")


def _decode_texts(spec: TensorSpec, tensor: Tensor) -> Any:
    if tensor.content_type == "json":
        return _decode_json(spec, tensor)
    return _validate(spec, _texts(tensor))


def _encode_blob(spec: TensorSpec, value: Any) -> Tensor:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _wrong_type(spec, value)
    return _bytes_tensor(spec, _base64([bytes(value)]), [1], "base64")


def _decode_blob(spec: TensorSpec, tensor: Tensor) -> Any:
    return _validate(spec, _one(spec, tensor, _blobs(tensor)))


def _encode_blobs(spec: TensorSpec, value: Any) -> Tensor:
    if not isinstance(value, list | tuple) or not all(isinstance(e, bytes) for e in value):
        raise _wrong_type(spec, value)
    return _bytes_tensor(spec, _base64(value), [len(value), 1], "base64")


def _decode_blobs(spec: TensorSpec, tensor: Tensor) -> Any:
    return _validate(spec, _blobs(tensor))


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
    from pydantic_core import to_jsonable_python

    try:
        if spec.kind is Kind.JSON:
            value = to_jsonable_python(
                _validate(spec, _without_numpy(value)),
                by_alias=True,
                inf_nan_mode="constants",
                fallback=_plain,
            )
        # The standard library's writer: orjson has no integers over 64 bits, no NaN, no infinity.
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"{spec.name!r} cannot be written as JSON: {error}") from error
    return _bytes_tensor(spec, _utf8(spec, [text]), [1], "json")


def _decode_json(spec: TensorSpec, tensor: Tensor) -> Any:
    if tensor.datatype != BYTES:
        return _validate(spec, tensor.numbers().tolist())
    if tensor.content_type == "str":
        return _validate(spec, _texts(tensor) if tensor.shape != [1] else _texts(tensor)[0])
    return _load_json(spec, _one(spec, tensor, tensor.elements()))


def _load_json(spec: TensorSpec, element: Any) -> Any:
    if not isinstance(element, str | bytes):
        return _validate(spec, element)
    from pydantic import ValidationError

    try:
        return _adapter(spec.hint).validate_json(element)
    except ValidationError as error:
        raise _invalid(spec, error) from error


def _without_numpy(value: Any) -> Any:
    """Python's own numbers and lists, which pydantic checks, for numpy's in containers."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if type(value) is dict:
        return {key: _without_numpy(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_without_numpy(part) for part in value)
    return value


def _plain(value: Any) -> Any:
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
        if all(type(element) is datetime for element in value):
            return Kind.DATETIMES
    if _is_frame(value):
        return Kind.FRAME
    return Kind.JSON


def _encode_any(spec: TensorSpec, value: Any) -> Tensor:
    kind = kind_of(value)
    return CODECS[kind].encode(TensorSpec(spec.name, kind, _HINTS.get(kind, Any)), value)


def _decode_any(spec: TensorSpec, tensor: Tensor) -> Any:
    """What the sender most likely meant, by content type and shape."""
    one, many = Kind.ARRAY, Kind.ARRAY
    if _ELEMENT_TYPE not in tensor.parameters and tensor.datatype == BYTES:
        one, many = _MEANT.get(tensor.content_type or "", (one, many))
    kind = one if tensor.shape == [1] else many
    return CODECS[kind].decode(TensorSpec(spec.name, kind, _HINTS.get(kind, Any)), tensor)


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


def _utf8(spec: TensorSpec, texts: list[str]) -> list[bytes]:
    try:
        return [text.encode() for text in texts]
    except UnicodeEncodeError as error:
        raise PayloadError(f"{spec.name!r} is text that UTF-8 cannot write: {error}") from error


def _texts(tensor: Tensor) -> list[str]:
    elements = _blobs(tensor) if tensor.content_type == "base64" else tensor.elements()
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
    blobs = []
    for element in tensor.elements():
        if not isinstance(element, str | bytes):
            raise PayloadError(f"tensor {tensor.name!r} holds {element!r:.80}, which is not bytes")
        blobs.append(element.encode() if isinstance(element, str) else element)
    if tensor.content_type != "base64":
        return blobs
    try:
        return [base64.b64decode(blob, validate=True) for blob in blobs]
    except binascii.Error as error:
        raise PayloadError(
            f"tensor {tensor.name!r} has content type base64, and its data is not base64: {error}"
        ) from error


def _base64(blobs: list[bytes] | tuple[bytes, ...]) -> list[bytes]:
    return [base64.b64encode(blob) for blob in blobs]


def _load_repr(tensor: Tensor, integers: list[Any]) -> Any:
    """A value as tempo 0.5 writes it: the bytes of its `repr`, an integer each."""
    try:
        return ast.literal_eval(bytes(integers).decode())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
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


def _accept(spec: TensorSpec, value: Any) -> Any:
    """A plain Python value, which no tensor gave a type, as the spec's type."""
    if value is None and spec.nullable:
        return None
    if spec.kind is Kind.ARRAY:
        return _as_array(spec, value)
    if spec.kind is Kind.FRAME:
        return _no_frame(spec)
    return _validate(spec, value)


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


# Kinds whose values a JSON text can say, and a plain text cannot.
_AS_JSON = (Kind.JSON, Kind.STRINGS, Kind.BYTES_LIST, Kind.DATETIMES)
# What an untyped tensor holds, by content type: of shape [1], and of any other shape.
_MEANT = {
    "json": (Kind.JSON, Kind.JSON),
    "str": (Kind.STRING, Kind.STRINGS),
    "base64": (Kind.BYTES, Kind.BYTES_LIST),
    "datetime": (Kind.DATETIME, Kind.DATETIMES),
}
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
