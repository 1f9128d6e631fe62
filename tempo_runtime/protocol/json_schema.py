"""Describe the arguments and the result of a call in plain JSON as JSON Schema.

The schemas say what `protocol/plain` reads and writes. An artifact keeps them in its tempo.json, because
annotations are only in its pickle, so that a server's OpenAPI document needs no code of the author.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_origin

import numpy as np

from tempo_runtime.protocol.signature import Kind, Signature, TensorSpec
from tempo_runtime.protocol.tensor import WORDS

_DEFINITIONS = "$defs"
COLUMNS = "x-columns"
"""The keyword that names the columns of an array, in order."""

_WORDS = {"enum": list(WORDS)}
_NULL = {"type": "null"}
_TEXT = {"type": "string"}
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_TIME = {"type": "string", "description": "ISO 8601"}
_ROWS = {"type": "array", "items": {"type": "object"}, "description": "A list of rows"}
_COLUMNS = {
    "type": "object",
    "additionalProperties": {"type": "array"},
    "description": "An object of columns",
}
_PLAIN: dict[Kind, dict[str, Any]] = {
    Kind.ANY: {},
    Kind.BOOL: {"type": "boolean"},
    Kind.INT: {"type": "integer"},
    Kind.STRING: _TEXT,
    Kind.STRINGS: {"type": "array", "items": _TEXT},
    Kind.BYTES: _BASE64,
    Kind.BYTES_LIST: {"type": "array", "items": _BASE64},
    Kind.DATETIME: _TIME,
    Kind.DATETIMES: {"type": "array", "items": _TIME},
}
_ARGUMENT = re.compile(r"\s*\*{0,2}(\w+)(?:\s*\(.*?\))?:\s*(.*)")
_SECTION = re.compile(r"(\s*)[A-Z][A-Za-z ]*:\s*")


def of(signature: Signature, function: Callable[..., Any]) -> dict[str, Any]:
    """Describe the calls of a predict method.

    Args:
        signature: Its signature.
        function: The method or function itself, for its defaults and its docstring.

    Returns:
        `arguments`, the schema of the object of arguments; `result`, the schema of the result, or of each
        item of a stream; `$defs`, the schemas that both refer to.
    """
    definitions: dict[str, Any] = {}
    texts, defaults = _documented(function), _defaults(function)
    properties = {}
    for spec in signature.inputs:
        schema = _part(spec, definitions, "validation")
        if spec.name in texts:
            schema = {**schema, "description": texts[spec.name]}
        if spec.name in defaults:
            schema = {**schema, "default": defaults[spec.name]}
        properties[spec.name] = schema
    arguments = {
        "type": "object",
        "properties": properties,
        "required": [spec.name for spec in signature.inputs if spec.required],
        "additionalProperties": False,
    }
    result = _result(signature, definitions)
    return {"arguments": arguments, "result": result, _DEFINITIONS: definitions}


def _result(signature: Signature, definitions: dict[str, Any]) -> dict[str, Any]:
    parts = [_part(spec, definitions, "serialization") for spec in signature.outputs]
    if signature.form == "single":
        return parts[0]
    if signature.form == "tuple":
        count = len(parts)
        return {"type": "array", "prefixItems": parts, "minItems": count, "maxItems": count}
    if signature.form == "mapping":
        return {"type": "object", "additionalProperties": parts[0]}
    if signature.form == "named":
        return {
            "type": "object",
            "properties": {spec.name: part for spec, part in zip(signature.outputs, parts)},
            "required": [spec.name for spec in signature.outputs if not spec.has_default],
        }
    return {}


def _part(spec: TensorSpec, definitions: dict[str, Any], mode: Any) -> dict[str, Any]:
    schema = _nullable(spec, _schema(spec, definitions, mode))
    return schema if spec.columns is None else {**schema, COLUMNS: spec.columns.described()}


def _schema(spec: TensorSpec, definitions: dict[str, Any], mode: Any) -> dict[str, Any]:
    if spec.kind is Kind.ARRAY:
        return _array(spec)
    if spec.kind is Kind.FRAME:
        return _ROWS if mode == "serialization" else {"anyOf": [_ROWS, _COLUMNS]}
    if spec.kind is Kind.JSON or get_origin(spec.hint) is Annotated:
        return _of_annotation(spec.hint, definitions, mode)
    return _float() if spec.kind is Kind.FLOAT else dict(_PLAIN[spec.kind])


def _nullable(spec: TensorSpec, schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, _NULL]} if spec.nullable and schema else schema


def _float() -> dict[str, Any]:
    return {"anyOf": [{"type": "number"}, _WORDS]}


def _array(spec: TensorSpec) -> dict[str, Any]:
    if spec.shape is None:
        # JSON Schema has no lists of any depth without a definition that refers to itself.
        return {"type": "array", "description": f"{_elements(spec.dtype)}, nested in lists"}
    schema = _element(spec.dtype)
    for length in reversed(spec.shape):
        schema = {"type": "array", "items": schema}
        if length >= 0:
            schema |= {"minItems": length, "maxItems": length}
    return schema


def _element(dtype: np.dtype[Any] | None) -> dict[str, Any]:
    kind = None if dtype is None else dtype.kind
    if kind == "b":
        return {"type": "boolean"}
    if kind is not None and dtype is not None and kind in "iu":
        limits = np.iinfo(dtype)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    if kind == "f":
        return {"anyOf": [{"type": "number"}, _NULL, _WORDS]}
    if kind == "S":
        return dict(_BASE64)
    return dict(_TEXT) if kind in ("U", "O") else {}


def _elements(dtype: np.dtype[Any] | None) -> str:
    return "Numbers or texts" if dtype is None else f"Elements of {dtype}"


def _of_annotation(hint: Any, definitions: dict[str, Any], mode: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    try:
        schema = TypeAdapter(hint).json_schema(mode=mode)
    except Exception:  # the author's own validators and schemas may raise anything
        return {}
    for name, definition in schema.pop(_DEFINITIONS, {}).items():
        if definitions.setdefault(name, definition) != definition:
            # Two classes of one name, or one class read and written differently.
            return {}
    return schema


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults that JSON has a form for."""
    parameters = inspect.signature(function).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if type(parameter.default) in (bool, int, float, str, type(None))
        and parameter.default == parameter.default  # not NaN
        and parameter.default not in (float("inf"), float("-inf"))
    }


