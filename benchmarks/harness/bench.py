"""One run of one benchmark: how much of it, and where its parts go."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.report import Report


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        rounds: How many times contenders take turns.
        seconds: Length of one turn.
        brief: Whether to do less of whatever else takes long.
        smoke: Whether one turn of few requests is enough, since nothing is measured.
    """

    rounds: int
    seconds: float
    brief: bool = False
    smoke: bool = False


FULL, QUICK = Scale(15, 2.0), Scale(7, 0.3, brief=True)
SMOKE = Scale(1, 0.02, brief=True, smoke=True)


@dataclass
class Bench:
    """Everything that a benchmark gets.

    Attributes:
        scale: How much to measure.
        report: Prints what it finds.
        stack: Ends what it starts.
        folder: For its files; removed at the end.
        only: Sections to run; all, if it is empty.
        status: Shows what is going on.
    """

    scale: Scale
    report: Report
    stack: ExitStack
    folder: Path
    only: tuple[str, ...]
    status: Callable[[str], None]

    def wants(self, section: str) -> bool:
        """Return whether to run a section."""
        return not self.only or section in self.only
