"""Read the arguments of a predict method from plain JSON, and write its result as plain JSON.

The body of a call is an object of the arguments by name, and the answer is the result alone. Both are
typed by the signature, and pass through the codecs of V2 requests, so that a value means the same in both
forms. No I/O.

JSON has fewer types than Python: an array is nested lists, a DataFrame is a list of rows or an object of
columns, `bytes` is text in base64, a datetime is text in ISO 8601. NaN is null, or the text `NaN` where a
single number is expected; infinity is the text `Infinity` or `-Infinity`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.binding import encode_results, is_named, unknown_name
from tempo_runtime.protocol.codec.dataframes import FRAME, decode_frame, encode_frame
from tempo_runtime.protocol.codec.elements import SCALAR, read_texts
from tempo_runtime.protocol.codec.json_values import refuse_deep
from tempo_runtime.protocol.codec.untyped import kind_in
from tempo_runtime.protocol.signature import Kind, Signature, TensorSpec
from tempo_runtime.protocol.sizes import DecodingLimits
from tempo_runtime.protocol.tensor import (
    BYTES,
    WORDS,
    Tensor,
    datatype_of,
    plain_numbers,
    shown,
)

_LIMITS = DecodingLimits()
_SPACE = re.compile(r"[ \t\n\r]*")
_COLUMN_OF_JSON = "pd_json"  # MLServer's content type for a column of objects
_NUMBERS = frozenset((int, float, type(None)))
_SINGLE = (Kind.BOOL, Kind.INT, Kind.FLOAT)
_EXACT = 2**53  # FP64 has each integer up to this one
# Kinds whose values are texts, or lists of texts, by content type.
_TEXTS = {
    Kind.BYTES: "base64",
    Kind.BYTES_LIST: "base64",
    Kind.DATETIME: "datetime",
    Kind.DATETIMES: "datetime",
}


@dataclass
class PlainCall:
    """A call of a predict method in plain JSON.

    Attributes:
        body: The arguments; removed when they are read.
        parameters: Parameters of the request, such as its deadline.
        id: Id of the request.
    """

    body: bytes
    parameters: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


def read_arguments(
    signature: Signature, body: bytes, limits: DecodingLimits = _LIMITS
) -> dict[str, Any]:
    """Read the arguments of a predict method from the body of a plain call.

    Args:
        signature: The signature of the predict method.
        body: A JSON object of the arguments by name.
        limits: Limits for decoding.

    Raises:
        PayloadError: If the body is not such an object, or an argument is missing, unknown, given twice
            or of the wrong type. The message names the argument.

    Example:
        >>> import numpy as np
        >>> def predict(rows: np.ndarray, top: int = 1) -> np.ndarray: ...
        >>> read_arguments(Signature.of(predict), b'{"rows": [[1.5, 2]]}')
        {'rows': array([[1.5, 2. ]])}
    """
    specs = {spec.name: spec for spec in signature.inputs}
    arguments: dict[str, Any] = {}
    for name, value, text in _members(body):
        spec = specs.get(name)
        if spec is None:
            raise unknown_name(name, list(specs), "argument")
        arguments[name] = _argument(spec, value, text, limits)
    for name, spec in specs.items():
        if name in arguments:
            continue
        if spec.required:
            raise PayloadError(f"argument {name!r} is missing; expected: {', '.join(specs)}")
        if not spec.has_default:
            arguments[name] = None
    return arguments


def write_result(signature: Signature, value: Any) -> bytes:
    """Write the result of a predict method as JSON.

    One result is its value; several are an object by their names, or a list if they do not have names; a
    DataFrame is a list of its rows.

    Args:
        signature: The signature of the predict method.
        value: The result.

    Raises:
        PayloadError: If the value does not match the signature, or plain JSON does not have its type.
    """
    tensors, content_type = encode_results(signature, value, encode=_encoded)
    if content_type == FRAME:
        return _dumps(_rows(tensors))
    form = signature.form
    is_tuple = form == "tuple" or (form == "dynamic" and type(value) is tuple and len(tensors) > 1)
    if is_tuple:
        return _dumps([_plain(tensor) for tensor in tensors])
    if form in ("named", "mapping") or len(tensors) > 1 or is_named(tensors):
        return _dumps({tensor.name: _plain(tensor) for tensor in tensors})
    return _dumps(_plain(tensors[0]))


def write_arguments(signature: Signature, arguments: Mapping[str, Any]) -> bytes:
    """Write the arguments of a predict method as the body of a plain call.

    Args:
        signature: The signature of the predict method.
        arguments: The arguments by name.

    Raises:
        PayloadError: If a value does not match the signature, or plain JSON does not have its type.

    Example:
        >>> import numpy as np
        >>> def predict(rows: np.ndarray, top: int = 1) -> np.ndarray: ...
        >>> write_arguments(Signature.of(predict), {"rows": np.array([[1.5, 2]]), "top": 3})
        b'{"rows":[[1.5,2.0]],"top":3}'
    """
    specs = {spec.name: spec for spec in signature.inputs}
    content: dict[str, Any] = {}
    for name, value in arguments.items():
        spec = specs[name]
        if value is None and spec.nullable:
            content[name] = None
        elif spec.kind is Kind.FRAME:
            content[name] = _rows(encode_frame(value, name))
        elif spec.kind is Kind.FLOAT and math.isnan(value):
            content[name] = "NaN"  # null would be None
        else:
            content[name] = _plain(_encoded(spec, value))
    return _dumps(content)


# -- reading ---------------------------------------------------------------------------------------


def _members(body: bytes) -> Iterator[tuple[str, Any, str]]:
    """Yield the name, the value and the text of each member of the object that a body is.

    The text has what a Python value may lose, such as the zeros of a decimal.
    """
    try:
        yield from _scanned(body.decode())
    except UnicodeDecodeError as error:
        raise PayloadError(f"the body is not JSON, which is UTF-8: {error}") from error
    except RecursionError as error:
        raise PayloadError("the body is nested too deeply") from error
    except ValueError as error:
        raise PayloadError(f"the body is not JSON: {error}") from error


def _scanned(text: str) -> Iterator[tuple[str, Any, str]]:
    given: set[str] = set()
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        _DECODER.decode(text)
        raise PayloadError(
            f"the body must be a JSON object of the arguments by name, not {shown(text)}"
        )
    position = _skip(text, position + 1)
    while text[position : position + 1] != "}" or given:
        if text[position : position + 1] != '"':
            raise json.JSONDecodeError("Expecting the name of an argument", text, position)
        name, position = _DECODER.raw_decode(text, position)
        if name in given:
            raise PayloadError(f"argument {name!r} is given twice; send it once")
        given.add(name)
        position = _skip(text, position)
        if text[position : position + 1] != ":":
            raise json.JSONDecodeError("Expecting ':'", text, position)
        start = _skip(text, position + 1)
        value, end = _DECODER.raw_decode(text, start)
        yield name, value, text[start:end]
        position = _skip(text, end)
        if text[position : position + 1] == "}":
            break
        if text[position : position + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' or '}'", text, position)
        position = _skip(text, position + 1)
    end = _skip(text, position + 1)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise PayloadError(f"an object in the body has the name {name!r} twice; send it once")
        content[name] = value
    return content


def _no_constant(word: str) -> None:
    raise PayloadError(f'{word} is not JSON; send the text "{word}"')


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise PayloadError(
            f'{text} is too large for a float; send the text "Infinity" for infinity'
        )
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_float
)


def _argument(spec: TensorSpec, value: Any, text: str, limits: DecodingLimits) -> Any:
    if value is None and spec.nullable:
        return None
    if spec.kind is Kind.FRAME:
        return _frame(spec, value, limits)
    if spec.kind is Kind.ARRAY:
        return codec.decode(spec, _array(spec, value), limits)
    refuse_deep(spec, value)
    if spec.kind is Kind.ANY:
        return value
    content_type = _TEXTS.get(spec.kind)
    if content_type is not None:
        return codec.decode(spec, _texts(spec, value, content_type), limits)
    element = Tensor(spec.name, BYTES, [1], [text], {"content_type": "json"})
    return codec.decode(spec, element, limits)


def _texts(spec: TensorSpec, value: Any, content_type: str) -> Tensor:
    is_list = spec.kind in (Kind.BYTES_LIST, Kind.DATETIMES)
    texts = value if is_list else [value]
    if type(texts) is not list or not all(type(text) is str for text in texts):
        form = "text in base64" if content_type == "base64" else "text in ISO 8601"
        raise _wrong(spec, f"a list of {form}" if is_list else form, value)
    shape = [len(texts), 1] if is_list else [1]
    return Tensor(spec.name, BYTES, shape, texts, {"content_type": content_type})


def _array(spec: TensorSpec, value: Any) -> Tensor:
    elements = np.asarray(value, object)
    flat: list[Any] = elements.ravel().tolist()
    types = set(map(type, flat))
    if value is None or dict in types:
        raise _wrong(spec, "numbers or texts, nested in lists", value)
    if list in types:
        raise PayloadError(
            f"{spec.name!r} is ragged: its rows differ in length, or are nested too deeply; send rows "
            "of the same length"
        )
    wanted = spec.dtype
    is_binary = wanted is not None and wanted.kind == "S"
    if wanted is not None and wanted.kind in "biuf":
        datatype = datatype_of(wanted)
        odd = next((item for item in flat if not _suits(item, wanted.kind)), None)
        if odd is not None or (None in flat and wanted.kind != "f"):
            raise _wrong(spec, str(wanted), odd)
    else:
        datatype = _datatype(spec, flat, types)
    parameters = {"content_type": "base64" if is_binary else "np"}
    shape = list(elements.shape)
    if not flat and spec.shape is not None:  # an empty list does not show the lengths inside it
        shape += [max(length, 0) for length in spec.shape[len(shape) :]]
    return Tensor(spec.name, datatype, shape, flat, parameters)


def _suits(item: Any, kind: str) -> bool:
    """Return whether an element can be in an array of numbers of this kind; null is a float."""
    if kind == "b":
        return type(item) is bool or item is None
    if kind in "iu":
        return type(item) is int or item is None
    return type(item) in _NUMBERS or (type(item) is str and item in WORDS)


def _datatype(spec: TensorSpec, flat: list[Any], types: set[type]) -> str:
    """Return the datatype of an array without an annotated one, as numpy would choose it."""
    if types == {str}:
        return BYTES
    if types == {bool}:
        return "BOOL"
    if types == {int}:
        return "UINT64" if max(flat) >= 2**63 else "INT64"
    if all(_suits(item, "f") for item in flat):
        if not _are_exact(flat):
            raise PayloadError(
                f"{spec.name!r} holds integers that an array of floats cannot hold exactly; send an "
                "array of integers alone"
            )
        return "FP64"
    odd = next(item for item in flat if not _suits(item, "f"))
    raise _wrong(spec, "an array of elements of one type", odd)


def _frame(spec: TensorSpec, value: Any, limits: DecodingLimits) -> Any:
    columns: dict[str, list[Any]]
    if type(value) is dict and all(type(column) is list for column in value.values()):
        columns = value
    elif type(value) is list and all(type(row) is dict for row in value):
        names = list(value[0]) if value else []
        for number, row in enumerate(value):
            if row.keys() != value[0].keys() or not names:
                raise PayloadError(
                    f"row {number} of {spec.name!r} has the columns {shown(list(row))}, but the first "
                    f"row has {shown(names)}; send the same columns, at least one, in each row"
                )
        columns = {name: [row[name] for row in value] for name in names}
    else:
        raise _wrong(spec, "a list of rows, or an object of columns", value)
    limits.check_count(len(columns))
    return decode_frame([_column(name, values) for name, values in columns.items()])


def _column(name: str, values: list[Any]) -> Tensor:
    """Return a column, with the dtype that pandas would choose."""
    types = set(map(type, values))
    datatype, content_type = BYTES, "str"
    if types == {bool}:
        datatype, content_type = "BOOL", "np"
    elif types == {int} and min(values) >= -(2**63) and max(values) < 2**63:
        datatype, content_type = "INT64", "np"
    elif types - {type(None)} and types <= _NUMBERS and _are_exact(values):
        datatype, content_type = "FP64", "np"
    elif types - {str}:
        values, content_type = [json.dumps(item) for item in values], _COLUMN_OF_JSON
    return Tensor(name, datatype, [len(values), 1], values, {"content_type": content_type})


def _are_exact(values: Sequence[Any]) -> bool:
    """Return whether floats can hold all integers among numbers."""
    return all(type(item) is not int or -_EXACT <= item <= _EXACT for item in values)


def _wrong(spec: TensorSpec, expected: str, value: Any) -> PayloadError:
    given = json.dumps(value) if value is None or isinstance(value, bool) else shown(value)
    return PayloadError(f"{spec.name!r} must be {expected}, but {given} was given")


# -- writing ---------------------------------------------------------------------------------------


def _encoded(spec: TensorSpec, value: Any) -> Tensor:
    tensor = codec.encode(spec, value)
    kind = codec.kind_of(value) if spec.kind is Kind.ANY else spec.kind
    if kind in _SINGLE:  # and not an array of one number
        tensor.parameters[SCALAR] = True
    return tensor


def _dumps(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(tensor: Tensor) -> Any:
    """Return the value in a tensor for orjson to write."""
    if tensor.datatype != BYTES:
        array = tensor.numbers()
        return _numbers(array.reshape(()) if tensor.parameters.get(SCALAR) else array)
    kind = kind_in(tensor)
    if kind is Kind.JSON:
        return _json(tensor.elements()[0])
    texts = _listed(tensor)
    if kind is Kind.ARRAY:
        return np.array(texts, object).reshape(tensor.shape).tolist()
    return texts[0] if tensor.shape == [1] else texts


def _listed(tensor: Tensor) -> list[str]:
    """Return the texts in a tensor as they are: in base64, if they are bytes."""
    return read_texts(Tensor(tensor.name, BYTES, tensor.shape, tensor.data))


def _numbers(array: np.ndarray[Any, Any]) -> Any:
    """Return numbers for orjson to write as nested lists."""
    if array.dtype.kind == "f":
        array = array.astype(np.float64)  # which JSON's readers expect
        if not array.ndim or np.isinf(array).any():
            words = np.empty(array.size, object)
            words[:] = plain_numbers(array)
            return words.reshape(array.shape).tolist()
    if not array.ndim:
        return array.item()
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _json(element: str | bytes) -> Any:
    """Return JSON text for orjson to copy; Python's, which the codecs write, may have NaN in it."""
    text = element.encode() if isinstance(element, str) else element
    if b"NaN" in text or b"Infinity" in text:
        return _finite(json.loads(text))
    return orjson.Fragment(text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    if isinstance(value, float):
        return plain_numbers(np.array([value]))[0]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return orjson.Fragment(str(value).encode())  # orjson has 64 bits only
    return value


def _rows(tensors: list[Tensor]) -> list[dict[str, Any]]:
    columns = [_cells(tensor) for tensor in tensors]
    names = [tensor.name for tensor in tensors]
    return [dict(zip(names, row)) for row in zip(*columns)]


def _cells(column: Tensor) -> list[Any]:
    if column.datatype != BYTES:
        return plain_numbers(column.numbers())
    texts = _listed(column)
    if column.content_type == _COLUMN_OF_JSON:
        return [_json(text) for text in texts]
    return list(texts)
