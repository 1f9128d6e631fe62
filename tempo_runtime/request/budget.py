"""Limits on the calls of a request to its children, and their count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from tempo_runtime.errors import BudgetExceeded, PipelineFailed

# Parameters of a request.
MAX_CALLS = "tempo_max_calls"
MAX_ROWS = "tempo_max_rows"
ALLOW_INCOMPLETE_ANCHORS = "tempo_allow_incomplete_anchors"
BEST_SO_FAR = "tempo_best_so_far"  # earlier name of the same parameter


@dataclass
class RequestBudget:
    """The calls of one request to its children, in all threads that work for it.

    Attributes:
        max_calls: Largest number of calls; None for no limit.
        max_rows: Largest number of rows sent with these calls; None for no limit.
        allow_incomplete_anchors: Whether anchors return the best one so far once a limit is reached.
        calls: Number of calls so far.
        rows: Number of rows sent so far.
        watch: Called after each change; None if there is no need to.
        news: Further facts about the progress of the request.
        abandoned: Whether the client no longer waits for an answer.
        ended: Whether the request has been answered.
    """

    max_calls: int | None = None
    max_rows: int | None = None
    allow_incomplete_anchors: bool = False
    calls: int = 0
    rows: int = 0
    watch: Callable[[], None] | None = None
    news: Mapping[str, Any] = field(default_factory=dict)
    abandoned: bool = False
    ended: bool = False
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def spend(self, rows: int) -> None:
        """Count a call with this number of rows.

        Raises:
            BudgetExceeded: If the call would exceed a limit.
            PipelineFailed: If the client has left.
        """
        if self.abandoned:
            raise PipelineFailed("the client of the request has left")
        with self._lock:
            self._check(self.calls + 1, self.max_calls, "calls to children", MAX_CALLS)
            self._check(self.rows + rows, self.max_rows, "rows sent to children", MAX_ROWS)
            self.calls += 1
            self.rows += rows
        if self.watch is not None:
            self.watch()

    def _check(self, wanted: int, limit: int | None, counted: str, parameter: str) -> None:
        if limit is not None and wanted > limit:
            raise BudgetExceeded(
                f"the request needs more than its {limit} {counted}; give it more with the setting "
                f"`{parameter.removeprefix('tempo_')}` or the request parameter `{parameter}`, or ask "
                f"for less; with `{ALLOW_INCOMPLETE_ANCHORS}`, anchors return the best one so far"
            )
