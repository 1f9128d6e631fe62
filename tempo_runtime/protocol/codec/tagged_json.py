"""Write values that JSON lacks as JSON with tags: `(1, 2)` becomes `{"$tuple": [1, 2]}`.

An object whose only key begins with `$` is a value of one of the standard types below. A dict with such a
key, or with keys other than text, is written as pairs: `{"$dict": [[1, "a"]]}`. Everything else is plain
JSON. Reading never imports anything by name, and never evaluates anything.
"""

from __future__ import annotations

import base64
import datetime as dt
import pathlib
import re
import sys
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection
from decimal import Decimal
from fractions import Fraction
from math import prod
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.tensor import shown

DEEPEST = 100  # levels; the limit of pydantic's JSON reader is 200, that of its writer 250
_MARK = "$"
ATOMS = frozenset((str, int, float, bool, type(None)))
_CONTAINERS = ATOMS | {list, dict}
# Python's default limit for writing and reading integers is 4300 digits.
_BITS = 14_284
_MOST_DIMENSIONS = 32
# Without Python objects, and without types that differ between machines (`longdouble`).
_DTYPE = re.compile(
    r"[<>|]([biu][1248]|f[248]|c8|c16|[SUV]\d{1,9}|[mM]8(\[\d{0,9}[A-Za-z]{1,2}(/\d{1,9})?\])?)"
)
_LAST_LETTER = 0x10FFFF
_FACTORIES: dict[str, Any] = {
    kind.__name__: kind for kind in (list, dict, set, tuple, int, float, str, bool)
}
_PATHS: dict[str, type[pathlib.PurePath]] = {
    kind.__name__: kind
    for kind in (
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        pathlib.PosixPath,
        pathlib.WindowsPath,
    )
}
_UNITS = ("s", "ms", "us", "ns")  # the units of pandas
_Write = Callable[[Any, str, int], Any]
_Read = Callable[[Any], Any]


def to_json(value: Any, name: str = "value") -> Any:
    """Convert a value to JSON, with tags for types that JSON lacks.

    Example:
        >>> to_json({"t": (1, 2)})
        {'t': {'$tuple': [1, 2]}}

    Args:
        value: A value made only of the standard types that this module lists.
        name: Name of the value in errors.

    Raises:
        PayloadError: If a part is of another type; the message has the path to it.
    """
    return _write(value, name, DEEPEST)


def from_json(content: Any) -> Any:
    """Read the value that `to_json` wrote.

    Raises:
        PayloadError: If a tag is unknown, or its content is invalid.
    """
    return _read(content, 4 * DEEPEST)


def is_plain(value: Any, levels: int = DEEPEST) -> bool:
    """Return whether JSON without tags preserves a value, including the types of its parts."""
    kind = type(value)
    if kind in ATOMS:
        return True
    if kind is list:
        parts = value
    elif kind is dict and all(type(key) is str for key in value):
        parts = value.values()
    else:
        return False
    kinds = set(map(type, parts))
    if kinds <= ATOMS:
        return levels > 0
    if not levels or not kinds <= _CONTAINERS:
        return False
    return all(is_plain(part, levels - 1) for part in parts if type(part) not in ATOMS)


def unplain(value: Any, path: str) -> str | None:
    """Describe the first part that needs a tag, with its path; None if there is no such part."""
    kind = type(value)
    if kind in ATOMS:
        return None
    if kind is list:
        faults = (unplain(part, f"{path}[{i}]") for i, part in enumerate(value))
        return next(filter(None, faults), None)
    if kind is dict:
        for key, part in value.items():
            if type(key) is not str:
                return f"{path} has the key {shown(key)} of type {kind_name(type(key))}"
            fault = unplain(part, f"{path}[{key!r}]")
            if fault:
                return fault
        return None
    return f"{path} is of type {kind_name(kind)}"


