"""Log values to the sink of the pipeline's request logs.

    from tempo_runtime import insights

    insights.log({"score": score})

`InsightsOptions` says where the logs go.
"""

from __future__ import annotations

from typing import Any

from tempo_runtime.request import context

__all__ = ["log"]


def log(value: Any) -> None:
    """Log a value, as an event of the current request.

    It does not wait, and it never fails the request. Nothing is logged if the pipeline does not have a
    sink, if the request is not in the sample, if its client declined, or outside of a server.

    Args:
        value: Any value: numbers, text, lists, dicts, arrays, DataFrames, dataclasses. It is copied, and
            redacted and cut as arguments are.

    Example:
        >>> from tempo_runtime import insights, model
        >>> @model("score")
        ... def score(amount: float) -> float:
        ...     insights.log({"amount": amount})
        ...     return amount / 100
        >>> score(50.0)
        0.5
    """
    record = context.current().record
    if record is not None and record.events is not None:
        record.events.logged(value)
