"""One V2 tensor in memory, and its numbers.

A tensor is what every transport carries and every value is made of: JSON, gRPC and MLServer's own
types are written from it and read into it (`wire.py`), Python values are made of it (`codec/`).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from tempo_runtime.errors import PayloadError

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
BYTES = "BYTES"

# JSON has no word for these; the names are those of Python's json and of JavaScript.
_WORDS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
_PACKED: dict[str, tuple[str, Any]] = {
    "f": ("d", np.float64),
    "i": ("q", np.int64),
    "u": ("q", np.int64),
}
_EMPTY_ROWS = 2**20
_DEEPEST = 32  # dimensions that numpy's arrays can have in each of its versions


@dataclass
class Tensor:
    """A named V2 tensor.

    Attributes:
        name: Its name.
        datatype: Its V2 datatype, such as `FP64` or `BYTES`.
        shape: Its dimensions; empty for a single number without any.
        data: An ndarray for numbers. For `BYTES` a flat list of `str` or `bytes`. A tensor read
            from JSON holds the list as it was sent, flat or nested.
        parameters: V2 parameters, such as `content_type`.
    """

    name: str
    datatype: str
    shape: list[int]
    data: Any
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def content_type(self) -> str | None:
        """MLServer's word for what the tensor holds."""
        named = self.parameters.get("content_type")
        return named if isinstance(named, str) else None

    def numbers(self) -> np.ndarray[Any, Any]:
        """Return the elements of a numeric tensor, in its shape.

        Raises:
            PayloadError: If they do not fit the datatype or the shape.
        """
        dtype = DATATYPES.get(self.datatype)
        if dtype is None:
            raise PayloadError(
                f"tensor {self.name!r} has datatype {self.datatype!r}, which holds no numbers"
            )
        data = self.data
        if not isinstance(data, np.ndarray):
            data = self._from_list(data, dtype)
        else:
            data = self._cast(data, dtype)
        return self.shaped(data)

    def elements(self) -> list[Any]:
        """Return the elements of a `BYTES` tensor, as one flat list."""
        if self.datatype != BYTES:
            raise PayloadError(f"tensor {self.name!r} has datatype {self.datatype}, not BYTES")
        data = self.data
        flat = list(data.ravel()) if isinstance(data, np.ndarray) else _flatten(data)
        if not is_repr(flat):
            self._check_size(len(flat))
        return flat

    def _from_list(self, data: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        packed = _packed(data, dtype)
        if packed is not None:
            return self._cast(packed, dtype)
        try:
            # Left to itself, numpy makes every element as long as the longest text among them.
            array = np.asarray(data, None if _only_numbers(data) else object)
        except ValueError as error:
            raise self._ragged() from error
        if any(isinstance(element, list) for element in _objects(array)):
            raise self._ragged()
        if array.size == 0:
            return array.astype(dtype)
        if (array.dtype.kind in "OUf" and dtype.kind in "iu") or array.dtype.kind in "OU":
            # Mixed or textual: rare, so element by element, exactly.
            return self._from_elements(_flatten(data), dtype).reshape(array.shape)
        return self._cast(array, dtype)

    def _from_elements(self, flat: list[Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        if dtype.kind == "f":
            numbers = []
            for element in flat:
                if element is None:  # MLServer's word for NaN
                    element = np.nan
                elif isinstance(element, str):
                    element = _WORDS.get(element, element)
                if isinstance(element, bool) or not isinstance(element, int | float):
                    raise self._unfit(element)
                numbers.append(element)
            try:
                return self._cast(np.array(numbers, np.float64), dtype)
            except OverflowError as error:
                raise self._unfit(max(numbers, key=abs)) from error
        for element in flat:
            if isinstance(element, bool) != (dtype.kind == "b") or not isinstance(element, int):
                raise self._unfit(element)
        try:
            return self._cast(np.array(flat, np.uint64 if min(flat) >= 0 else np.int64), dtype)
        except OverflowError as error:
            raise self._unfit(max(flat, key=abs)) from error

    def _cast(self, array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        if array.dtype == dtype:
            # Of two names for one type, such as int64 and longlong, the one that everybody uses.
            return array if array.dtype.type is dtype.type else array.view(dtype)
        allowed = {"b": "biuf", "i": "iu", "u": "iu", "f": "iuf"}[dtype.kind]
        wrong = misfits(array, dtype) if array.dtype.kind in allowed else np.True_
        if wrong.any():
            raise self._unfit(array[wrong].ravel()[0].item())
        return array.astype(dtype, copy=False)

    def shaped(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return an array of the tensor's elements, in its shape.

        Raises:
            PayloadError: If there are more or fewer than the shape says.
        """
        self._check_size(array.size)
        if array.ndim > 1 and array.shape != tuple(self.shape):
            raise PayloadError(
                f"tensor {self.name!r} says shape {self.shape}, but its data is nested as "
                f"{list(array.shape)}; make them agree, or send one flat list"
            )
        try:
            return array.reshape(self.shape)
        except ValueError as error:
            raise PayloadError(
                f"tensor {self.name!r} says shape {shown(self.shape)}: {error}"
            ) from error

    def _check_size(self, size: int) -> None:
        if any(length < 0 for length in self.shape):
            raise PayloadError(
                f"tensor {self.name!r} says shape {self.shape}, and no dimension is below 0; send "
                "the length it has"
            )
        # No elements can have any shape: as lists, [2000000000, 0] would be all the memory there is.
        if 0 in self.shape and prod(self.shape[: self.shape.index(0)]) > _EMPTY_ROWS:
            raise PayloadError(
                f"tensor {self.name!r} says shape {shown(self.shape)}, which is too many rows of "
                "nothing; send [0]"
            )
        if size != prod(self.shape):
            raise PayloadError(
                f"tensor {self.name!r} says shape {self.shape}, which is {prod(self.shape)} values, "
                f"but it holds {size}; correct the shape or the data"
            )

    def _unfit(self, element: Any) -> PayloadError:
        return PayloadError(
            f"tensor {self.name!r} has datatype {self.datatype}, which cannot hold {shown(element)}; "
            "correct the datatype or the data"
        )

    def _ragged(self) -> PayloadError:
        return PayloadError(
            f"tensor {self.name!r} is ragged: its rows differ in length, or are nested over "
            f"{_DEEPEST} deep; send rows of one length, or one flat list"
        )


def shown(value: Any, length: int = 80) -> str:
    """Return a value as a message shows it, cut off at a length."""
    try:
        return f"{value!r:.{length}}"
    except (RecursionError, ValueError):  # nested too deep, or too many digits
        return f"a {type(value).__name__} that cannot be shown"


def refuse_twice(names: list[str]) -> None:
    """Refuse tensors of one name, which would overwrite each other."""
    if len(set(names)) != len(names):
        [(name, _)] = Counter(names).most_common(1)
        raise PayloadError(f"tensor {name!r} is given twice; send it once")


def refuse_unwritable(names: Iterable[str]) -> None:
    """Refuse names of tensors that no transport can write."""
    for name in names:
        if name.isascii():
            continue
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise PayloadError(
                f"{name!r} is a name of a tensor that UTF-8 cannot write: {error}; use another"
            ) from error


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the V2 datatype for a numpy dtype; text and objects are `BYTES`.

    Raises:
        PayloadError: If V2 has none, as for complex numbers.
    """
    name = _NAMES.get(dtype.newbyteorder("=")) if dtype.kind in "biuf" else None
    if name is None and dtype.kind in "OSU":
        return BYTES
    if name is None:
        raise PayloadError(
            f"V2 has no datatype for numpy's {dtype}; convert the array to numbers or text"
        )
    return name


def misfits(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Mark the numbers that a dtype cannot hold; less precision is not among them."""
    if dtype.kind == "b":
        return ~np.isin(array, (0, 1))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.asarray((array < limits.min) | (array > limits.max))
    if np.can_cast(array.dtype, dtype):
        return np.zeros(array.shape, np.bool_)
    with np.errstate(over="ignore"):
        return np.asarray(np.isinf(array.astype(dtype)) & np.isfinite(array))


def json_numbers(array: np.ndarray[Any, Any]) -> Any:
    """Return what orjson should write for a numeric array: the array itself, or a list where it must.

    NaN is written as null (as MLServer does), infinities as the words "Infinity" and "-Infinity":
    orjson would write null for all three.
    """
    flat = np.ascontiguousarray(array).reshape(-1)
    if not flat.dtype.isnative:
        flat = flat.astype(flat.dtype.newbyteorder("="))
    if flat.dtype.kind == "f":
        if flat.dtype == np.float16:
            flat = flat.astype(np.float32)
        if np.isinf(flat).any():
            return plain_numbers(flat)
    return flat


def plain_numbers(array: np.ndarray[Any, Any]) -> list[Any]:
    """Return a flat list of Python numbers that any JSON writer keeps whole; see `json_numbers`."""
    flat: list[Any] = array.reshape(-1).tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [_word(number) for number in flat]
    return flat


def _word(number: float) -> float | str | None:
    if number != number:
        return None
    if number in (np.inf, -np.inf):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _packed(data: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    """Return a flat list of numbers as an array, None if it is anything else.

    Python's arrays are made in two thirds of the time of numpy's, and take numbers only.
    """
    code, own = _PACKED.get(dtype.kind, (None, None))
    if code is None or not isinstance(data, list) or not data or isinstance(data[0], bool):
        return None
    try:
        # Not numpy's own dtype of the code, which has another type of scalar.
        return np.frombuffer(array(code, data), own)
    except (TypeError, OverflowError):
        return None


def _only_numbers(data: Any, levels: int = _DEEPEST) -> bool:
    """Return whether this is a number, or lists of nothing else; quicker than a look at each type."""
    if isinstance(data, int | float):
        return True
    try:
        sum(data, 0.0)
    except TypeError:  # rows, or something else
        rows = data if isinstance(data, list) and levels else [None]
        return all(isinstance(row, list) and _only_numbers(row, levels - 1) for row in rows)
    except OverflowError:
        return False
    return True


def _objects(array: np.ndarray[Any, Any]) -> list[Any]:
    return array.ravel().tolist() if array.dtype.kind == "O" else []


def _flatten(data: Any, levels: int = _DEEPEST) -> list[Any]:
    """Return the leaves of nested lists down to a depth; deeper lists count as leaves."""
    if not isinstance(data, list) or not levels:
        return [data]
    if not any(isinstance(element, list) for element in data):
        return data
    return [leaf for element in data for leaf in _flatten(element, levels - 1)]


def is_repr(flat: list[Any]) -> bool:
    """Return whether this is how tempo 0.5 writes `BYTES`: the bytes of a `repr`, one integer each."""
    return bool(flat) and all(type(element) is int for element in flat)
