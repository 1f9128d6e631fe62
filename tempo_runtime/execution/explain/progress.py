"""Say how far an explanation has come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tempo_runtime._util import progress
from tempo_runtime.request.budget import RequestBudget

DELAY = 0.5  # seconds; a call that takes less is not shown


def in_words(calls: int, rows: int, news: Mapping[str, Any]) -> str:
    """Return the progress of a request for people.

    Args:
        calls: Number of calls to children so far.
        rows: Number of rows sent with these calls.
        news: Further facts: the best anchor so far of an anchor explainer.
    """
    text = f"calls {calls:,}, rows {rows:,}"
    if "anchor" not in news:
        return text
    rules = " and ".join(news["anchor"]) or "no rule"
    numbers = f"precision {news['precision']:.2f}, coverage {news['coverage']:.0%}"
    return f"{text}; best so far: {rules} ({numbers})"


@contextmanager
def shown(name: str, budget: RequestBudget) -> Iterator[None]:
    """Show the progress of an explanation in this process below the cell of a notebook.

    Args:
        name: Name of the pipeline.
        budget: What counts the calls of the request.
    """
    with progress.in_cell(f"{name} explains", DELAY) as tell:
        budget.watch = lambda: tell(in_words(budget.calls, budget.rows, budget.news))
        yield
