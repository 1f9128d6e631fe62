"""Parse Python source, in spite of a fault of Python 3.11.

Up to 3.11.7, parsers of several threads share a counter of the depth they have reached. If one starts
while another makes its tree, the other fails with SystemError ("AST constructor recursion depth
mismatch") or RecursionError, whatever its source (python/cpython#106905).
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TypeVar

_ATTEMPTS = 5  # each fails by chance, so that all of them hardly ever do

Tree = TypeVar("Tree")


def parse(source: str | bytes, filename: str = "<unknown>") -> ast.Module:
    """Parse a module as `ast.parse` does, and again if Python fails by chance.

    Args:
        source: Its source.
        filename: The name of its file, for messages.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: As `ast.parse` does.
    """
    return _again(lambda: ast.parse(source, filename))


def parse_expression(text: str) -> ast.Expression:
    """Parse one expression; see `parse`."""
    return _again(lambda: ast.parse(text, mode="eval"))


def _again(parsing: Callable[[], Tree]) -> Tree:
    for _ in range(_ATTEMPTS - 1):
        try:
            return parsing()
        except (SystemError, RecursionError):
            continue
    return parsing()
