"""Make text from an artifact, a server or a request safe to show in a terminal."""

from __future__ import annotations

import re

# Control characters except tab and newline, halves of surrogate pairs, and characters that start a line
# or reorder text invisibly.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
# Colours and weights, but not 8, which hides text.
_COLOUR = re.compile("(\x1b\\[(?!(?:[0-9]+;)*0*8[;m])[0-9;]*m)")


def printable(text: str) -> str:
    r"""Replace each character that could control a terminal by its escape sequence `\uXXXX`.

    JSON text keeps its meaning, because JSON has the same escape sequences.

    Args:
        text: The text; its tabs and newlines are kept.
    """
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def printable_log(text: str) -> str:
    """Make text of a log printable, but keep its colours, because some loggers always write them."""
    parts = _COLOUR.split(text)
    return "".join(part if number % 2 else printable(part) for number, part in enumerate(parts))


def without_colors(text: str) -> str:
    """Return text of a log without colours, and otherwise printable."""
    plain = _COLOUR.sub("", text)
    return "\n".join(map(printable, plain.splitlines()))


def size(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def shortened(value: object, length: int = 80) -> str:
    """Return a value's text in one printable line of at most `length` characters."""
    text = str(value)
    line = printable(" ".join(text[: 4 * length].split()))
    return line if len(line) <= length and len(text) <= 4 * length else f"{line[: length - 3]}..."
