"""Convert a column of a DataFrame to a tensor with a description, and back.

The tensor has data that any V2 server reads: numbers, text, ISO 8601. The description has the rest, in
the form that pandas documents for the columns of Arrow and Parquet files:
`{"pandas_type": "datetimetz", "numpy_type": "datetime64[ns]", "metadata": {"timezone": "UTC"}}`.
Reading looks types up in tables: it never imports anything by name, and never evaluates anything.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from math import prod
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.codec.elements import read_blobs, read_texts, to_base64
from tempo_runtime.protocol.codec.tagged_json import from_json, is_plain, to_json
from tempo_runtime.protocol.messages import tensor_from_json, tensor_to_json
from tempo_runtime.protocol.tensor import BYTES, DATATYPES, Tensor, datatype_of, shown

Description = dict[str, Any]
_JSON = "pd_json"  # MLServer's content type for a column of objects: each element is JSON
_UNITS = ("s", "ms", "us", "ns")
# In both byte orders.
_NUMPY = {str(dtype): dtype for kind in DATATYPES.values() for dtype in (kind, kind.newbyteorder())}
_NULLABLE = {
    name: np.dtype(name.lower())
    for name in (
        *("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
        *("Float32", "Float64"),
    )
} | {"boolean": np.dtype(np.bool_)}
_CLOSED = ("left", "right", "both", "neither")
_FREQUENCY = re.compile(r"[-+0-9A-Za-z]{1,32}")
_ZONE = re.compile(r"[-+\w]{1,32}(/[-+\w]{1,32}){0,3}", re.ASCII)
# Rows of a range without columns, whose length no values limit.
MOST_BARE_ROWS = 2**20
_MOST_LEVELS = 100  # in an index
_DEEPEST = 3  # categories may be intervals, whose ends may be datetimes


def encode_column(
    name: str, values: Any, what: str, *, described: bool = True
) -> tuple[Tensor, Description]:
    """Encode a column as a tensor of shape [N, 1] and a description.

    Args:
        name: Name of the tensor.
        values: The `array` of a Series or an Index, or a numpy array.
        what: Name of the column in errors.
        described: Whether the receiver reads the description. Otherwise a column that would be
            misunderstood without it is refused.

    Raises:
        PayloadError: If the column cannot be sent.
    """
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind in "biuf" and str(dtype) in _NUMPY:
            return _numbers(name, np.asarray(values)), _description(str(dtype), str(dtype))
        write = {"M": _write_instants, "m": _write_durations, "c": _write_complex, "O": _write_any}
        writer: Any = write.get(dtype.kind)
    else:
        nullable = str(dtype) in _NULLABLE
        writer = _write_nullable if nullable else _WRITERS.get(type(dtype).__name__)
        if not type(dtype).__module__.startswith("pandas."):
            writer = None
    if writer is None:
        raise _refused(what, dtype, "pandas does not have this dtype on every machine")
    tensor, description = writer(name, values, what)
    if not described and not _reads_alone(tensor, description):
        raise _refused(what, dtype, "the server may not be able to read such a column")
    return tensor, description


def decode_column(
    tensor: Tensor, description: Description, what: str, depth: int = _DEEPEST
) -> Any:
    """Decode the array that `encode_column` encoded.

    Raises:
        PayloadError: If the tensor does not match its description.
    """
    pandas_type, numpy_type = description.get("pandas_type"), description.get("numpy_type")
    reader = _READERS.get(pandas_type) if isinstance(pandas_type, str) else None
    if reader is None or not isinstance(numpy_type, str) or not depth:
        raise PayloadError(
            f"{what}: its pandas metadata says {shown(pandas_type)} ({shown(numpy_type)}), which is "
            "not a known type"
        )
    metadata = description.get("metadata")
    try:
        _check_shape(tensor)
        array = reader(
            tensor, numpy_type, metadata if isinstance(metadata, dict) else {}, depth - 1
        )
        if len(array) != (tensor.shape or [1])[0]:
            raise ValueError(f"{len(array)} values for shape {tensor.shape}")
    except ImportError as error:
        raise PayloadError(
            f"{what} is {numpy_type}, which requires a package that is not installed: {error}"
        ) from error
    except Exception as error:
        raise PayloadError(
            f"{what} does not match its pandas metadata ({pandas_type}, {numpy_type}): {error}"
        ) from error
    return array


def read_alone(tensor: Tensor) -> Any:
    """Decode a column without a description, as other clients and servers send it.

    Raises:
        PayloadError: If it does not match its content type.
    """
    import pandas

    if prod(tensor.shape[1:]) != 1:
        raise PayloadError(f"column {tensor.name!r} must have shape [N, 1], not {tensor.shape}")
    if tensor.datatype != BYTES:
        return tensor.numbers().reshape(-1)
    values: Any = read_blobs(tensor) if tensor.content_type == "base64" else read_texts(tensor)
    try:
        if tensor.content_type == "datetime":
            return pandas.to_datetime(values, format="ISO8601")
        if tensor.content_type == _JSON:
            values = [json.loads(element) for element in values]
    except (ValueError, RecursionError) as error:
        raise PayloadError(
            f"column {tensor.name!r} does not match its content type {tensor.content_type}: {error}"
        ) from error
    return _objects(values)


def encode_index(index: Any, what: str) -> list[Description]:
    """Describe an index: a RangeIndex as pandas does, any other index by the values of its levels.

    Raises:
        PayloadError: If it cannot be sent.
    """
    import pandas

    if not type(index).__module__.startswith("pandas."):
        raise PayloadError(
            f"{what} is a {type(index).__name__}, but would arrive as a plain pandas.Index; convert it "
            "to that"
        )
    if isinstance(index, pandas.MultiIndex):
        if index.nlevels > _MOST_LEVELS:
            raise PayloadError(
                f"{what} has {index.nlevels} levels, more than the limit of {_MOST_LEVELS}"
            )
        levels = []
        for level, codes, label in zip(index.levels, index.codes, index.names):
            part = _encode_level(level, label, what)
            part["codes"] = tensor_to_json(_numbers("codes", np.asarray(codes)))
            levels.append(part)
        return levels
    return [_encode_level(index, index.name, what)]


def decode_index(levels: Any, what: str, depth: int = _DEEPEST) -> Any:
    """Decode the index that `encode_index` encoded.

    Raises:
        PayloadError: If the descriptions do not describe an index.
    """
    import pandas

    if len(levels) > _MOST_LEVELS:
        raise PayloadError(
            f"{what} has {len(levels)} levels, more than the limit of {_MOST_LEVELS}"
        )
    try:
        parts = [_decode_level(level, what, depth) for level in levels]
        if "codes" not in levels[0]:
            [index] = parts
            return index
        codes: list[Any] = [
            tensor_from_json(level["codes"]).numbers().reshape(-1) for level in levels
        ]
        names = [_label(level) for level in levels]
        return pandas.MultiIndex(parts, codes, names=names)
    except PayloadError:
        raise
    except Exception as error:
        raise PayloadError(f"{what} does not match the pandas metadata: {error}") from error


def encode_object(value: Any, what: str) -> str:
    """Encode a value as tagged JSON text."""
    return json.dumps(to_json(value, what))


def decode_object(text: Any) -> Any:
    """Decode the value that `encode_object` encoded."""
    return from_json(json.loads(text))


# -- indexes and names -----------------------------------------------------------------------------


def _encode_level(index: Any, label: Any, what: str) -> Description:
    import pandas

    if isinstance(index, pandas.RangeIndex):
        extent = {"start": index.start, "stop": index.stop, "step": index.step}
        return {"kind": "range", **_name(label, what), **extent}
    values = index.to_numpy() if isinstance(index.dtype, np.dtype) else index.array
    tensor, description = encode_column("values", values, what)
    level = {**_name(label, what), **description, "tensor": tensor_to_json(tensor)}
    freq = getattr(index, "freq", None)
    if freq is not None and isinstance(index, pandas.DatetimeIndex | pandas.TimedeltaIndex):
        level["freq"] = _frequency(index, freq, what)
    return level


def _decode_level(level: Any, what: str, depth: int) -> Any:
    import pandas

    if level.get("kind") == "range":
        start, stop, step = (level[key] for key in ("start", "stop", "step"))
        extent = pandas.RangeIndex(start, stop, step, name=_label(level))
        len(extent)  # raises OverflowError if it is too large
        return extent
    array = decode_column(tensor_from_json(level["tensor"]), level, what, depth)
    index = pandas.Index(
        array, dtype=array.dtype, name=_label(level), copy=False, tupleize_cols=False
    )
    freq = level.get("freq")
    if freq is not None:
        if not _FREQUENCY.fullmatch(freq):
            raise ValueError(f"invalid frequency {shown(freq)}")
        index.freq = freq
    return index


def _frequency(index: Any, freq: Any, what: str) -> str:
    from pandas.tseries.frequencies import to_offset

    text: str = index.freqstr
    try:
        kept = to_offset(text) == freq and _FREQUENCY.fullmatch(text)
    except ValueError:
        kept = None
    if not kept:
        raise PayloadError(
            f"{what} has the frequency {shown(freq)}, which cannot be sent; set its freq to None"
        )
    return text


def _name(label: Any, what: str) -> Description:
    """Return the name of an index or level, with its JSON if it is not text."""
    if label is None or type(label) is str:
        return {"name": label}
    return {"name": str(label), "label": encode_object(label, f"the name of {what}")}


def _label(level: Description) -> Any:
    return decode_object(level["label"]) if "label" in level else level.get("name")


# -- writing ---------------------------------------------------------------------------------------


def _description(pandas_type: str, numpy_type: str, **metadata: Any) -> Description:
    return {
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": metadata or None,
    }


def _numbers(name: str, array: np.ndarray[Any, Any]) -> Tensor:
    datatype = datatype_of(array.dtype)
    return Tensor(name, datatype, [len(array), 1], array.reshape(-1, 1), {"content_type": "np"})


def _bytes(name: str, data: list[bytes], content_type: str) -> Tensor:
    return Tensor(name, BYTES, [len(data), 1], data, {"content_type": content_type})


def _texts(name: str, texts: list[str], what: str, content_type: str = "str") -> Tensor:
    try:
        return _bytes(name, [text.encode() for text in texts], content_type)
    except UnicodeEncodeError as error:
        raise PayloadError(f"{what} is text that cannot be encoded as UTF-8: {error}") from error


def _with_gaps(name: str, values: list[Any]) -> Tensor:
    """Write numbers or text, as JSON with nulls if there are gaps."""
    return _bytes(name, [json.dumps(value).encode() for value in values], _JSON)


def _write_instants(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    array = np.asarray(values)
    tensor = _texts(name, _iso(array), what, "datetime")
    return tensor, _description("datetime", str(array.dtype))


def _write_local_instants(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    dtype = values.dtype
    zone = _write_zone(dtype.tz, what, dtype)
    array = np.asarray(values.tz_convert(None))
    # All in UTC: pandas cannot read a column with several offsets, such as with summer time.
    texts = [text if text == "NaT" else f"{text}+00:00" for text in _iso(array)]
    return _texts(name, texts, what, "datetime"), _description(
        "datetimetz", str(array.dtype), **zone
    )


def _iso(array: np.ndarray[Any, Any]) -> list[str]:
    """Write ISO 8601 with as many fractional digits as the most precise value needs."""
    dtype_unit, _ = np.datetime_data(array.dtype)
    unit: Any = dtype_unit
    for coarser in _UNITS[: _UNITS.index(dtype_unit)]:
        if ((array.astype(f"M8[{coarser}]") == array) | np.isnat(array)).all():
            unit = coarser
            break
    texts: list[str] = np.datetime_as_string(array, unit=unit).tolist()
    return texts


def _write_zone(zone: Any, what: str, dtype: Any) -> dict[str, Any]:
    """Write a time zone as pandas does for Arrow, with the library it belongs to."""
    library = type(zone).__module__.partition(".")[0]
    if type(zone) is ZoneInfo and zone.key is not None:
        return {"timezone": zone.key, "zone": "zoneinfo"}
    if library == "pytz" and getattr(zone, "zone", None):
        return {"timezone": zone.zone, "zone": "pytz"}
    if type(zone) is dt.timezone or library == "pytz":
        offset = zone.utcoffset(None)
        named = zone.tzname(None) if type(zone) is dt.timezone else None
        if named == dt.timezone(offset).tzname(None):
            named = None
        fields = {"timezone": str(dt.timezone(offset))[3:] or "UTC", "zone": library}
        return {**fields, "offset": offset // dt.timedelta(microseconds=1), "named": named}
    if library == "dateutil" and type(zone).__name__ == "tzutc":
        return {"timezone": "UTC", "zone": library}
    raise _refused(
        what, dtype, "its time zone does not come from zoneinfo, pytz or datetime.timezone"
    )


def _write_durations(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    array = np.asarray(values)
    return _numbers(name, array.view(np.int64)), _description("timedelta", str(array.dtype))


def _write_complex(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    array = np.asarray(values)
    if array.dtype.itemsize > 16:
        raise _refused(what, array.dtype, "not every machine has this dtype")
    texts = list(map(str, array.astype(np.complex128).tolist()))
    return _texts(name, texts, what), _description("complex", str(array.dtype))


def _write_any(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    elements = np.asarray(values, object).tolist()
    kinds = set(map(type, elements))
    if kinds <= {str}:
        return _texts(name, elements, what), _description("unicode", "object")
    if kinds == {bytes}:
        return _bytes(name, to_base64(elements), "base64"), _description("bytes", "object")
    if all(map(is_plain, elements)):
        return _bytes(name, _json(elements, what), _JSON), _description("object", "object")
    # Other servers read numpy's numbers and pandas' gaps as plain numbers and nulls.
    plain = [_plain(element) for element in elements]
    exact = {
        str(position): to_json(element)
        for position, element in enumerate(elements)
        if plain[position] is not element
    }
    tensor = _bytes(name, _json(_tagged(plain, what, "object"), what), _JSON)
    tags = sum(not is_plain(element) for element in plain)
    return tensor, _description("object", "object", tags=tags, exact=json.dumps(exact))


def _tagged(elements: list[Any], what: str, dtype: Any) -> list[Any]:
    try:
        return [to_json(element, f"element {i}") for i, element in enumerate(elements)]
    except PayloadError as error:
        raise _refused(what, dtype, error) from error


def _json(elements: list[Any], what: str) -> list[bytes]:
    try:
        return [json.dumps(element).encode() for element in elements]
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused(what, "object", error) from error


def _plain(element: Any) -> Any:
    import pandas

    if element is pandas.NA or element is pandas.NaT:
        return None
    if isinstance(element, np.generic) and element.dtype.kind in "biuf":
        plain = element.item()
        return plain if type(plain) in (bool, int, float) else element
    return element


def _write_nullable(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    dtype = _NULLABLE[str(values.dtype)]
    description = _description(str(dtype), str(values.dtype))
    gaps = np.asarray(values.isna())
    array = values.to_numpy(dtype=dtype, na_value=dtype.type(0))
    if not gaps.any():
        return _numbers(name, array), description
    return _with_gaps(name, _blank(array.tolist(), gaps)), description


def _blank(values: list[Any], gaps: np.ndarray[Any, Any]) -> list[Any]:
    return [None if gap else value for value, gap in zip(values, gaps.tolist())]


def _write_strings(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    dtype = values.dtype
    if dtype.storage not in ("python", "pyarrow"):
        raise _refused(what, dtype, f"its storage is {dtype.storage}")
    nan = getattr(dtype, "na_value", None) is np.nan
    gaps = np.asarray(values.isna())
    texts = np.asarray(values, object).tolist()
    extra = {"na": "NaN"} if nan else {}
    description = _description("unicode", f"string[{dtype.storage}]", **extra)
    if not gaps.any():
        return _texts(name, texts, what), description
    return _with_gaps(name, _blank(texts, gaps)), description


def _write_categories(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    categories, codes = values.categories, np.asarray(values.codes)
    if len(categories) > MOST_BARE_ROWS:
        categories = _serialized(categories)
    [index] = encode_index(categories, f"the categories of {what}")
    metadata = {
        "num_categories": len(categories),
        "ordered": bool(values.ordered),
        "categories": index,
    }
    numbers = isinstance(categories.dtype, np.dtype) and categories.dtype.kind in "biuf"
    if not numbers and not all(type(value) is str for value in categories):
        description = _description("categorical", str(codes.dtype), codes=True, **metadata)
        return _numbers(name, codes), description
    description = _description("categorical", str(codes.dtype), **metadata)
    gaps = codes < 0
    if len(categories) and not gaps.any():
        array = categories.to_numpy()[codes]
        tensor = _numbers(name, array) if numbers else _texts(name, array.tolist(), what)
        return tensor, description
    listed = categories.tolist()
    elements = [None if code < 0 else listed[code] for code in codes.tolist()]
    return _with_gaps(name, elements), description


def _serialized(index: Any) -> Any:
    """Return an index with explicit values in place of a range."""
    import pandas

    if isinstance(index, pandas.RangeIndex):
        return pandas.Index(np.asarray(index), name=index.name)
    return index


def _write_periods(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    freq = str(values.dtype).removeprefix("period[").removesuffix("]")
    if not _FREQUENCY.fullmatch(freq):
        raise _refused(what, values.dtype, f"its frequency {shown(freq)} is not supported")
    return _numbers(name, np.asarray(values.asi8)), _description("period", freq)


def _write_intervals(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    import pandas

    [left], [right] = (
        encode_index(_serialized(pandas.Index(side)), what) for side in (values.left, values.right)
    )
    for side in (left, right):
        side.pop("freq", None)  # the ends of intervals do not have a frequency
    texts = [str(value) for value in values]
    return _texts(name, texts, what), _description(
        "interval", "interval", closed=values.closed, left=left, right=right
    )


def _write_sparse(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    subtype = values.dtype.subtype
    if str(subtype) not in _NUMPY:
        raise _refused(what, values.dtype, "only sparse columns of numbers are supported")
    fill = encode_object(np.asarray(values.dtype.fill_value).item(), what)
    dense = np.asarray(values.to_dense())
    return _numbers(name, dense), _description("sparse", str(subtype), fill_value=fill)


def _write_arrow(name: str, values: Any, what: str) -> tuple[Tensor, Description]:
    import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from pyarrow import types

    kind = values.dtype.pyarrow_dtype
    type_name = _write_arrow_type(kind)
    if type_name is None:
        raise _refused(what, values.dtype, "this type of Arrow is not supported")
    chunks = values.__arrow_array__().chunks
    array = pyarrow.concat_arrays(chunks) if chunks else pyarrow.array([], kind)
    description = _description("arrow", type_name)
    gaps = np.asarray(array.is_null())
    if types.is_timestamp(kind):
        counts = array.cast(pyarrow.int64()).fill_null(np.iinfo(np.int64).min).to_numpy(False)
        suffix = "+00:00" if kind.tz else ""
        if kind.tz is not None:
            description["metadata"] = {"timezone": kind.tz}
        texts = _iso(counts.view(f"M8[{kind.unit}]"))
        zoned = [text if text == "NaT" else text + suffix for text in texts]
        return _texts(name, zoned, what, "datetime"), description
    if str(kind) in _ARROW_NUMBERS:
        dtype = np.dtype(_ARROW_NUMBERS[str(kind)])
        filled = array.fill_null(False if dtype.kind == "b" else 0) if gaps.any() else array
        numbers = filled.to_numpy(False).astype(dtype, copy=False)
        if not gaps.any():
            return _numbers(name, numbers), description
        return _with_gaps(name, _blank(numbers.tolist(), gaps)), description
    listed = array.to_pylist()
    if types.is_string(kind) or types.is_large_string(kind):
        tensor = _with_gaps(name, listed) if gaps.any() else _texts(name, listed, what)
        return tensor, description
    if "binary" in type_name and not gaps.any():
        return _bytes(name, to_base64(listed), "base64"), description
    if types.is_duration(kind):
        listed = array.cast(pyarrow.int64()).to_pylist()
    tagged = _tagged(listed, what, type_name)
    description["metadata"] = {"tags": len(tagged)}
    return _bytes(name, _json(tagged, what), _JSON), description


_ARROW_NUMBERS = {
    "bool": "bool",
    **{name: name for name in map(str, DATATYPES.values()) if "int" in name},
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
}
_ARROW_DECIMAL = re.compile(r"decimal(128|256)\((\d{1,2}), (-?\d{1,2})\)")
_ARROW_UNIT = re.compile(r"(timestamp|duration|time32|time64)\[(s|ms|us|ns)(?:, tz=[^]]*)?\]")
_ARROW_PLAIN = ("null", "string", "large_string", "binary", "large_binary", "date32", "date64")


def _write_arrow_type(kind: Any) -> str | None:
    """Return the name of an Arrow type, if the type can be restored from it."""
    text = str(kind).replace("date32[day]", "date32").replace("date64[ms]", "date64")
    if text in _ARROW_PLAIN or text in _ARROW_NUMBERS or _ARROW_DECIMAL.fullmatch(text):
        return text
    timed = _ARROW_UNIT.fullmatch(text)
    # The values are converted to Python's times, which do not have nanoseconds.
    return None if timed is None or (timed[1], timed[2]) == ("time64", "ns") else text


def _read_arrow_type(text: str, zone: str | None) -> Any:
    import pyarrow

    if text in _ARROW_NUMBERS:
        return pyarrow.from_numpy_dtype(np.dtype(_ARROW_NUMBERS[text]))
    if text in _ARROW_PLAIN:
        return getattr(pyarrow, {"null": "null"}.get(text, text))()
    decimal = _ARROW_DECIMAL.fullmatch(text)
    if decimal is not None:
        make = pyarrow.decimal128 if decimal[1] == "128" else pyarrow.decimal256
        return make(int(decimal[2]), int(decimal[3]))
    timed = _ARROW_UNIT.fullmatch(text)
    if timed is None:
        raise ValueError(f"unknown Arrow type {shown(text)}")
    if timed[1] == "timestamp":
        return pyarrow.timestamp(timed[2], tz=zone)
    return {
        "duration": pyarrow.duration,
        "time32": pyarrow.time32,
        "time64": pyarrow.time64,
    }[timed[1]](timed[2])


def _reads_alone(tensor: Tensor, description: Description) -> bool:
    """Return whether a column can be read from its tensor alone, without the description."""
    kind, metadata = description["pandas_type"], description["metadata"] or {}
    if kind in ("timedelta", "complex", "period", "interval") or metadata.get("codes"):
        return False
    return not metadata.get("tags")


def _refused(what: str, dtype: Any, reason: object) -> PayloadError:
    return PayloadError(
        f"{what} of dtype {dtype} cannot be sent: {reason}; convert it to numbers, text or datetime64"
    )


# -- reading ---------------------------------------------------------------------------------------


def _check_shape(tensor: Tensor) -> None:
    if prod(tensor.shape[1:]) != 1:
        raise ValueError(f"shape {tensor.shape}, but a column must have [N, 1]")


def _objects(values: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), object)
    for position, value in enumerate(values):  # one by one, because they may be lists
        array[position] = value
    return array


def _elements(tensor: Tensor) -> list[Any]:
    """Read the elements of a tensor of numbers, text, JSON or base64."""
    if tensor.datatype != BYTES:
        numbers: list[Any] = tensor.numbers().reshape(-1).tolist()
        return numbers
    if tensor.content_type == "base64":
        return list(read_blobs(tensor))
    texts = read_texts(tensor)
    tensor._check_size(len(texts))
    return [json.loads(text) for text in texts] if tensor.content_type == _JSON else list(texts)


def _read_numbers(tensor: Tensor, numpy_type: str, metadata: Any, depth: int) -> Any:
    if numpy_type in _NULLABLE:
        return _read_nullable(tensor, numpy_type)
    dtype = _NUMPY[numpy_type]
    array = tensor.numbers().reshape(-1)
    if array.dtype != dtype.newbyteorder("="):
        raise ValueError(f"datatype {tensor.datatype}")
    return array.astype(dtype, copy=False)


def _read_nullable(tensor: Tensor, numpy_type: str) -> Any:
    from pandas import arrays

    data, gaps = _filled(tensor, _NULLABLE[numpy_type])
    makers: dict[str, Any] = {"b": arrays.BooleanArray, "f": arrays.FloatingArray}
    return makers.get(data.dtype.kind, arrays.IntegerArray)(data, gaps)


def _filled(tensor: Tensor, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the numbers, with 0 in place of gaps, and a mask of the gaps."""
    if tensor.datatype != BYTES:
        # A copy, because the new array uses this memory.
        data = tensor.numbers().reshape(-1)
        if data.dtype != dtype:
            raise ValueError(f"datatype {tensor.datatype}")
        return data.copy(), np.zeros(len(data), np.bool_)
    listed = _elements(tensor)
    gaps = np.array([value is None for value in listed], np.bool_)
    zero = dtype.type(0).item()
    filled = [zero if value is None else value for value in listed]
    return Tensor(tensor.name, datatype_of(dtype), [len(filled)], filled).numbers().copy(), gaps


