"""Prometheus metrics of pipelines and their children.

They are in the default registry, which MLServer's metrics endpoint serves. They are created on first use
instead of on import: only then has MLServer configured how parallel workers keep their values.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from tempo_runtime.errors import TempoError

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_OK = "ok"


class _Calls:
    """Counts calls of a pipeline or a child, with their outcomes and their time."""

    def __init__(self, family: _Family, *labels: str) -> None:
        self._labels = labels
        self._total = family.total
        self._ok = family.total.labels(*labels, _OK)
        self._seconds = family.seconds.labels(*labels)
        self._in_flight = family.in_flight.labels(*labels)

    def call(self) -> _Call:
        """Count the block as one call; its outcome is `ok` or the class of the error."""
        return _Call(self)

    def begin(self) -> float:
        """Count the start of a call, and return the time."""
        self._in_flight.inc()
        return time.perf_counter()

    def end(self, begin: float, error: type[BaseException] | None) -> None:
        """Count the end of a call that began at this time."""
        self._in_flight.dec()
        self._seconds.observe(time.perf_counter() - begin)
        if error is None:
            self._ok.inc()
        else:
            known = issubclass(error, TempoError)
            self._total.labels(*self._labels, error.__name__ if known else "error").inc()


class _Call:
    # A class instead of contextlib's decorator, because each request and each call would pay for that.
    __slots__ = ("_begin", "_calls")

    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    def __enter__(self) -> None:
        self._begin = self._calls.begin()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._calls.end(self._begin, kind)


class PipelineMetrics(_Calls):
    """Metrics of one pipeline."""

    def __init__(self, pipeline: str) -> None:
        families = _families()
        super().__init__(families.pipelines, pipeline)
        self._waiting = families.waiting.labels(pipeline)
        self._hung = families.hung.labels(pipeline)

    def waiting(self, count: int) -> None:
        """Set the number of requests that wait for a thread."""
        self._waiting.set(count)

    def hung(self, count: int) -> None:
        """Set the number of threads that still work for requests that have ended."""
        self._hung.set(count)


class ChildMetrics(_Calls):
    """Metrics of one child of a pipeline."""

    def __init__(self, pipeline: str, alias: str) -> None:
        families = _families()
        super().__init__(families.children, pipeline, alias)
        self._rows = families.rows.labels(pipeline, alias)
        self._retries = families.retries.labels(pipeline, alias)
        self._breaker = families.breaker
        self._names = (pipeline, alias)

    def sent(self, rows: int) -> None:
        """Count rows that are sent to the child."""
        self._rows.inc(rows)

    def retried(self) -> None:
        """Count a retry."""
        self._retries.inc()

    def breaker_is(self, url: str, state: int) -> None:
        """Set the state of one server's breaker: 0 closed, 1 half open, 2 open."""
        self._breaker.labels(*self._names, url).set(state)


class BatchMetrics:
    """Metrics of the calls that are put together for one child of a pipeline.

    Args:
        pipeline: Name of the pipeline.
        alias: The child; None for the requests of the pipeline itself.
    """

    def __init__(self, pipeline: str, alias: str | None = None) -> None:
        labels = (pipeline,) if alias is None else (pipeline, alias)
        kind = "pipeline" if alias is None else "child"
        self._calls, self._rows, self._wait = (
            metric.labels(*labels) for metric in _batch_families(kind)
        )

    def sent(self, calls: int, rows: int) -> None:
        """Count what is sent as one call: the calls of the pipeline in it, and their rows."""
        self._calls.observe(calls)
        self._rows.observe(rows)

    def waited(self, seconds: float) -> None:
        """Count the time that a call of the pipeline waited before it was sent."""
        self._wait.observe(seconds)


@dataclass(frozen=True)
class _Family:
    total: Counter
    seconds: Histogram
    in_flight: Gauge


@dataclass(frozen=True)
class _Families:
    pipelines: _Family
    children: _Family
    waiting: Gauge
    hung: Gauge
    rows: Counter
    retries: Counter
    breaker: Gauge


_making = Lock()  # each pipeline is loaded in its own thread


def _families() -> _Families:
    with _making:
        return _make()


@cache
def _make() -> _Families:
    from prometheus_client import Counter, Gauge, Histogram

    def family(prefix: str, subject: str, *labels: str) -> _Family:
        return _Family(
            Counter(f"{prefix}_total", f"{subject}, by outcome", [*labels, "outcome"]),
            Histogram(f"{prefix}_seconds", f"Time of {subject.lower()}", labels, buckets=_SECONDS),
            Gauge(
                f"{prefix}_in_flight", f"{subject} in progress", labels, multiprocess_mode="livesum"
            ),
        )

    child = ("pipeline", "child")
    return _Families(
        pipelines=family("tempo_pipeline_requests", "Requests to a pipeline", "pipeline"),
        children=family("tempo_child_calls", "Calls to a child model", *child),
        waiting=Gauge(
            "tempo_pipeline_requests_waiting",
            "Requests that wait for a thread",
            ["pipeline"],
            multiprocess_mode="livesum",
        ),
        hung=Gauge(
            "tempo_pipeline_threads_hung",
            "Threads that still work for requests that have ended",
            ["pipeline"],
            multiprocess_mode="livesum",
        ),
        rows=Counter("tempo_child_rows_total", "Rows sent to a child", child),
        retries=Counter("tempo_child_retries_total", "Calls to a child made again", child),
        breaker=Gauge(
            "tempo_child_breaker_state",
            "Circuit breaker of a child's server: 0 closed, 1 half open, 2 open",
            [*child, "url"],
            multiprocess_mode="livemax",
        ),
    )


def _batch_families(kind: str) -> tuple[Histogram, Histogram, Histogram]:
    with _making:
        return _make_batch_families(kind)


@cache
def _make_batch_families(kind: str) -> tuple[Histogram, Histogram, Histogram]:
    from prometheus_client import Histogram

    prefix = f"tempo_{kind}_batch"
    labels = ("pipeline",) if kind == "pipeline" else ("pipeline", "child")
    sent = f"sent to a {kind} as one call"
    return (
        Histogram(f"{prefix}_calls", f"Calls that were {sent}", labels, buckets=_BATCH),
        Histogram(f"{prefix}_rows", f"Rows that were {sent}", labels, buckets=_BATCH),
        Histogram(
            f"{prefix}_wait_seconds",
            "Time that a call waited before it was sent",
            labels,
            buckets=_SECONDS,
        ),
    )
