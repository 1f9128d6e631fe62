"""Values as JSON, between the tests and a client in another Python. Python and numpy only."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np


def dump(value: Any) -> Any:
    """A value in JSON's own types."""
    if isinstance(value, np.ndarray):
        elements = dump(value.ravel().tolist())
        return {"array": [elements, list(value.shape), value.dtype.str]}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, tuple):
        return {"tuple": [dump(part) for part in value]}
    if isinstance(value, list):
        return [dump(part) for part in value]
    if isinstance(value, dict):
        return {"dict": [[dump(key), dump(part)] for key, part in value.items()]}
    return value


def load(said: Any) -> Any:
    """What `dump` was given."""
    if isinstance(said, list):
        return [load(part) for part in said]
    if not isinstance(said, dict):
        return said
    [(kind, held)] = said.items()
    if kind == "array":
        return np.array(load(held[0]), held[2]).reshape(held[1])
    if kind == "bytes":
        return base64.b64decode(held)
    if kind == "tuple":
        return tuple(load(part) for part in held)
    return {load(key): load(part) for key, part in held}
