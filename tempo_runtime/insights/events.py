"""Write events as CloudEvents 1.0 in JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np
import orjson

BATCH = "application/cloudevents-batch+json"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z


class Event(NamedTuple):
    """One event, before it is written.

    Attributes:
        kind: The last part of its type: `request`, `response`, `child` or `custom`.
        time: Seconds since the epoch.
        attributes: The extension attributes that all events of its request have.
        more: Further extension attributes.
        data: Copies of the values; redacted when the event is written.
        request: The request, as far as the sender has to know it.
        size: Size of the values in bytes.
    """

    kind: str
    time: float
    attributes: Mapping[str, Any]
    more: Mapping[str, Any]
    data: dict[str, Any]
    request: Any
    size: int


def to_json(event: Event, id_: str, type_prefix: str, source: str) -> bytes:
    """Return the JSON of an event, whose values are redacted already.

    Args:
        event: The event.
        id_: Its id, which no other event of the source has.
        type_prefix: Start of its type.
        source: Its source.
    """
    content = {
        "specversion": "1.0",
        "id": id_,
        "source": source,
        "type": f"{type_prefix}.{event.kind}",
        "time": datetime.fromtimestamp(event.time, timezone.utc),
        "datacontenttype": "application/json",
        **event.attributes,
        **event.more,
        "data": event.data,
    }
    try:
        return orjson.dumps(content, _default, _OPTIONS)
    except TypeError:  # such as integers of more than 64 bits, or half of a surrogate pair
        content["time"] = content["time"].isoformat()
        return json.dumps(_plain(content), allow_nan=False).encode()


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
