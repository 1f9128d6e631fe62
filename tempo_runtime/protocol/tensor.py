"""V2 tensors in memory, and their numbers.

All transports carry tensors, and all values are converted to tensors: `messages` and `grpc_messages`
convert them to JSON, gRPC and MLServer's types, `codec` converts them to Python values.
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
NAMES = {dtype: name for name, dtype in DATATYPES.items()}
BYTES = "BYTES"

# JSON does not have these numbers; Python's json and JavaScript use these names.
WORDS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
_PACKED: dict[str, tuple[str, Any]] = {
    "f": ("d", np.float64),
    "i": ("q", np.int64),
    "u": ("q", np.int64),
}
_EMPTY_ROWS = 2**20
_DEEPEST = 32  # dimensions that arrays can have in all versions of numpy
_MOST_DIMENSIONS = 64  # in any version of numpy


@dataclass
class Tensor:
    """A named V2 tensor.

    Attributes:
        name: Name of the tensor.
        datatype: V2 datatype, such as `FP64` or `BYTES`.
        shape: Dimensions; empty for a single number without dimensions.
        data: An ndarray for numbers; a flat list of `str` or `bytes` for `BYTES`. A tensor read from JSON
            has the list as it was sent, flat or nested.
        parameters: V2 parameters, such as `content_type`.
    """

    name: str
    datatype: str
    shape: list[int]
    data: Any
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def content_type(self) -> str | None:
        """MLServer's content type of the tensor."""
        content_type = self.parameters.get("content_type")
        return content_type if isinstance(content_type, str) else None

    def pack(self) -> None:
        """Replace a flat list of numbers by an array, which takes a fraction of the memory."""
        dtype = DATATYPES.get(self.datatype)
        packed = None if dtype is None else _packed(self.data, dtype)
        if packed is not None:
            self.data = packed

    def numbers(self) -> np.ndarray[Any, Any]:
        """Return the elements of a numeric tensor, in its shape.

        Raises:
            PayloadError: If they do not match the datatype or the shape.
        """
        dtype = DATATYPES.get(self.datatype)
        if dtype is None:
            raise PayloadError(
                f"tensor {self.name!r} has datatype {self.datatype!r}, which is not numeric"
            )
        data = self.data
        if not isinstance(data, np.ndarray):
            data = self._from_list(data, dtype)
        elif data.dtype is dtype and data.size and list(data.shape) == self.shape:
            return data
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
            # By default numpy would make all elements as long as the longest text.
            array = np.asarray(data, None if _only_numbers(data) else object)
        except ValueError as error:
            raise self._ragged() from error
        if any(isinstance(element, list) for element in _objects(array)):
            raise self._ragged()
        if array.size == 0:
            return array.astype(dtype)
        if (array.dtype.kind in "OUf" and dtype.kind in "iu") or array.dtype.kind in "OU":
            # Mixed or text, which is rare: convert the elements exactly, one by one.
            return self._from_elements(_flatten(data), dtype).reshape(array.shape)
        return self._cast(array, dtype)

    def _from_elements(self, flat: list[Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        if dtype.kind == "f":
            numbers = []
            for element in flat:
                if element is None:  # MLServer writes NaN as null
                    element = np.nan
                elif isinstance(element, str):
                    element = WORDS.get(element, element)
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
            # If a type has two names, such as int64 and longlong, use the common one.
            return array if array.dtype.type is dtype.type else array.view(dtype)
        allowed = {"b": "biuf", "i": "iu", "u": "iu", "f": "iuf"}[dtype.kind]
        wrong = misfits(array, dtype) if array.dtype.kind in allowed else np.True_
        if wrong.any():
            raise self._unfit(array[wrong].ravel()[0].item())
        return array.astype(dtype, copy=False)

    def shaped(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return an array of the tensor's elements, in its shape.

        Raises:
            PayloadError: If their number does not match the shape.
        """
        self._check_size(array.size)
        if array.ndim > 1 and array.shape != tuple(self.shape):
            raise PayloadError(
                f"tensor {self.name!r} has shape {self.shape}, but its data is nested as "
                f"{list(array.shape)}; correct one of them, or send one flat list"
            )
        try:
            return array.reshape(self.shape)
        except ValueError as error:
            raise PayloadError(
                f"tensor {self.name!r} has shape {shown(self.shape)}: {error}"
            ) from error

    def size(self) -> int:
        """Return the number of elements that the shape states.

        Raises:
            PayloadError: If the shape has more dimensions than an array can have.
        """
        # The product of a long shape would be a number with millions of digits.
        if len(self.shape) > _MOST_DIMENSIONS:
            raise PayloadError(
                f"tensor {self.name!r} has {len(self.shape)} dimensions, but an array has at most "
                f"{_MOST_DIMENSIONS}; send the actual shape"
            )
        return prod(self.shape)

    def _check_size(self, size: int) -> None:
        stated = self.size()
        if any(length < 0 for length in self.shape):
            raise PayloadError(
                f"tensor {self.name!r} has shape {self.shape}, but dimensions cannot be negative; send "
                "the actual shape"
            )
        # An empty tensor can have any shape, but lists of shape [2000000000, 0] would fill the memory.
        if 0 in self.shape and prod(self.shape[: self.shape.index(0)]) > _EMPTY_ROWS:
            raise PayloadError(
                f"tensor {self.name!r} has shape {shown(self.shape)}, which is too many empty rows; "
                "send [0]"
            )
        if size != stated:
            raise PayloadError(
                f"tensor {self.name!r} has shape {self.shape}, which is {stated} values, "
                f"but its data has {size}; correct the shape or the data"
            )

    def _unfit(self, element: Any) -> PayloadError:
        return PayloadError(
            f"tensor {self.name!r} has datatype {self.datatype}, which cannot hold {shown(element)}; "
            "correct the datatype or the data"
        )

    def _ragged(self) -> PayloadError:
        return PayloadError(
            f"tensor {self.name!r} is ragged: its rows differ in length, or are nested more than "
            f"{_DEEPEST} levels deep; send rows of the same length, or one flat list"
        )


def shown(value: Any, length: int = 80) -> str:
    """Return a value's `repr` for a message, shortened to a length."""
    try:
        return f"{value!r:.{length}}"
    except (RecursionError, ValueError):  # nested too deep, or too many digits
        return f"a {type(value).__name__} that cannot be shown"


def refuse_twice(names: list[str]) -> None:
    """Refuse tensors with the same name, which would overwrite each other."""
    if len(set(names)) != len(names):
        [(name, _)] = Counter(names).most_common(1)
        raise PayloadError(f"tensor {name!r} is given twice; send it once")


def refuse_unwritable(names: Iterable[str]) -> None:
    """Refuse names of tensors that cannot be encoded as UTF-8."""
    for name in names:
        if name.isascii():
            continue
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise PayloadError(
                f"the tensor name {name!r} cannot be encoded as UTF-8: {error}; use another name"
            ) from error


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the V2 datatype of a numpy dtype; text and objects are `BYTES`.

    Raises:
        PayloadError: If V2 does not have one, as for complex numbers.
    """
    name = NAMES.get(dtype)
    if name is not None:
        return name
    if dtype.kind in "biuf":
        name = NAMES.get(dtype.newbyteorder("="))
    if name is None and dtype.kind in "OSU":
        return BYTES
    if name is None:
        raise PayloadError(
            f"V2 has no datatype for numpy's {dtype}; convert the array to numbers or text"
        )
    return name


def misfits(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Mark the numbers that a dtype cannot represent, apart from a loss of precision."""
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
    """Return a numeric array for orjson to write, or a list if orjson would not write it correctly.

    NaN is written as null (as in MLServer), infinities as the texts "Infinity" and "-Infinity". orjson
    would write null for all of them.
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
    """Return a flat list that any JSON writer writes as `json_numbers` does."""
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
    """Return a flat list of numbers as an array; None for anything else.

    Python's arrays accept only numbers, and are created in two thirds of the time of numpy's.
    """
    code, packed_dtype = _PACKED.get(dtype.kind, (None, None))
    if code is None or not isinstance(data, list) or not data or isinstance(data[0], bool):
        return None
    try:
        # numpy's dtype for the code would have another scalar type.
        return np.frombuffer(array(code, data), packed_dtype)
    except (TypeError, OverflowError):
        return None


def _only_numbers(data: Any, levels: int = _DEEPEST) -> bool:
    """Return whether data is a number or nested lists of numbers, without checking each type."""
    if isinstance(data, int | float):
        return True
    try:
        sum(data, 0.0)
    except TypeError:  # rows, or values other than numbers
        rows = data if isinstance(data, list) and levels else [None]
        return all(isinstance(row, list) and _only_numbers(row, levels - 1) for row in rows)
    except OverflowError:
        return False
    return True


def _objects(array: np.ndarray[Any, Any]) -> list[Any]:
    return array.ravel().tolist() if array.dtype.kind == "O" else []


def _flatten(data: Any, levels: int = _DEEPEST) -> list[Any]:
    """Return the leaves of nested lists; lists below this depth count as leaves."""
    if not isinstance(data, list) or not levels:
        return [data]
    if not any(isinstance(element, list) for element in data):
        return data
    return [leaf for element in data for leaf in _flatten(element, levels - 1)]


def is_repr(flat: list[Any]) -> bool:
    """Return whether data has the form of `BYTES` in tempo 0.5: one integer for each byte of a `repr`."""
    return bool(flat) and all(type(element) is int for element in flat)
