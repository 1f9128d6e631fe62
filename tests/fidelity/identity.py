"""All that makes a value what it is, as one text: its type, its parts and theirs.

It travels in the pipelines' artifacts, so that the author's side of a call says what it got.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import struct
from collections import defaultdict, deque
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel


def identity(value: Any) -> str:
    """A text that two values share only where nothing tells them apart."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    # An artifact imports its modules under names of its own.
    if name.startswith("_tempo_artifact_"):
        name = name.partition(".")[2]
    return f"{name}({_parts(value)})"


def _parts(value: Any) -> str:
    if isinstance(value, pd.DataFrame):
        columns = [f"{identity(column)}" for _, column in value.items()]
        return f"{_index(value.index)}; {_index(value.columns)}; {columns}; {identity(value.attrs)}"
    if isinstance(value, pd.Series):
        return f"{_dtype(value.dtype)}; {_elements(value.array)}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}; {value.shape}; {_elements(value.ravel())}"
    if isinstance(value, np.generic):
        return f"{value.dtype.str}; {value.tobytes().hex()}"
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, BaseModel):
        held = {**vars(value), **(value.model_extra or {}), **(value.__pydantic_private__ or {})}
        return identity(held)
    if dataclasses.is_dataclass(value):
        return identity({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, dict):
        factory = repr(value.default_factory) if isinstance(value, defaultdict) else ""
        return factory + ", ".join(f"{identity(k)}: {identity(v)}" for k, v in value.items())
    if isinstance(value, set | frozenset):
        return ", ".join(sorted(identity(part) for part in value))
    if isinstance(value, deque):
        return f"{value.maxlen}; {[identity(part) for part in value]}"
    if isinstance(value, list | tuple):
        return ", ".join(identity(part) for part in value)
    if isinstance(value, float):
        return "nan" if value != value else struct.pack(">d", value).hex()
    if isinstance(value, complex):
        return f"{identity(value.real)}, {identity(value.imag)}"
    if isinstance(value, pd.Timestamp):
        return f"{value!r}; {value.unit}; {value.fold}; {_zone(value.tzinfo)}"
    if isinstance(value, dt.datetime | dt.time):
        return f"{value.replace(tzinfo=None)!r}; {value.fold}; {_zone(value.tzinfo)}"
    return repr(value)


def _zone(zone: Any) -> str:
    return f"{type(zone).__module__}.{type(zone).__name__} {zone}"


def _index(index: pd.Index) -> str:
    kind = type(index).__name__
    if isinstance(index, pd.RangeIndex):
        return f"{kind} {index.start}:{index.stop}:{index.step} {identity(index.name)}"
    if isinstance(index, pd.MultiIndex):
        levels = [_index(index.get_level_values(i)) for i in range(index.nlevels)]
        return f"{kind} {levels} {identity(list(index.names))}"
    freq = getattr(index, "freqstr", None)
    return f"{kind} {_dtype(index.dtype)} {freq} {_elements(index.array)} {identity(index.name)}"


def _dtype(dtype: Any) -> str:
    if isinstance(dtype, pd.CategoricalDtype):
        return f"category {_index(dtype.categories)} {dtype.ordered}"
    zone = f" {_zone(dtype.tz)}" if isinstance(dtype, pd.DatetimeTZDtype) else ""
    return f"{dtype!r}{zone}"


def _elements(array: Any) -> str:
    return ", ".join(identity(element) for element in array)
