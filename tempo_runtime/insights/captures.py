"""Capture values of a request as they are now: as JSON if they are small, and as copies otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tempo_runtime.insights.events import to_json
from tempo_runtime.insights.redaction import REDACTED, Redaction
from tempo_runtime.insights.snapshots import Cut, Snapshot

_SMALL = 4096  # bytes of values that are written at once
_NUMBERS = frozenset("?bBhHiIlLqQfd")  # element types of arrays that orjson writes
_SIMPLE = frozenset((bool, int, float, type(None)))


class Copied:
    """Copies of values, which are redacted and written later."""

    __slots__ = ("_redaction", "_values")

    def __init__(self, values: Any, redaction: Redaction) -> None:
        self._values = values
        self._redaction = redaction

    def to_json(self) -> bytes:
        """Return the values as JSON, redacted."""
        if self._redaction:
            self._redaction.apply(self._values)
        return to_json(self._values)


Part = bytes | Copied


class Capture:
    """Captures the values of one event.

    Args:
        redaction: Names of values that are not logged.
        limit: Largest size of all values together, in bytes.

    Attributes:
        size: Their size so far.
        cuts: Values of which not everything was captured; see `Snapshot.cuts`.
        is_written: Whether all values are JSON already.
    """

    __slots__ = ("_limit", "_redaction", "cuts", "is_written", "size")

    def __init__(self, redaction: Redaction, limit: int) -> None:
        self._redaction = redaction
        self._limit = limit
        self.size = 0
        self.cuts: list[Cut] | None = None
        self.is_written = True

    def values(self, values: Mapping[str, Any]) -> Part:
        """Capture values by their names."""
        left = min(_SMALL, self._limit - self.size)
        redaction = self._redaction
        size = 0
        hidden: list[str] | None = None
        for name, value in values.items():
            if redaction and redaction.hides(name):
                hidden = [name] if hidden is None else [*hidden, name]
                continue
            size += _size(value)
        if size <= left:
            self.size += size
            shown = values if hidden is None else {**values, **dict.fromkeys(hidden, REDACTED)}
            return to_json(shown)
        snapshot = Snapshot(max(0, self._limit - self.size))
        copied = {
            name: REDACTED if hidden is not None and name in hidden else snapshot.of(name, value)
            for name, value in values.items()
        }
        return self._copied(snapshot, copied)

    def value(self, name: str, value: Any) -> Part:
        """Capture one value.

        Args:
            name: Its name, for `cuts`.
            value: The value.
        """
        size = _size(value)
        if size <= min(_SMALL, self._limit - self.size):
            self.size += size
            return to_json(value)
        snapshot = Snapshot(max(0, self._limit - self.size))
        return self._copied(snapshot, snapshot.of(name, value))

    def cut(self, name: str) -> None:
        """Note that one value with this name was not captured."""
        self.cuts = [*(self.cuts or ()), {"name": name, "kept": 0, "of": 1}]

    def _copied(self, snapshot: Snapshot, values: Any) -> Part:
        self.size += snapshot.size
        if snapshot.cuts:
            self.cuts = [*(self.cuts or ()), *snapshot.cuts]
        copied = Copied(values, self._redaction)
        if snapshot.size <= _SMALL:
            return copied.to_json()
        self.is_written = False
        return copied


_LARGE = 2**62


def _size(value: Any) -> int:
    """Return the size of a value that can be written as it is; of any other a very large number."""
    kind = type(value)
    if kind is np.ndarray:
        plain = value.dtype.char in _NUMBERS and value.dtype.isnative and value.flags.c_contiguous
        return value.nbytes if plain else _LARGE
    if kind in _SIMPLE:
        return 8
    return len(value) if kind is str else _LARGE
