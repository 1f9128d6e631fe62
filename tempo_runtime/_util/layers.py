"""Settings from two places, one over the other, field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SEPARATOR = "__"


def parse_json(value: Any) -> Any:
    """Read text that is a JSON object or list; anything else stays as it is.

    Raises:
        ValueError: If it begins like one, and is none.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from error
    return value


def from_environment(prefix: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Variables as nested fields: `PREFIX_A__B=1` is `{"a": {"b": "1"}}`.

    Raises:
        ValueError: If one says that a field is an object and another that it is not.
    """
    values: dict[str, Any] = {}
    # Sorted, so that TEMPO_RUNTIME_MODELS comes before TEMPO_RUNTIME_MODELS__SKLEARN__URL.
    for variable, text in sorted(environ.items()):
        if not variable.startswith(prefix):
            continue
        value: Any = text
        for name in reversed(variable[len(prefix) :].lower().split(_SEPARATOR)):
            value = {name: value}
        values = merge(values, value)
    return values


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, field by field; where the same field is in both, `over` wins.

    Raises:
        ValueError: If a field is an object in `over` and is not one in `under`.
    """
    aliases = {key.lower(): key for key in under}
    merged = dict(under)
    for key, value in over.items():
        place = key if key in under else aliases.get(key.lower(), key)
        merged[place] = _both(place, merged[place], value) if place in merged else value
    return merged


def _both(name: str, under: Any, over: Any) -> Any:
    try:
        under, over = parse_json(under), parse_json(over)
        if isinstance(over, dict) and under is not None:
            if not isinstance(under, dict):
                raise ValueError("must be a JSON object, and is not")
            return merge(under, over)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return over
