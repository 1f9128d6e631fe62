"""Write events as CloudEvents 1.0 in JSON.

Small values are written while the request runs, which is as fast as copying them, and leaves nothing to
Python's garbage collector. Large ones are copied, and written by the sender.
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import orjson

BATCH = "application/cloudevents-batch+json"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z


class Event(NamedTuple):
    """One event.

    Attributes:
        kind: The last part of its type: `request`, `response`, `child` or `custom`.
        time: Seconds since the epoch.
        about: Its extension attributes, as members of a JSON object, with a comma in front.
        data: Its data as JSON; or the parts of its data, some of which are not written yet.
        pending: The request, if it waits for the sink.
        size: Size of the values in bytes.
    """

    kind: str
    time: float
    about: bytes
    data: bytes | list[tuple[bytes, Any]]
    pending: Any
    size: int


class Writer:
    """Writes the events of one source.

    Args:
        type_prefix: Start of the type of each event.
        source: The source.
        ids: Start of the id of each event, which no other process has.
    """

    def __init__(self, type_prefix: str, source: str, ids: str) -> None:
        self._head = members(
            {"specversion": "1.0", "source": source, "datacontenttype": "application/json"}
        )[1:]
        self._prefix = type_prefix
        self._types: dict[str, bytes] = {}
        self._ids = ids.encode()
        self._number = 0
        self._second = (-1, b"")

    def write(self, event: Event, data: bytes) -> bytes:
        """Return the JSON of an event with this data."""
        kind = self._types.get(event.kind)
        if kind is None:
            kind = self._types[event.kind] = members({"type": f"{self._prefix}.{event.kind}"})
        self._number += 1
        return b'{%b%b,"id":"%b-%d","time":"%b"%b,"data":%b}' % (
            *(self._head, kind, self._ids, self._number),
            *(self._time(event.time), event.about, data),
        )

    def _time(self, seconds: float) -> bytes:
        second = int(seconds)
        if second != self._second[0]:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, text.encode()
        return b"%b.%06dZ" % (self._second[1], int((seconds - second) * 1e6))


def members(attributes: Mapping[str, Any]) -> bytes:
    """Return attributes as members of a JSON object, with a comma in front."""
    return b"," + orjson.dumps(attributes)[1:-1] if attributes else b""


def to_json(data: Any) -> bytes:
    """Return the JSON of values, which are redacted already."""
    try:
        return orjson.dumps(data, _default, _OPTIONS)
    except TypeError:  # such as integers of more than 64 bits, or half of a surrogate pair
        return json.dumps(_plain(data), allow_nan=False).encode()


def _default(value: Any) -> Any:
    """Return something that orjson can write instead of a value that it cannot."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, int | float | str):  # of another class
        return _plain(value)
    text = str(value)
    return None if text in ("NaT", "<NA>") else text


def _plain(value: Any) -> Any:
    """Return a value that the standard library can write as JSON that is valid everywhere."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    return _plain(_default(value))
