"""A finding of a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """A place in a manifest that a platform would refuse, or handle in an unintended way.

    Attributes:
        rule: Id of the rule.
        severity: `error` if the platform would refuse it or silently break, else `warning`.
        file: The file as the caller named it; `-` for standard input.
        line: Line in the file, from 1.
        kind: Kind of the document; empty if the file cannot be read.
        name: Its `metadata.name`; empty if it has none.
        path: The place in the document, such as `spec.predictors[0].graph.name`.
        message: What is wrong there.
        consequence: What would happen.
        fix: How to correct it.
    """

    rule: str
    severity: Severity
    file: str
    line: int
    kind: str
    name: str
    path: str
    message: str
    consequence: str
    fix: str
