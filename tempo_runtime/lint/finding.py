"""What a rule found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something in a manifest that a platform does not take as it is meant.

    Attributes:
        rule: Id of the rule.
        severity: `error` where the platform would refuse it or silently break, else `warning`.
        file: The file as it was named; `-` for standard input.
        line: Line in the file, from 1.
        kind: Kind of the document; empty where the file cannot be read as far as that.
        name: Its `metadata.name`; empty where it has none.
        path: Where in the document, such as `spec.predictors[0].graph.name`.
        message: What is there.
        consequence: What the platform would do with it.
        fix: What to write instead.
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
