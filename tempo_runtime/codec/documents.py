"""JSON <-> values, and pydantic's check of a value against its annotation."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.codec.elements import bytes_tensor, only_element, read_texts, to_utf8
from tempo_runtime.errors import PayloadError
from tempo_runtime.signature import Kind, TensorSpec
from tempo_runtime.tensor import BYTES, Tensor, shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_DEEPEST = 100  # levels; pydantic's reader of JSON goes down 200, its writer 250


def encode_json(spec: TensorSpec, value: Any) -> Tensor:
    """A value as one element of JSON."""
    from pydantic_core import to_jsonable_python

    try:
        if spec.kind is Kind.JSON:
            value = to_jsonable_python(
                validate(spec, _without_numpy(value)),
                by_alias=True,
                inf_nan_mode="constants",
                fallback=_plain,
            )
        # The standard library's writer: orjson has no integers over 64 bits, no NaN, no infinity.
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"{spec.name!r} cannot be written as JSON: {error}") from error
    return bytes_tensor(spec, to_utf8(spec, [text]), [1], "json")


def decode_json(spec: TensorSpec, tensor: Tensor) -> Any:
    """The value a tensor holds as JSON, or as the numbers or texts of a list."""
    if tensor.datatype != BYTES:
        return validate(spec, tensor.numbers().tolist())
    if tensor.content_type == "str":
        return validate(spec, read_texts(tensor) if tensor.shape != [1] else read_texts(tensor)[0])
    return load_json(spec, only_element(spec, tensor, tensor.elements()))


def load_json(spec: TensorSpec, element: Any) -> Any:
    """The value a JSON text says, as the spec's type."""
    if not isinstance(element, str | bytes):
        refuse_deep(spec, element)
        return validate(spec, element)
    from pydantic import ValidationError

    try:
        return _adapter(spec.hint).validate_json(element)
    except ValidationError as error:
        raise _invalid(spec, error) from error


def refuse_deep(spec: TensorSpec, value: Any, levels: int = _DEEPEST) -> None:
    """Refuses a plain value that is nested deeper than it could be written again."""
    parts = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(parts, list | tuple):
        return
    if not levels:
        raise PayloadError(f"{spec.name!r} is nested over {_DEEPEST} deep")
    for part in parts:
        if isinstance(part, list | dict | tuple):
            refuse_deep(spec, part, levels - 1)


def validate(spec: TensorSpec, value: Any) -> Any:
    """A Python value as the spec's type, by pydantic's rules."""
    if type(value) is spec.hint and spec.kind is not Kind.JSON:
        return value
    from pydantic import ValidationError

    if isinstance(value, np.generic):
        value = value.item()
    try:
        return _adapter(spec.hint).validate_python(value)
    except ValidationError as error:
        raise _invalid(spec, error) from error


def _invalid(spec: TensorSpec, error: Any) -> PayloadError:
    faults = error.errors(include_url=False, include_context=False)
    first = faults[0]
    where = ".".join(str(step) for step in (spec.name, *first["loc"]))
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return PayloadError(f"{where!r}: {first['msg']}, got {shown(first['input'])}{more}")


@lru_cache(maxsize=1024)
def _cached_adapter(hint: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(hint)
    except TypeError:  # an unhashable annotation
        return _cached_adapter.__wrapped__(hint)


def _without_numpy(value: Any) -> Any:
    """Python's own numbers and lists, which pydantic checks, for numpy's in containers."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if type(value) is dict:
        return {key: _without_numpy(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_without_numpy(part) for part in value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} has no JSON form")
