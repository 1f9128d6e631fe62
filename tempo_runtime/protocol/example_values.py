"""Make example values from annotations, for users to start from: `list[int]` becomes `[1]`.

An artifact has them in its tempo.json, because annotations are only in its pickle. They are made from the
annotation's JSON schema, so they respect its limits and the examples in the author's pydantic models.
Each is checked against the annotation itself.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Annotated, Any, get_origin

from tempo_runtime.protocol import codec
from tempo_runtime.protocol.signature import Kind, Signature, TensorSpec

_DEEPEST = 12
# Texts to try for a schema with a pattern, and names for objects with arbitrary names.
_WORDS = ("text", "1", "A", "a1")
_FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00",
    "duration": "P1D",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
    "email": "user@example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "ipv4network": "192.0.2.0/24",
    "ipv6network": "2001:db8::/32",
    "ipv4interface": "192.0.2.1/24",
    "ipv6interface": "2001:db8::1/32",
    "json-string": "{}",
}
_WITHOUT = (Kind.ARRAY, Kind.FRAME, Kind.ANY)  # their annotations are too general


def values(signature: Signature) -> dict[str, Any]:
    """Make a JSON example of each required argument that needs one.

    Args:
        signature: The signature of the method to call.
    """
    examples = {}
    for spec in signature.inputs:
        is_specific = spec.kind is Kind.JSON or get_origin(spec.hint) is Annotated
        if spec.required and spec.kind not in _WITHOUT and is_specific:
            # The author's validators and schemas may raise anything.
            with contextlib.suppress(Exception):
                examples[spec.name] = _value(spec)
    return examples


def _value(spec: TensorSpec) -> Any:
    from pydantic import TypeAdapter

    schema = TypeAdapter(spec.hint).json_schema()
    for word in _WORDS:
        with contextlib.suppress(Exception):
            value = _Maker(schema.get("$defs", {}), word).make(schema)
            codec.encode(spec, codec.parameter(spec, value))
            return value
    raise ValueError(f"no example of {spec.hint!r}")


class _Maker:
    """Makes a value for a JSON schema.

    Args:
        definitions: Schemas that other schemas refer to.
        word: The text for a schema that accepts any.
    """

    def __init__(self, definitions: Mapping[str, Any], word: str) -> None:
        self._definitions = definitions
        self._word = word
        self._depth = 0

    def make(self, schema: Mapping[str, Any]) -> Any:
        """Make a value.

        Raises:
            ValueError: If the schema is recursive, or of an unknown kind.
        """
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise ValueError("the schema is recursive")
            return self._make(schema)
        finally:
            self._depth -= 1

    def _make(self, schema: Mapping[str, Any]) -> Any:
        if "$ref" in schema:
            return self.make(self._definitions[schema["$ref"].rpartition("/")[2]])
        for key in ("examples", "enum"):
            if schema.get(key):
                return schema[key][0]
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        for choice in ("anyOf", "oneOf", "allOf"):
            if choice in schema:
                return self._first(schema[choice])
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind in ("integer", "number"):
            return _number(schema, kind)
        if kind == "string":
            return self._text(schema)
        return {"boolean": True, "null": None}[kind] if kind else 1

    def _first(self, schemas: list[Mapping[str, Any]]) -> Any:
        for schema in schemas:
            with contextlib.suppress(ValueError):
                return self.make(schema)
        raise ValueError("no schema of a union has an example")

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties = schema.get("properties", {})
        example = {name: self.make(properties[name]) for name in schema.get("required", ())}
        further = schema.get("additionalProperties")
        if not properties and isinstance(further, dict):
            names = schema.get("propertyNames")
            name = self.make(names) if names else self._word
            with contextlib.suppress(ValueError):
                example[str(name)] = self.make(further)
        return example

    def _array(self, schema: Mapping[str, Any]) -> list[Any]:
        example = [self.make(item) for item in schema.get("prefixItems", ())]
        items, least = schema.get("items"), schema.get("minItems", 0)
        wanted = max(1, least) if schema.get("maxItems", 1) else 0
        if isinstance(items, dict):
            try:
                example += [self.make(items) for _ in range(wanted - len(example))]
            except ValueError:
                if least:
                    raise
        return example

    def _text(self, schema: Mapping[str, Any]) -> str:
        text: str = _FORMATS.get(schema.get("format", ""), self._word)
        longer: str = text + text[-1] * (schema.get("minLength", 0) - len(text))
        return longer[: schema.get("maxLength", len(longer))]


def _number(schema: Mapping[str, Any], kind: str) -> int | float:
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    low, high = schema.get("minimum", above), schema.get("maximum", below)
    near = [number for bound in (low, high) if bound is not None for number in _around(bound)]
    middle = [] if low is None or high is None else [(low + high) / 2]
    step = schema.get("multipleOf", 1 if kind == "integer" else None)
    for number in (1, *near, *middle):
        rounded = number if step is None else math.ceil(number / step) * step
        fits = (low is None or rounded >= low) and (high is None or rounded <= high)
        if fits and rounded not in (above, below):
            return int(rounded) if kind == "integer" else float(rounded)
    raise ValueError("no number fits the schema")


def _around(bound: float) -> tuple[float, float, float]:
    return bound, bound + 1, bound - 1
