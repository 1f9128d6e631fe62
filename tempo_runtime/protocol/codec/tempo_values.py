"""Values as tempo 0.5 spells them: the bytes of a text, or of anything else's `repr`, one integer each.

What it does with each value is in its `tempo/protocols/v2.py`. Arrays of numbers are the same tensors
there as here.
"""

from __future__ import annotations

from typing import Any

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.codec.literals import TooDeep, read_literal
from tempo_runtime.protocol.signature import Kind, TensorSpec
from tempo_runtime.protocol.sizes import DecodingLimits
from tempo_runtime.protocol.tensor import BYTES, Tensor

# A text has no quotes there, so where a text may be meant, what is not a literal is one.
_MAYBE_TEXT = (Kind.ANY, Kind.JSON, Kind.DATETIME)
_NO_LITERAL = (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError)


def spell(name: str, value: Any) -> Tensor:
    """Return a text or a literal as a tensor of integers."""
    text = value if isinstance(value, str) else repr(value)
    spelled = list(text.encode())
    return Tensor(name, BYTES, [len(spelled)], spelled)


def read_spelled(
    spec: TensorSpec, tensor: Tensor, integers: list[Any], limits: DecodingLimits
) -> Any:
    """Return the value that a tensor's integers spell; it may be of another type than the spec's.

    Raises:
        PayloadError: If they do not spell text, or not a literal where only a literal can be meant, or
            a literal longer than `limits` allow.
    """
    try:
        text = bytes(integers).decode()
    except ValueError as error:
        raise _unreadable(tensor, error) from error
    if spec.kind is Kind.STRING and not (spec.nullable and text == "None"):
        return text
    limits.check_literal(tensor.name, len(integers))
    try:
        return read_literal(text)
    except TooDeep as error:
        raise _unreadable(tensor, error) from error
    except _NO_LITERAL as error:
        if spec.kind in _MAYBE_TEXT:
            return text
        raise _unreadable(tensor, error) from error


def is_literal(value: Any) -> bool:
    """Return whether a value's `repr` says all of it."""
    try:
        read_literal(repr(value))
    except _NO_LITERAL:
        return False
    return True


def _unreadable(tensor: Tensor, error: Exception) -> PayloadError:
    return PayloadError(
        f"tensor {tensor.name!r} is BYTES given as integers, but they do not spell a Python "
        f"literal: {error}"
    )
