"""Print tables, and figures beside their goals."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from benchmarks.harness.turns import Ratio


@dataclass
class Report:
    """Prints to the terminal, and remembers the claims for README.md.

    Attributes:
        wrong: How many answers were wrong so far.
    """

    console: Console = field(default_factory=lambda: Console(width=max(130, Console().width)))
    wrong: int = 0
    _command: str = ""
    _claims: dict[str, list[str]] = field(default_factory=dict)

    def listing(self, sentences: Mapping[str, str]) -> None:
        """Print the names of all benchmarks, with a sentence each."""
        for name, sentence in sentences.items():
            self.note(f"{name:14}{sentence}")

    def begin(self, command: str) -> None:
        """Begin a benchmark, which this command runs."""
        self._command = command
        self._claims.clear()

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Print a table."""
        table = Table(*heads, title=title or None, box=None, title_justify="left")
        for column in table.columns[1:]:
            column.no_wrap = True
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def note(self, text: str) -> None:
        """Print a remark."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def claim(
        self,
        what: str,
        where: str,
        found: Ratio,
        *,
        least: float | None = None,
        most: float | None = None,
        cpu: Ratio | None = None,
    ) -> None:
        """Print a ratio beside its goal.

        Args:
            what: What is divided by what.
            where: Under which load.
            found: The ratio.
            least: The goal, if it should be larger.
            most: The goal, if it should be smaller.
            cpu: The ratio of the processor's time for a request.
        """
        goal = f"at least {least:g}" if least is not None else ""
        goal = f"at most {most:g}" if most is not None else goal
        met = (least is None or found.median >= least) and (most is None or found.median <= most)
        line = f"{where}: {found}"
        line += f"; CPU {cpu.median:.2f}" if cpu else ""
        line += f"; goal {goal}: {'met' if met else 'missed'}" if goal else ""
        self.note(f"{what}, {line}")
        self._claims.setdefault(what, []).append(line)

    def answers(self, compared: int, wrong: int) -> None:
        """Print how many answers were compared with the expected ones, and how many differed."""
        self.wrong += wrong
        self.note(f"answers compared: {compared:,}, wrong: {wrong:,}")

    def rows(self) -> None:
        """Print the claims as rows of the table in README.md."""
        day = datetime.date.today().isoformat()
        machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
        for what, found in self._claims.items():
            self.note(f"| {what} | `{self._command}` | {'<br>'.join(found)} | {day} | {machine} |")
