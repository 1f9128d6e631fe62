"""Read Python literals in linear time and memory.

`ast.literal_eval` builds a syntax tree first: for 6 MB it takes 1.4 GB, and it holds the interpreter's
lock until it is done. Here brackets are read one by one, and only the text between them is passed to it.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from tempo_runtime._util import syntax_tree

DEEPEST = 100
_SPACE = re.compile(r"\s*")
_TEXT = re.compile(
    r"[bBuUrR]{0,2}(?:'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''"
    r'|"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""'
    r"|'[^'\\\n]*(?:\\.[^'\\\n]*)*'"
    r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*")',
    re.DOTALL,
)
_SIMPLE_TEXT = re.compile(r"'(?!'')[^'\\]*'|\"(?!\"\")[^\"\\]*\"")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_ELEMENT = re.compile(rf"\s*({_NUMBER.pattern})\s*,")
# Complex and hexadecimal numbers, and names, up to the end of the element.
_OTHER = re.compile(r"[^\[\](){},:'\"#\n\\]+")
_LONGEST = 10_000  # characters of one number or name
# Names that `repr` writes for numbers without a Python literal.
_NUMBERS = {
    "nan": float("nan"),
    "inf": float("inf"),
    "nanj": complex(0, float("nan")),
    "infj": complex(0, float("inf")),
}
_NAMES: dict[str, Any] = {
    "None": None,
    "True": True,
    "False": False,
    "Ellipsis": ...,
    "-inf": float("-inf"),
    **_NUMBERS,
}
_CLOSING = {"[": "]", "(": ")", "{": "}"}


class TooDeep(ValueError):
    """A literal is nested more than `DEEPEST` levels deep."""


def read_literal(text: str) -> Any:
    """Read a Python literal, which may also contain the numbers `nan` and `inf`.

    Example:
        >>> read_literal("{'a': (1, nan)}")
        {'a': (1, nan)}

    Raises:
        TooDeep: If it is nested too deeply.
        ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError: If it is not a
            literal.
    """
    reader = _Reader(text)
    value = reader.value(DEEPEST)
    if reader.next():
        raise reader.fault("the end")
    return value


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def next(self) -> str:
        """Return the next character that is not a space; an empty text at the end."""
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
        return self._text[self._at : self._at + 1]

    def fault(self, expected: str) -> SyntaxError:
        """Return the error for a text that does not continue as expected."""
        return SyntaxError(f"expected {expected} at character {self._at}")

    def value(self, levels: int) -> Any:
        """Read one value."""
        first = self.next()
        if first in _CLOSING:
            if not levels:
                raise TooDeep(f"nested more than {DEEPEST} levels deep")
            self._at += 1
            return self._container(first, levels - 1)
        text = _TEXT.match(self._text, self._at) if first else None
        if text is not None:
            return self._texts(text)
        other = _OTHER.match(self._text, self._at) if first else None
        if other is None:
            raise self.fault("a value")
        self._at = other.end()
        word = other[0].rstrip()
        if word == "set" and self._text[self._at : self._at + 2] == "()":
            self._at += 2
            return set()
        return _leaf(word)

    def _texts(self, match: re.Match[str] | None) -> Any:
        parts: list[Any] = []
        while match is not None:
            parts.append(_text(match[0]))
            self._at = match.end()
            self.next()
            match = _TEXT.match(self._text, self._at)
        return parts[0] if len(parts) == 1 else parts[0][:0].join(parts)

    def _container(self, opening: str, levels: int) -> Any:
        closing = _CLOSING[opening]
        parts: list[Any] = []
        keys: list[Any] | None = None  # of a dict
        comma = False
        if opening != "{":
            parts, comma = self._numbers()
        while (character := self.next()) != closing:
            if parts and not comma:
                raise self.fault(f"',' or {closing!r}")
            part = self.value(levels)
            character = self.next()
            if opening == "{" and not parts and character == ":":
                keys = []
            if keys is not None:
                if character != ":":
                    raise self.fault("':'")
                self._at += 1
                keys.append(part)
                part = self.value(levels)
            parts.append(part)
            comma = self.next() == ","
            self._at += comma
        self._at += 1
        if opening == "[":
            return parts
        if opening == "(":
            return parts[0] if len(parts) == 1 and not comma else tuple(parts)
        if keys is None and parts:
            return set(parts)
        return dict(zip(keys or (), parts))

    def _numbers(self) -> tuple[list[Any], bool]:
        """Read the numbers at the beginning of a list or tuple, each with the comma after it."""
        parts: list[Any] = []
        while match := _ELEMENT.match(self._text, self._at):
            number, point, exponent = match.groups()
            parts.append(float(number) if point or exponent else int(number))
            self._at = match.end()
        return parts, bool(parts)


def _text(token: str) -> str | bytes:
    if _SIMPLE_TEXT.fullmatch(token):
        return token[1:-1]
    value: str | bytes = ast.literal_eval(syntax_tree.parse_expression(token))
    return value


def _leaf(word: str) -> Any:
    if word in _NAMES:
        return _NAMES[word]
    number = _NUMBER.fullmatch(word)
    if number is not None:
        return float(word) if number[1] or number[2] else int(word)
    if len(word) > _LONGEST:
        raise ValueError(f"a number or name of {len(word)} characters")
    tree = syntax_tree.parse_expression(word)
    try:
        return ast.literal_eval(tree)
    except ValueError:
        return ast.literal_eval(_Words().visit(tree))


class _Words(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_NUMBERS[node.id]) if node.id in _NUMBERS else node
