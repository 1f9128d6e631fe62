"""What a request may ask of its children, and has asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from tempo_runtime.errors import BudgetExceeded, PipelineFailed

MAX_CALLS = "tempo_max_calls"  # parameters of a request
MAX_ROWS = "tempo_max_rows"
BEST_SO_FAR = "tempo_best_so_far"


@dataclass
class RequestBudget:
    """One request's calls to its children, in all threads that work for it.

    Attributes:
        max_calls: Calls it may make; None for any number.
        max_rows: Rows it may send with them.
        best_so_far: Whether anchors, when it is spent, are what was found until then.
        calls: Calls made.
        rows: Rows sent.
        watch: Called when something has changed; None where nobody looks.
        news: What else there is to tell about the work so far.
        abandoned: Whether nobody waits for an answer any more.
        ended: Whether the request has its answer.
    """

    max_calls: int | None = None
    max_rows: int | None = None
    best_so_far: bool = False
    calls: int = 0
    rows: int = 0
    watch: Callable[[], None] | None = None
    news: Mapping[str, Any] = field(default_factory=dict)
    abandoned: bool = False
    ended: bool = False
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def spend(self, rows: int) -> None:
        """Count a call with so many rows.

        Raises:
            BudgetExceeded: If it may not be.
            PipelineFailed: If the client has left.
        """
        if self.abandoned:
            raise PipelineFailed("the request's client has left")
        with self._lock:
            self._check(self.calls + 1, self.max_calls, "calls to children", MAX_CALLS)
            self._check(self.rows + rows, self.max_rows, "rows sent to children", MAX_ROWS)
            self.calls += 1
            self.rows += rows
        if self.watch is not None:
            self.watch()

    def _check(self, wanted: int, limit: int | None, what: str, parameter: str) -> None:
        if limit is not None and wanted > limit:
            raise BudgetExceeded(
                f"the request needs more than its {limit} {what}; give it more with the setting "
                f"`{parameter.removeprefix('tempo_')}` or the request parameter `{parameter}`, or ask "
                f"for less; with `{BEST_SO_FAR}` anchors are what was found until then"
            )
