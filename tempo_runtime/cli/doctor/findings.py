"""What a check finds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "info", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: What was looked at.
        level: `problem` where something will not work; `warning` where it may surprise; `info` of
            what may be missing for some uses.
        found: What there is.
        remedy: What to do about it.
    """

    check: str
    level: Level
    found: str
    remedy: str = ""


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: `1.7.1rc2` is `(1, 7, 1)`."""
    matched = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in matched[0].split(".")) if matched else ()