def is_standard(value: Any) -> bool:
    """Return whether JSON or a tag has the type of a value, regardless of its parts."""
    kind = type(value)
    if kind in _CONTAINERS or kind in _TAG_OF:
        return True
    try:
        return bool(_library_tag(value, ""))
    except PayloadError:
        return False


def kind_name(kind: type) -> str:
    """Return the usual name of a type."""
    package = kind.__module__.partition(".")[0]
    return f"{package}.{kind.__name__}" if package in ("numpy", "pandas") else kind.__qualname__


# -- writing ---------------------------------------------------------------------------------------


def _write(value: Any, path: str, levels: int) -> Any:
    kind = type(value)
    if kind is str:
        if not value.isascii():
            _check_utf8(value, path)
        return value
    if kind is int:
        return value if value.bit_length() <= _BITS else {"$int": hex(value)}
    if kind in ATOMS:
        return value
    if not levels:
        raise PayloadError(f"{path} is nested more than {DEEPEST} levels deep")
    if kind is list:
        return _all(value, path, levels)
    if kind is dict:
        if all(type(key) is str and not key.startswith(_MARK) for key in value):
            for key in value:
                _write(key, f"key {shown(key)} of {path}", levels)
            return {
                key: _write(part, f"{path}[{key!r}]", levels - 1) for key, part in value.items()
            }
        return {"$dict": _pairs(value, path, levels)}
    tag = _TAG_OF.get(kind)
    if tag is None:
        tag = _library_tag(value, path)
    elif getattr(value, "__dict__", None):
        raise PayloadError(
            f"{path} is of type {kind_name(kind)} with additional attributes "
            f"({', '.join(vars(value))}), which would be lost; pass them as values"
        )
    return {tag: _TAGS[tag][0](value, path, levels)}


def _library_tag(value: Any, path: str) -> str:
    """Return the tag of a numpy or pandas value."""
    kind = type(value)
    if kind is np.ndarray:
        return "$ndarray"
    if isinstance(value, np.generic) and kind.__module__ == "numpy":
        return "$numpy"
    pandas = sys.modules.get("pandas")
    if pandas is not None and kind.__module__.startswith("pandas."):
        if value is pandas.NaT or value is pandas.NA:
            return "$pandas"
        if kind is pandas.Timestamp:
            return "$timestamp"
        if kind is pandas.Timedelta:
            return "$duration"
    raise PayloadError(
        f"{path} is of type {kind_name(kind)}, which cannot be sent without a declared type; annotate "
        "the argument or result with it, or pass its parts (numbers, text, lists, dicts)"
    )


def _all(values: Collection[Any], path: str, levels: int) -> list[Any]:
    if levels > 1 and _is_short(values):
        return list(values)
    return [_write(part, f"{path}[{i}]", levels - 1) for i, part in enumerate(values)]


def _elements(values: Collection[Any], path: str, levels: int) -> list[Any]:
    """Convert the elements of a set, which do not have positions."""
    if levels > 1 and _is_short(values):
        return list(values)
    return [_write(part, f"{shown(part)} in {path}", levels - 1) for part in values]


def _pairs(value: dict[Any, Any], path: str, levels: int) -> list[Any]:
    if levels > 1 and _is_short(value) and _is_short(value.values()):
        return [[key, part] for key, part in value.items()]
    return [
        [
            _write(key, f"key {shown(key)} of {path}", levels - 1),
            _write(part, f"{path}[{shown(key)}]", levels - 1),
        ]
        for key, part in value.items()
    ]


