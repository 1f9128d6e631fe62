"""Findings of checks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "info", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """A finding of a check.

    Attributes:
        check: What was checked.
        level: `problem` if something will not work; `warning` if it may surprise; `info` if
        something is missing that some uses need.
        found: What the check found.
        remedy: How to fix it.
    """

    check: str
    level: Level
    found: str
    remedy: str = ""


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: `1.7.1rc2` gives `(1, 7, 1)`."""
    matched = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in matched[0].split(".")) if matched else ()
