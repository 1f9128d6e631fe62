"""Cache the JSON of a large array that several children are sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

# Smaller arrays are encoded faster than they are copied and compared.
_SMALLEST = 1000


class EncodedJsonCache:
    """The last large array of a request, with its JSON.

    The pipeline may change the array between two calls, so the cache keeps a copy to compare with. This
    takes a fraction of the time of encoding it.
    """

    __slots__ = ("_array", "_json")

    def __init__(self) -> None:
        self._array: np.ndarray[Any, Any] | None = None
        self._json: Any = None

    def json(self, array: np.ndarray[Any, Any]) -> Any:
        """Return a flat, contiguous array of numbers, or its JSON, for orjson to write."""
        if array.size < _SMALLEST:
            return array
        bits = array.view(f"u{array.itemsize}")  # NaN does not equal itself, and -0.0 equals 0.0
        known = self._array
        if (
            known is None
            or known.dtype != array.dtype
            or not np.array_equal(known.view(bits.dtype), bits)
        ):
            self._array = array.copy()
            self._json = orjson.Fragment(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))
        return self._json
