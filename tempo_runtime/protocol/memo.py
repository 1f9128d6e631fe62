"""The JSON of an array, written once where several children are sent the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

# Below this, writing takes no longer than copying and comparing.
_SMALLEST = 1000


class EncodedJsonCache:
    """The last large array of a request, and its JSON.

    An array may be changed by the pipeline between two calls, so it is kept as a copy, and compared:
    both together take a fraction of the time of writing it.
    """

    __slots__ = ("_array", "_json")

    def __init__(self) -> None:
        self._array: np.ndarray[Any, Any] | None = None
        self._json: Any = None

    def json(self, array: np.ndarray[Any, Any]) -> Any:
        """Return what orjson should write for a flat, contiguous array of numbers."""
        if array.size < _SMALLEST:
            return array
        bits = array.view(f"u{array.itemsize}")  # NaN is not itself, and -0.0 is 0.0
        known = self._array
        if (
            known is None
            or known.dtype != array.dtype
            or not np.array_equal(known.view(bits.dtype), bits)
        ):
            self._array = array.copy()
            self._json = orjson.Fragment(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))
        return self._json
