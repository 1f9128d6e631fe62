"""Merge settings from two places, field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SEPARATOR = "__"


def parse_json(value: Any) -> Any:
    """Parse text that begins like a JSON object or list; return anything else as it is.

    Raises:
        ValueError: If the text is not valid JSON.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from error
    return value


def from_environment(prefix: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return variables as nested fields: `PREFIX_A__B=1` becomes `{"a": {"b": "1"}}`.

    Raises:
        ValueError: If a field is an object in one variable and a plain value in another.
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
    """Merge field by field; if both have a field, `over` takes precedence.

    Raises:
        ValueError: If a field is an object in `over` but not in `under`.
    """
    aliases = {key.lower(): key for key in under}
    merged = dict(under)
    for key, value in over.items():
        name = key if key in under else aliases.get(key.lower(), key)
        merged[name] = _both(name, merged[name], value) if name in merged else value
    return merged


def _both(name: str, under: Any, over: Any) -> Any:
    try:
        under, over = parse_json(under), parse_json(over)
        if isinstance(over, dict) and under is not None:
            if not isinstance(under, dict):
                raise ValueError("must be a JSON object, but is a plain value")
            return merge(under, over)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return over
