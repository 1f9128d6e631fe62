"""Convert values to the form of tempo 0.5 and back: one integer for each byte of a text or of a `repr`.

tempo 0.5 implements this in `tempo/protocols/v2.py`. Its arrays of numbers are the same tensors as ours.
"""

from __future__ import annotations

from typing import Any

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.codec.literals import TooDeep, read_literal
from tempo_runtime.protocol.signature import Kind, TensorSpec
from tempo_runtime.protocol.sizes import DecodingLimits
from tempo_runtime.protocol.tensor import BYTES, Tensor

# Texts do not have quotes, so for these kinds anything except a literal is a text.
_MAYBE_TEXT = (Kind.ANY, Kind.JSON, Kind.DATETIME)
_NO_LITERAL = (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError)


def spell(name: str, value: Any) -> Tensor:
    """Encode a text or a literal as a tensor of integers."""
    text = value if isinstance(value, str) else repr(value)
    spelled = list(text.encode())
    return Tensor(name, BYTES, [len(spelled)], spelled)


def read_spelled(
    spec: TensorSpec, tensor: Tensor, integers: list[Any], limits: DecodingLimits
) -> Any:
    """Decode the value that a tensor's integers spell; its type may differ from the spec's.

    Raises:
        PayloadError: If they do not spell text, or a literal if the kind requires one, or if the literal
            is longer than `limits` allow.
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
    """Return whether a value's `repr` is a literal."""
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