def _read_instants(tensor: Tensor, numpy_type: str, metadata: Any, depth: int) -> Any:
    if numpy_type not in [f"datetime64[{unit}]" for unit in _UNITS]:
        raise ValueError(f"invalid dtype {shown(numpy_type)}")
    texts = [text.removesuffix("+00:00") for text in _elements(tensor)]
    return np.array(texts, numpy_type)


def _read_local_instants(tensor: Tensor, numpy_type: str, metadata: Any, depth: int) -> Any:
    import pandas

    instants = pandas.DatetimeIndex(_read_instants(tensor, numpy_type, metadata, depth))
    return instants.tz_localize("UTC").tz_convert(_read_zone(metadata)).array


def _read_zone(metadata: Description) -> Any:
    library, name, offset = (metadata.get(key) for key in ("zone", "timezone", "offset"))
    if offset is not None:
        delta = dt.timedelta(microseconds=offset)
        if library == "pytz":
            import pytz  # type: ignore[import-untyped]

            return pytz.FixedOffset(delta // dt.timedelta(minutes=1))
        named = metadata.get("named")
        return dt.timezone(delta) if named is None else dt.timezone(delta, named)
    if not isinstance(name, str) or not _ZONE.fullmatch(name):
        raise ValueError(f"invalid time zone {shown(name)}")
    if library == "dateutil":
        from dateutil.tz import tzutc  # type: ignore[import-untyped,unused-ignore]

        return tzutc()
    if library == "pytz":
        import pytz

        return pytz.timezone(name)
    return ZoneInfo(name)


def _read_durations(tensor: Tensor, numpy_type: str, metadata: Any, depth: int) -> Any:
    if numpy_type not in [f"timedelta64[{unit}]" for unit in _UNITS]:
        raise ValueError(f"invalid dtype {shown(numpy_type)}")
    return _counts(tensor).view(numpy_type)


def _counts(tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.datatype != "INT64":
        raise ValueError(f"datatype {tensor.datatype}")
    return tensor.numbers().reshape(-1).copy()


def _read_complex(tensor: Tensor, numpy_type: str, metadata: Any, depth: int) -> Any:
    if numpy_type not in ("complex64", "complex128"):
        raise ValueError(f"invalid dtype {shown(numpy_type)}")
    return np.array([complex(text) for text in _elements(tensor)], numpy_type)


def _read_any(tensor: Tensor, numpy_type: str, metadata: Description, depth: int) -> Any:
    elements = _elements(tensor)
    if "tags" in metadata:
        elements = [from_json(element) for element in elements]
        for position, element in json.loads(metadata["exact"]).items():
            elements[int(position)] = from_json(element)
    return _objects(elements)


def _read_texts(tensor: Tensor, numpy_type: str, metadata: Description, depth: int) -> Any:
    import pandas

    if numpy_type == "object":
        return _objects(_elements(tensor))
    storage = {"string[python]": "python", "string[pyarrow]": "pyarrow"}[numpy_type]
    if metadata.get("na") == "NaN":
        dtype: Any = pandas.StringDtype(storage, na_value=np.nan)
        values = [np.nan if text is None else text for text in _elements(tensor)]
    else:
        dtype = pandas.StringDtype(storage)
        values = [pandas.NA if text is None else text for text in _elements(tensor)]
    if not all(type(text) is str or text is dtype.na_value for text in values):
        raise ValueError("it contains values that are not text")
    return pandas.array(_objects(values), dtype)


def _read_categories(tensor: Tensor, numpy_type: str, metadata: Description, depth: int) -> Any:
    import pandas

    index = metadata["categories"]
    categories = decode_index([index], "its categories", depth)
    if index.get("kind") == "range" and len(categories) > MOST_BARE_ROWS:
        raise ValueError(f"a range of {len(categories)} categories")
    dtype = pandas.CategoricalDtype(categories, ordered=metadata.get("ordered") is True)
    if metadata.get("codes") is True:
        codes = tensor.numbers().reshape(-1)
    else:
        values = _elements(tensor)
        gaps = np.array([value is None for value in values], np.bool_)
        present = [value for value in values if value is not None]
        codes = np.full(len(values), -1)
        known = categories.get_indexer(pandas.Index(present, dtype=categories.dtype))
        if (known < 0).any():
            raise ValueError(f"{shown(present[int(known.argmin())])} is not one of its categories")
        codes[~gaps] = known
    return pandas.Categorical.from_codes(codes, dtype=dtype)


def _read_periods(tensor: Tensor, numpy_type: str, metadata: Any, depth: int) -> Any:
    import pandas

    if not _FREQUENCY.fullmatch(numpy_type):
        raise ValueError(f"invalid frequency {shown(numpy_type)}")
    return pandas.arrays.PeriodArray(_counts(tensor), dtype=pandas.PeriodDtype(numpy_type))


def _read_intervals(tensor: Tensor, numpy_type: str, metadata: Description, depth: int) -> Any:
    import pandas

    if metadata["closed"] not in _CLOSED:
        raise ValueError(f"closed {shown(metadata['closed'])}")
    left, right = (decode_index([metadata[side]], side, depth) for side in ("left", "right"))
    return pandas.arrays.IntervalArray.from_arrays(left, right, metadata["closed"])


def _read_sparse(tensor: Tensor, numpy_type: str, metadata: Description, depth: int) -> Any:
    import pandas

    dense = _read_numbers(tensor, numpy_type, {}, depth)
    fill = decode_object(metadata["fill_value"])
    return pandas.arrays.SparseArray(dense, dtype=pandas.SparseDtype(_NUMPY[numpy_type], fill))


def _read_arrow(tensor: Tensor, numpy_type: str, metadata: Description, depth: int) -> Any:
    import pandas
    import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore]

    zone = metadata.get("timezone")
    if zone is not None and (not isinstance(zone, str) or len(zone) > 128):
        raise ValueError(f"invalid time zone {shown(zone)}")
    kind = _read_arrow_type(numpy_type, zone)
    if numpy_type in _ARROW_NUMBERS:
        data, gaps = _filled(tensor, np.dtype(_ARROW_NUMBERS[numpy_type]))
        array = pyarrow.array(data, kind, mask=gaps, from_pandas=False)
    elif pyarrow.types.is_timestamp(kind):
        instants = _read_instants(tensor, f"datetime64[{kind.unit}]", metadata, depth)
        counts = pyarrow.array(instants.view(np.int64), mask=np.isnat(instants))
        array = counts.cast(kind)
    else:
        listed = _elements(tensor)
        if "tags" in metadata:
            listed = [from_json(element) for element in listed]
        array = pyarrow.array(listed, pyarrow.int64() if numpy_type[:8] == "duration" else kind)
        array = array.cast(kind)
    return pandas.arrays.ArrowExtensionArray(pyarrow.chunked_array([array], kind))


_Reader = Callable[[Tensor, str, Description, int], Any]
_WRITERS: dict[str, Any] = {
    "DatetimeTZDtype": _write_local_instants,
    "CategoricalDtype": _write_categories,
    "PeriodDtype": _write_periods,
    "IntervalDtype": _write_intervals,
    "SparseDtype": _write_sparse,
    "StringDtype": _write_strings,
    "ArrowDtype": _write_arrow,
}
_READERS: dict[str, _Reader] = {
    **dict.fromkeys(_NUMPY, _read_numbers),
    "datetime": _read_instants,
    "datetimetz": _read_local_instants,
    "timedelta": _read_durations,
    "complex": _read_complex,
    "unicode": _read_texts,
    "bytes": _read_any,
    "object": _read_any,
    "categorical": _read_categories,
    "period": _read_periods,
    "interval": _read_intervals,
    "sparse": _read_sparse,
    "arrow": _read_arrow,
}