def _is_short(values: Collection[Any]) -> bool:
    """Return whether all values are 64-bit numbers or ASCII text, which are written unchanged."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return bool(-(2**63) <= min(values) <= max(values) < 2**63)
    if kinds == {str}:
        return all(map(str.isascii, values))
    return kinds <= {float, bool, type(None)}


def _check_utf8(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PayloadError(f"{path} is text that cannot be encoded as UTF-8: {error}") from error


def _write_base64(value: bytes | bytearray, path: str, levels: int) -> str:
    return base64.b64encode(value).decode()


def _write_zone(zone: dt.tzinfo | None, path: str) -> Any:
    """Write a time zone as None, as a name, or as an offset in microseconds and its name."""
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is dt.timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        for text in name:
            _check_utf8(text, path)
        return [offset // dt.timedelta(microseconds=1), *name]
    raise PayloadError(
        f"{path} has a time zone of type {kind_name(type(zone))}, which cannot be sent; use "
        "zoneinfo.ZoneInfo or datetime.timezone"
    )


def _pytz(zone: Any) -> str | None:
    """Return the name of a pytz time zone, which pandas uses."""
    return getattr(zone, "zone", None) if type(zone).__module__.startswith("pytz") else None


def _write_datetime(value: dt.datetime, path: str, levels: int) -> Any:
    naive = value.replace(tzinfo=None, fold=0)
    if named := _pytz(value.tzinfo):
        content = [naive.isoformat(), bool(value.dst()), ["pytz", named]]
        if (kept := _read_datetime(content)).utcoffset() == value.utcoffset() and not value.fold:
            return content
        raise PayloadError(f"{path} is {value}, but pytz converts it to {kept}; use localize()")
    return [naive.isoformat(), value.fold, _write_zone(value.tzinfo, path)]


def _write_time(value: dt.time, path: str, levels: int) -> Any:
    naive = value.replace(tzinfo=None, fold=0)
    return [naive.isoformat(), value.fold, _write_zone(value.tzinfo, path)]


def _write_array(value: np.ndarray[Any, Any], path: str, levels: int) -> Any:
    shape = list(value.shape)
    if value.dtype.kind == "O" and value.dtype.names is None:
        parts = value.ravel().tolist()
        if any(isinstance(part, np.ndarray) and not part.ndim for part in parts):
            raise PayloadError(
                f"{path} contains an array without dimensions, which numpy would replace by its "
                "element; store the element"
            )
        return ["|O", shape, _all(parts, path, levels)]
    raw = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
    return [_write_dtype(value.dtype, path), shape, raw]


def _write_dtype(dtype: np.dtype[Any], path: str) -> Any:
    """Write a dtype as numpy does, or a structured one as a list of fields."""
    if dtype.names is not None:
        fields = []
        for name in dtype.names:
            _check_utf8(name, path)
            part, shape = dtype[name].base, list(dtype[name].shape)
            fields.append([name, _write_dtype(part, path), shape])
        if dtype.type is not np.void or _read_dtype(fields) != dtype:
            raise PayloadError(
                f"{path} has the dtype {dtype}, whose fields have gaps, titles or explicit offsets; "
                "pack it (numpy.lib.recfunctions.repack_fields)"
            )
        return fields
    if not _DTYPE.fullmatch(dtype.str) or dtype.metadata:
        raise PayloadError(
            f"{path} has numpy's dtype {dtype}, which cannot be sent; convert it to a dtype that is "
            "the same on every machine, such as float64 or complex128"
        )
    return dtype.str


def _write_scalar(value: np.generic, path: str, levels: int) -> Any:
    dtype, _, raw = _write_array(np.asarray(value), path, levels)
    kept = _read_scalar([dtype, raw])
    if type(kept) is not type(value) or (isinstance(value, str | bytes) and kept != value):
        raise PayloadError(
            f"{path} is of type {kind_name(type(value))}, but {shown(value)} would not be read back "
            "unchanged; convert it to Python's own type"
        )
    return [dtype, raw]


def _write_factory(value: defaultdict[Any, Any], path: str, levels: int) -> Any:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if name is not None and _FACTORIES.get(name) is not factory:
        raise PayloadError(
            f"{path} is a defaultdict whose default {shown(factory)} cannot be sent; pass a dict, or "
            f"use one of {', '.join(_FACTORIES)} as its default"
        )
    return [name, _pairs(value, path, levels)]


def _write_timestamp(value: Any, path: str, levels: int) -> Any:
    named = _pytz(value.tz)
    kept = ["pytz", named] if named else _write_zone(value.tz, path)
    return [int(value.asm8.view("i8")), value.unit, kept]


# -- reading ---------------------------------------------------------------------------------------


def _read(content: Any, levels: int) -> Any:
    if not levels:
        raise PayloadError(f"tagged JSON is nested more than {4 * DEEPEST} levels deep")
    if type(content) is list:
        return [part if type(part) in ATOMS else _read(part, levels - 1) for part in content]
    if type(content) is not dict:
        return content
    tag = next((key for key in content if key.startswith(_MARK)), None)
    if tag is None:
        return {
            key: part if type(part) in ATOMS else _read(part, levels - 1)
            for key, part in content.items()
        }
    if len(content) != 1 or tag not in _TAGS:
        raise PayloadError(
            f"tagged JSON contains {shown(content)}, but {shown(tag)} is not a tag; the tags are "
            f"{', '.join(_TAGS)}, each as the only key of its object"
        )
    tagged = _read(content[tag], levels - 1)
    try:
        return _TAGS[tag][1](tagged)
    except PayloadError:
        raise
    except Exception as error:
        raise PayloadError(
            f"tagged JSON contains {shown(content)}, which is not a valid {tag}: {error}"
        ) from error


def _read_base64(content: str) -> bytes:
    return base64.b64decode(content, validate=True)


def _read_zone(content: Any) -> dt.tzinfo | None:
    if content is None:
        return None
    if isinstance(content, str):
        return ZoneInfo(content)
    offset, *name = content
    return dt.timezone(dt.timedelta(microseconds=offset), *name)


def _read_datetime(content: Any) -> dt.datetime:
    text, fold, zone = content
    naive = dt.datetime.fromisoformat(text)
    if isinstance(zone, list) and zone[0] == "pytz":
        import pytz  # type: ignore[import-untyped]

        moment: dt.datetime = pytz.timezone(zone[1]).localize(naive, is_dst=bool(fold))
        return moment
    return naive.replace(fold=fold, tzinfo=_read_zone(zone))


def _read_time(content: Any) -> dt.time:
    naive, fold, zone = content
    return dt.time.fromisoformat(naive).replace(fold=fold, tzinfo=_read_zone(zone))


def _read_array(content: Any) -> np.ndarray[Any, Any]:
    dtype, shape, data = content
    if len(shape) > _MOST_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"invalid shape {shown(shape)}")
    if dtype == "|O":
        array = np.empty(len(data), object)
        for i, part in enumerate(data):  # one by one, so that numpy does not convert lists
            array[i] = part
        return array.reshape(shape)
    dtype, raw = _read_dtype(dtype), _read_base64(data)
    if prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"{len(raw)} bytes for shape {shape}")
    if not dtype.itemsize:
        return np.zeros(shape, dtype)
    array = np.frombuffer(bytearray(raw), dtype).reshape(shape)
    _check_elements(array)
    return array


def _read_dtype(content: Any) -> np.dtype[Any]:
    if isinstance(content, list):
        return np.dtype([(name, _read_dtype(part), tuple(shape)) for name, part, shape in content])
    if not _DTYPE.fullmatch(content):
        raise ValueError(f"invalid dtype {shown(content)}")
    return np.dtype(content)


def _check_elements(array: np.ndarray[Any, Any]) -> None:
    """Refuse bytes that are not valid elements of the dtype, which would fail on use."""
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _check_elements(array[name])
        return
    flat = np.ascontiguousarray(array)
    if array.dtype.kind == "b" and array.size and flat.view("u1").max() > 1:
        raise ValueError("a bool that is neither 0 nor 1")
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        letters = flat.view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if letters.max() > _LAST_LETTER:
            raise ValueError("a character that Unicode does not have")


def _read_scalar(content: Any) -> Any:
    dtype, data = content
    return _read_array([dtype, [], data])[()]


def _read_pairs(content: Any) -> dict[Any, Any]:
    return dict(content)


def _read_factory(content: Any) -> defaultdict[Any, Any]:
    name, pairs = content
    return defaultdict(None if name is None else _FACTORIES[name], _read_pairs(pairs))


def _read_path(content: Any) -> pathlib.PurePath:
    name, text = content
    return _PATHS[name](text)


def _read_timestamp(content: Any) -> Any:
    import pandas

    count, unit, zone = content
    stamp = pandas.Timestamp(np.datetime64(count, _UNITS[_UNITS.index(unit)]))
    if zone is None:
        return stamp
    if isinstance(zone, list) and zone[0] == "pytz":
        import pytz

        return stamp.tz_localize("UTC").tz_convert(pytz.timezone(zone[1]))
    return stamp.tz_localize("UTC").tz_convert(_read_zone(zone))


def _read_duration(content: Any) -> Any:
    import pandas

    count, unit = content
    return pandas.Timedelta(np.timedelta64(count, _UNITS[_UNITS.index(unit)]))


def _read_pandas(content: Any) -> Any:
    import pandas

    return {"NaT": pandas.NaT, "NA": pandas.NA}[content]


_TAGS: dict[str, tuple[_Write, _Read]] = {
    "$tuple": (_all, tuple),
    "$set": (_elements, set),
    "$frozenset": (_elements, frozenset),
    "$dict": (_pairs, _read_pairs),
    "$int": (lambda value, *_: hex(value), lambda text: int(text, 16)),
    "$bytes": (_write_base64, _read_base64),
    "$bytearray": (_write_base64, lambda text: bytearray(_read_base64(text))),
    "$complex": (lambda value, *_: [value.real, value.imag], lambda parts: complex(*parts)),
    "$datetime": (_write_datetime, _read_datetime),
    "$date": (lambda value, *_: value.isoformat(), dt.date.fromisoformat),
    "$time": (_write_time, _read_time),
    "$timedelta": (
        lambda value, *_: [value.days, value.seconds, value.microseconds],
        lambda parts: dt.timedelta(*parts),
    ),
    "$decimal": (lambda value, *_: str(value), Decimal),
    "$fraction": (
        lambda value, path, levels: _all([value.numerator, value.denominator], path, levels),
        lambda parts: Fraction(*parts),
    ),
    "$uuid": (lambda value, *_: str(value), uuid.UUID),
    "$range": (
        lambda value, path, levels: _all([value.start, value.stop, value.step], path, levels),
        lambda parts: range(*parts),
    ),
    "$path": (
        lambda value, path, levels: [type(value).__name__, _write(str(value), path, levels)],
        _read_path,
    ),
    "$deque": (
        lambda value, path, levels: [_all(value, path, levels), value.maxlen],
        lambda parts: deque(*parts),
    ),
    "$ordered": (_pairs, OrderedDict),
    "$counter": (_pairs, lambda pairs: Counter(_read_pairs(pairs))),
    "$defaultdict": (_write_factory, _read_factory),
    "$ndarray": (_write_array, _read_array),
    "$numpy": (_write_scalar, _read_scalar),
    "$timestamp": (_write_timestamp, _read_timestamp),
    "$duration": (lambda value, *_: [int(value.asm8.view("i8")), value.unit], _read_duration),
    "$pandas": (lambda value, *_: "NA" if repr(value) == "<NA>" else "NaT", _read_pandas),
}
_TAG_OF: dict[type, str] = {
    tuple: "$tuple",
    set: "$set",
    frozenset: "$frozenset",
    bytes: "$bytes",
    bytearray: "$bytearray",
    complex: "$complex",
    dt.datetime: "$datetime",
    dt.date: "$date",
    dt.time: "$time",
    dt.timedelta: "$timedelta",
    Decimal: "$decimal",
    Fraction: "$fraction",
    uuid.UUID: "$uuid",
    range: "$range",
    deque: "$deque",
    OrderedDict: "$ordered",
    Counter: "$counter",
    defaultdict: "$defaultdict",
    **dict.fromkeys(_PATHS.values(), "$path"),
}