def _documented(function: Callable[..., Any]) -> dict[str, str]:
    """Return what a docstring in Google's style says about each argument.

    https://google.github.io/styleguide/pyguide.html#383-functions-and-methods
    """
    lines = (inspect.getdoc(function) or "").splitlines()
    texts: dict[str, list[str]] = {}
    name, inside, indent = "", False, 0
    for line in lines:
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if _SECTION.fullmatch(line) and depth == 0:
            inside, indent = line.strip() in ("Args:", "Arguments:"), 0
            continue
        if not inside:
            continue
        indent = indent or depth
        found = _ARGUMENT.fullmatch(line) if depth == indent else None
        if found is not None:
            name = found[1]
            texts[name] = [found[2]]
        elif name:
            texts[name].append(line.strip())
    return {argument: " ".join(part for part in parts if part) for argument, parts in texts.items()}


def references(schema: Any, rename: Callable[[str], str]) -> Any:
    """Return a schema whose references to `$defs` are renamed.

    Args:
        schema: The schema, or a part of one.
        rename: Name of a definition -> the reference to write.
    """
    prefix = f"#/{_DEFINITIONS}/"
    if isinstance(schema, Mapping):
        return {
            key: rename(value.removeprefix(prefix))
            if key == "$ref" and isinstance(value, str) and value.startswith(prefix)
            else references(value, rename)
            for key, value in schema.items()
        }
    if isinstance(schema, Sequence) and not isinstance(schema, str):
        return [references(part, rename) for part in schema]
    return schema
