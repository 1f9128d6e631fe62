"""Copy values of a request as they are now, up to a size, because the author's code may change them.

A copy has only dicts, lists, arrays and values that do not change. It is made while the request runs, so
it does no more than copy; it is written as JSON later (`events`).
"""

from __future__ import annotations

import dataclasses
import decimal
import fractions
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from enum import Enum
from itertools import islice
from typing import Any

import numpy as np

_DEEPEST = 32  # levels of lists and dicts
_NODE = 8  # bytes that each element counts
_FIXED = frozenset(
    (
        *(bool, int, float, complex, type(None), datetime, date, time, timedelta),
        *(decimal.Decimal, fractions.Fraction, uuid.UUID),
    )
)
LEVELS = "/"
Cut = dict[str, Any]


class Snapshot:
    """Copies the values of one event.

    Args:
        limit: Largest size of all values together, in bytes.

    Attributes:
        size: Their size so far.
        cuts: What was left out: the `name` of a value, how many elements were `kept`, and `of` how many.
    """

    __slots__ = ("_limit", "cuts", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.size = 0
        self.cuts: list[Cut] = []

    def of(self, name: str, value: Any, depth: int = 0) -> Any:
        """Return a copy of a value.

        Args:
            name: Its name, for `cuts`.
            value: The value.
            depth: Number of lists and dicts that it is in.
        """
        kind = type(value)
        if kind is np.ndarray:
            return self._array(name, value, depth)
        if kind in _FIXED:
            self.size += _NODE
            return value
        if kind is str or kind is bytes:
            return self._text(name, value)
        if depth >= _DEEPEST:
            self.cuts.append({"name": name, "kept": 0, "of": 1})
            return None
        if kind is dict:
            return self._dict(name, value, depth)
        if kind is list or kind is tuple:
            return self._list(name, value, depth)
        return self._other(name, value, depth)

    def _text(self, name: str, text: Any) -> Any:
        left = max(0, self._limit - self.size)
        size = len(text)
        if size > left:
            self.cuts.append({"name": name, "kept": left, "of": size})
            text = text[:left]
        self.size += len(text) + _NODE
        return text

    def _array(self, name: str, array: Any, depth: int) -> Any:
        if array.dtype.names:
            return self._dict(name, {field: array[field] for field in array.dtype.names}, depth)
        if array.dtype.hasobject:
            return self._list(name, array.tolist() if array.ndim else [array.item()], depth)
        left = max(0, self._limit - self.size)
        if array.nbytes > left:
            # Whole rows, so that the rest is still a table.
            count = len(array) if array.ndim else 1
            kept = left * count // array.nbytes if array.ndim else 0
            self.cuts.append({"name": name, "kept": kept, "of": count})
            array = array[:kept] if array.ndim else np.empty(0, array.dtype)
        self.size += array.nbytes + _NODE
        return array.copy()

    def _list(self, name: str, values: Sequence[Any], depth: int) -> list[Any]:
        count = len(values)
        left = max(0, self._limit - self.size) // _NODE
        if count > left:
            values = list(islice(values, left))  # not every sequence has slices
        if _FIXED.issuperset(map(type, values)):
            self.size += len(values) * _NODE
            copied = list(values)
        else:
            copied = []
            for value in values:
                if self.size >= self._limit:
                    break
                copied.append(self.of(name, value, depth + 1))
        if len(copied) < count:
            self.cuts.append({"name": name, "kept": len(copied), "of": count})
        return copied

    def _dict(self, name: str, values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        return self._pairs(name, values.items(), len(values), depth)

    def _pairs(
        self, name: str, pairs: Iterable[tuple[Any, Any]], count: int, depth: int
    ) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, value in pairs:
            if self.size >= self._limit:
                self.cuts.append({"name": name, "kept": len(copied), "of": count})
                break
            key = key if type(key) is str else _label(key)
            if key in copied:
                key = f"{key} ({len(copied)})"
            self.size += len(key)
            copied[key] = self.of(key, value, depth + 1)
        return copied

    def _other(self, name: str, value: Any, depth: int) -> Any:
        """Copy a value of a type that is rare."""
        if isinstance(value, np.ndarray):
            return self._array(name, np.asarray(value), depth)
        if isinstance(value, Enum):
            return self.of(name, value.value, depth)
        if isinstance(value, np.void) and value.dtype.names:
            return self._dict(name, {field: value[field] for field in value.dtype.names}, depth)
        if isinstance(value, np.generic | int | float):
            self.size += _NODE
            return value
        if isinstance(value, str | bytes):
            return self._text(name, value[:])
        if isinstance(value, Mapping):
            return self._dict(name, value, depth)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._dict(name, dict(zip(value._fields, value)), depth)
        if isinstance(value, Sequence):
            return self._list(name, value, depth)
        if isinstance(value, Set):
            return self._list(name, list(value), depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            # A field with `init=False` may never have been set.
            fields = {field: getattr(value, field) for field in names if hasattr(value, field)}
            return self._dict(name, fields, depth)
        if (pandas := sys.modules.get("pandas")) is not None:
            if isinstance(value, pandas.DataFrame):
                return self._frame(name, value, depth)
            if isinstance(value, pandas.Series) and _has_text(value.index):
                return self._pairs(name, zip(value.index, value), len(value), depth)
            if isinstance(value, pandas.Series | pandas.Index):
                return self._list(name, value.tolist(), depth)
        if (pydantic := sys.modules.get("pydantic")) and isinstance(value, pydantic.BaseModel):
            return self._dict(name, dict(value), depth)
        # Anything else may change, and its text may be anything, too.
        self.size += _NODE
        return f"<{type(value).__module__}.{type(value).__qualname__}>"

    def _frame(self, name: str, frame: Any, depth: int) -> dict[str, Any]:
        rows, columns = frame.shape
        left = max(0, self._limit - self.size)
        kept = min(rows, left // (_NODE * max(1, columns)))
        if kept < rows:
            self.cuts.append({"name": name, "kept": kept, "of": rows})
        copied: dict[str, Any] = {}
        for number, label in enumerate(map(_label, frame.columns)):
            values = frame.iloc[:kept, number]
            plain = values.to_numpy() if isinstance(values.dtype, np.dtype) else values.tolist()
            if label in copied:
                label = f"{label} ({number})"
            copied[label] = self.of(label, plain, depth + 1)
        return copied


def _has_text(labels: Any) -> bool:
    """Return whether the labels of a Series name its values, as those of a row do."""
    if isinstance(labels.dtype, np.dtype) and labels.dtype.kind != "O":
        return False
    return any(isinstance(label, str | tuple) for label in labels)


def _label(label: Any) -> str:
    """Return the label of a column, or a key, as text; that of several levels has all of them."""
    return LEVELS.join(map(str, label)) if isinstance(label, tuple) else str(label)
