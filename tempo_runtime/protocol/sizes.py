"""Limit the size of calls, and convert large ones in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.tensor import BYTES, Tensor, shown

T = TypeVar("T")
MAX_COLUMNS = 10_000
MAX_LITERAL_BYTES = 1_000_000
# Smaller calls are converted in a few milliseconds.
_LARGE = 20_000  # values
LARGE_BYTES = 100_000  # size of a request over HTTP
_THREADS = 4
_DEEPEST = 100


@dataclass(frozen=True)
class DecodingLimits:
    """Limits for decoding requests and answers.

    Attributes:
        max_columns: Largest number of tensors in a request or an answer; each column of a DataFrame is
            one.
        max_literal_bytes: Largest size of a Python literal, the form in which tempo 0.5 sends text and
            JSON.
    """

    max_columns: int = MAX_COLUMNS
    max_literal_bytes: int = MAX_LITERAL_BYTES

    def check_count(self, tensors: int) -> None:
        """Check the number of tensors in a request or an answer.

        Raises:
            PayloadError: If there are too many; the message names the setting.
        """
        if tensors > self.max_columns:
            raise PayloadError(
                f"there are {tensors} tensors (each column of a DataFrame is one), more than the limit "
                f"of {self.max_columns}; send fewer, or raise the setting `max_columns`"
            )

    def check_literal(self, name: str, length: int) -> None:
        """Check the size of a literal; raise as `check_count` does."""
        if length > self.max_literal_bytes:
            raise PayloadError(
                f"tensor {shown(name)} is a Python literal of {length} bytes, more than the limit of "
                f"{self.max_literal_bytes}; send text or JSON as one BYTES element, or raise the setting "
                "`max_literal_bytes`"
            )


def is_large(*values: Any) -> bool:
    """Return whether converting values would block an event loop, because they have too many parts.

    This counts only as many parts as needed.
    """
    if len(values) == 1 and type(values[0]) is np.ndarray and values[0].dtype.kind != "O":
        return values[0].size > _LARGE
    return _count(values, _LARGE, _DEEPEST) > _LARGE


def is_large_answer(tensors: Sequence[Tensor]) -> bool:
    """Return what `is_large` does, sooner if the answer of a model is one tensor of numbers."""
    if len(tensors) != 1:
        return is_large(tensors)
    [tensor] = tensors
    data = tensor.data
    if type(data) is np.ndarray and data.dtype.kind != "O":
        return data.size > _LARGE
    # A list that begins with a number is converted, or refused, without a look into nested lists.
    is_flat = type(data) is list and tensor.datatype != BYTES and data and type(data[0]) in _ATOMS
    if is_flat and len(tensor.parameters) <= 1:
        return len(data) > _LARGE
    return is_large(tensors)


async def convert(large: bool, function: Callable[..., T], *arguments: Any) -> T:
    """Run a conversion in a thread if it is large, and otherwise directly, which is faster."""
    if not large:
        return function(*arguments)
    run = copy_context().run
    return await asyncio.get_running_loop().run_in_executor(_pool(), run, function, *arguments)


@cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads for conversions.

    The loop's own pool is not used, because authors' functions in it may never return.
    """
    return ThreadPoolExecutor(_THREADS, "tempo-convert")


def _count(value: Any, most: int, levels: int) -> int:
    """Count the parts of a value, up to about `most`; ten letters or bytes count as one part."""
    if isinstance(value, str | bytes | bytearray):
        return len(value) // 10
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return value.size
    if isinstance(value, Tensor):
        parts = value.data, value.parameters
        return len(value.shape) + _count_all(parts, most, levels)
    if isinstance(value, dict):
        if not value:
            return 0
        keys = _count_all(value, most, levels)
        return keys + _count_all(value.values(), most - keys, levels)
    if isinstance(value, list | tuple | set | frozenset):
        return _count_all(value, most, levels)
    size = getattr(value, "size", None)  # of a DataFrame, an array, a pandas index
    if isinstance(size, int) and type(value).__module__.partition(".")[0] in ("numpy", "pandas"):
        return size
    if isinstance(value, type):
        return 1
    # Attributes of a pydantic model or a dataclass.
    attributes = getattr(value, "__dict__", None) or {}
    extra = getattr(value, "__pydantic_extra__", None) or {}
    return 1 + _count_all([*attributes.values(), *extra.values()], most, levels)


def _count_all(parts: Collection[Any], most: int, levels: int) -> int:
    count = len(parts)
    if count > most or not levels or _ATOMS.issuperset(map(type, parts)):
        return count
    for part in parts:
        if count > most:
            break
        if type(part) not in _ATOMS:
            count += _count(part, most - count, levels - 1)
    return count


_ATOMS = frozenset((int, float, bool, type(None)))
