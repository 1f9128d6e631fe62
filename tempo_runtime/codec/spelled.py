"""Values as tempo 0.5 spells them: the bytes of a text, or of anything else's `repr`, one integer each.

What it does with each value is in its `tempo/protocols/v2.py`. Arrays of numbers are the same tensors
there as here.
"""

from __future__ import annotations

import ast
from typing import Any

from tempo_runtime.errors import PayloadError
from tempo_runtime.signature import Kind, TensorSpec
from tempo_runtime.tensor import BYTES, Tensor

# A text has no quotes there, so where a text may be meant, what is no literal is one.
_MAYBE_TEXT = (Kind.ANY, Kind.JSON, Kind.DATETIME)
_NO_LITERAL = (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError)
_WORDS = {"nan": float("nan"), "inf": float("inf")}


def spell(name: str, value: Any) -> Tensor:
    """A text or a literal as a tensor of integers."""
    text = value if isinstance(value, str) else repr(value)
    spelled = list(text.encode())
    return Tensor(name, BYTES, [len(spelled)], spelled)


def read_spelled(spec: TensorSpec, tensor: Tensor, integers: list[Any]) -> Any:
    """The value that the integers of a tensor spell; it may be of another type than the spec's.

    Raises:
        PayloadError: If they spell no text, or no literal where no text can be meant.
    """
    try:
        text = bytes(integers).decode()
    except ValueError as error:
        raise _unreadable(tensor, error) from error
    if spec.kind is Kind.STRING and not (spec.nullable and text == "None"):
        return text
    try:
        return _literal(text)
    except _NO_LITERAL as error:
        if spec.kind in _MAYBE_TEXT:
            return text
        raise _unreadable(tensor, error) from error


def is_literal(value: Any) -> bool:
    """Whether a value's `repr` says all of it."""
    try:
        ast.literal_eval(repr(value))
    except _NO_LITERAL:
        return False
    return True


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except ValueError:
        # A `repr` has names for floats that Python has no literal of.
        return ast.literal_eval(_Words().visit(ast.parse(text.strip(), mode="eval")))


class _Words(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_WORDS[node.id]) if node.id in _WORDS else node


def _unreadable(tensor: Tensor, error: Exception) -> PayloadError:
    return PayloadError(
        f"tensor {tensor.name!r} is BYTES given as integers, but they do not spell a Python "
        f"literal: {error}"
    )
