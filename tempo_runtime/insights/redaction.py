"""Replace values that must not be logged, by the names of arguments, columns and keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tempo_runtime.insights.snapshots import LEVELS

REDACTED = "[redacted]"
_NUMBERED = re.compile(r" \(\d+\)$")  # a column with the name of another


class Redaction:
    """Names of values that are not logged; upper and lower case are the same.

    Args:
        names: The names.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.lower() for name in names)

    def __bool__(self) -> bool:
        return bool(self._names)

    def and_(self, names: Iterable[str]) -> Redaction:
        """Return one that has further names."""
        return Redaction([*self._names, *names]) if names else self

    def hides(self, name: str) -> bool:
        """Return whether the value with this name is not logged."""
        return bool(self._names) and self._has(name)

    def apply(self, value: Any) -> None:
        """Replace values in a copy that `Snapshot` made, in place and at any depth."""
        if isinstance(value, dict):
            for name, part in value.items():
                if self._has(name):
                    value[name] = REDACTED
                else:
                    self.apply(part)
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, dict | list):
                    self.apply(part)

    def _has(self, name: str) -> bool:
        lower = name.lower()
        if lower in self._names:
            return True
        if "(" not in lower and LEVELS not in lower:
            return False
        plain = _NUMBERED.sub("", lower)
        return plain in self._names or not self._names.isdisjoint(plain.split(LEVELS))
