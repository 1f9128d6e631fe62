"""Read explanations without the explainer's library.

They have the structure of alibi's: an object with `meta` and `data`, as JSON text or as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_TEXT = 60


@dataclass(frozen=True)
class Anchor:
    """Rules that are enough for a prediction to stay as it is.

    Attributes:
        rules: The conditions, which hold together; empty if none is needed.
        precision: How often the prediction stays the same where the rules hold.
        coverage: Share of the data for which the rules hold.
        threshold: The requested precision; None if it is unknown.
        incomplete: Why the search ended before it was complete.
    """

    rules: tuple[str, ...]
    precision: float
    coverage: float
    threshold: float | None = None
    incomplete: str | None = None


def read(value: Any) -> Any:
    """Decode an explanation that is JSON text, and return any other as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def anchor(explanation: Any) -> Anchor | None:
    """Return the anchor that an explanation holds; None if it is of another kind."""
    if not isinstance(explanation, Mapping):
        return None
    data, meta = explanation.get("data", explanation), explanation.get("meta") or {}
    try:
        return Anchor(
            tuple(map(str, data["anchor"])),
            float(np.squeeze(data["precision"])),
            float(np.squeeze(data["coverage"])),
            (meta.get("params") or {}).get("threshold"),
            meta.get("incomplete"),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def summary(explanation: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and a short description of each part of any explanation."""
    data = explanation.get("data", explanation) if isinstance(explanation, Mapping) else explanation
    if not isinstance(data, Mapping):
        yield "explanation", _short(data)
        return
    for name, part in data.items():
        yield str(name), _short(part)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return _cut(", ".join(f"{name}: {_short(part)}" for name, part in value.items()))
    if isinstance(value, list | np.ndarray):
        try:
            array = np.asarray(value)
        except ValueError:  # ragged
            array = np.asarray(value, object)
        if array.dtype.kind in "biuf" and array.size:
            some = ", ".join(f"{number:.4g}" for number in array.ravel()[:6])
            more = ", ..." if array.size > 6 else ""
            shape = f"{' x '.join(map(str, array.shape))}: " if array.size > 1 else ""
            return f"{shape}{some}{more}"
        return _cut(", ".join(_short(part) for part in value)) or "nothing"
    return f"{value:.4g}" if isinstance(value, float) else _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."
