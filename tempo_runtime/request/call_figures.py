"""Read the figures of pipelines and their children back from the Prometheus metrics."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tempo_runtime.request.metrics import CHILD_CALLS, PIPELINE_REQUESTS, SHARED

_SUFFIXES = ("total", "in_flight", "seconds_bucket", "seconds_sum", "seconds_count")
_LABELS = ("pipeline", "child")
Buckets = Sequence[tuple[float, float]]


@dataclass
class CallFigures:
    """The calls of a pipeline, or of one of its children, since the server started.

    Attributes:
        running: Number of calls under way.
        outcomes: Number of calls by outcome: `ok`, or the class of the error.
        count: Number of calls whose time is known.
        seconds: The sum of their times.
        buckets: Number of calls that took at most so many seconds, ascending.
    """

    running: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    count: float = 0
    seconds: float = 0
    buckets: list[tuple[float, float]] = field(default_factory=list)

    @property
    def mean(self) -> float | None:
        """The mean time in seconds; None without calls."""
        return self.seconds / self.count if self.count else None


def read() -> dict[tuple[str, ...], CallFigures]:
    """Return the figures of all pipelines, and of all children by pipeline and alias.

    If parallel workers share metrics, this reads their files.
    """
    found: dict[tuple[str, ...], CallFigures] = defaultdict(CallFigures)
    for metric in _metrics():
        for sample in metric.samples:
            prefix = CHILD_CALLS if "child" in sample.labels else PIPELINE_REQUESTS
            suffix = sample.name.removeprefix(f"{prefix}_")
            if suffix in _SUFFIXES:
                key = tuple(sample.labels[label] for label in _LABELS if label in sample.labels)
                _add(found[key], suffix, sample)
    for figures in found.values():
        figures.buckets.sort()
    return dict(found)


def quantile(share: float, buckets: Buckets) -> float | None:
    """Estimate a quantile from the buckets of a histogram, as Prometheus' `histogram_quantile` does.

    Args:
        share: The quantile: above 0, and at most 1.
        buckets: The upper bound of each bucket, the last of which is infinite, and the number of
            observations up to it, ascending.

    Returns:
        The quantile, within a bucket by linear interpolation; None without observations.
    """
    total = buckets[-1][1] if buckets else 0
    if len(buckets) < 2 or not total:
        return None
    rank = share * total
    lower, below = 0.0, 0.0
    for bound, count in buckets[:-1]:
        if count >= rank:
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower  # it is beyond the last bound


def _add(figures: CallFigures, suffix: str, sample: Any) -> None:
    match suffix:
        case "total":
            figures.outcomes[sample.labels["outcome"]] = int(sample.value)
        case "in_flight":
            figures.running = int(sample.value)
        case "seconds_bucket":
            figures.buckets.append((float(sample.labels["le"]), sample.value))
        case "seconds_sum":
            figures.seconds = sample.value
        case _:
            figures.count = sample.value


def _metrics() -> Any:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    if SHARED in os.environ:
        collector: Any = MultiProcessCollector
        return collector(CollectorRegistry()).collect()
    names = [f"{prefix}_{end}" for prefix in (PIPELINE_REQUESTS, CHILD_CALLS) for end in _SUFFIXES]
    return REGISTRY.restricted_registry(names).collect()
