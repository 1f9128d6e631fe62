"""Prometheus metrics of pipelines and their children.

They are in the default registry, which MLServer's metrics endpoint serves. They are created on first use
instead of on import: only then has MLServer configured how parallel workers keep their values.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from tempo_runtime.errors import TempoError

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_OK = "ok"
_MOST = 1000  # calls that are not counted, where the metrics are never read
PIPELINE_REQUESTS, CHILD_CALLS = "tempo_pipeline_requests", "tempo_child_calls"
SHARED = "PROMETHEUS_MULTIPROC_DIR"


class _Calls:
    """Counts calls of a pipeline or a child, with their outcomes and their time.

    A call only notes its beginning and its end; both are single steps of the interpreter, so they need no
    lock. They are counted when the metrics are read, except where another process reads them.
    """

    def __init__(self, family: _Family, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._total = family.total
        self._ok = family.total.labels(*labels, _OK)
        self._seconds = family.seconds.labels(*labels)
        self._in_flight = family.in_flight.labels(*labels)
        self._at_once = family.at_once
        self._running: set[_Call] = set()
        self._ended: deque[float] = deque()  # seconds of calls that are not counted yet
        self._counted_running = 0
        self._lock = Lock()

    def call(self) -> _Call:
        """Count the block as one call; its outcome is `ok` or the class of the error."""
        return _Call(self)

    def begin(self, call: _Call) -> None:
        """Note the start of a call."""
        self._running.add(call)
        if self._at_once:
            self.count()

    def end(self, call: _Call, seconds: float, error: type[BaseException] | None) -> None:
        """Note the end of a call."""
        self._running.discard(call)
        if error is not None:
            self._total.labels(*self._labels, _outcome(error)).inc()
            self._seconds.observe(seconds)
        else:
            self._ended.append(seconds)
        if self._at_once or len(self._ended) > _MOST:
            self.count()

    def count(self) -> None:
        """Count what was noted."""
        with self._lock:
            running = len(self._running)
            if running != self._counted_running:
                self._in_flight.inc(running - self._counted_running)
                self._counted_running = running
            for _ in range(len(self._ended)):
                self._seconds.observe(self._ended.popleft())
                self._ok.inc()


def _outcome(error: type[BaseException]) -> str:
    if issubclass(error, asyncio.CancelledError | GeneratorExit):
        return "cancelled"
    return error.__name__ if issubclass(error, TempoError) else "error"


class _Call:
    # A class instead of contextlib's decorator, because each request and each call would pay for that.
    __slots__ = ("_begin", "_calls")

    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    def __enter__(self) -> None:
        self._calls.begin(self)
        self._begin = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._calls.end(self, time.perf_counter() - self._begin, kind)


class PipelineMetrics:
    """Metrics of one pipeline.

    Attributes:
        call: Returns a context that counts its block as one request; the outcome is `ok` or the class of
            the error.
    """

    def __init__(self, pipeline: str) -> None:
        families = _families()
        self.call = families.pipelines.calls(pipeline).call
        self._waiting = families.waiting.labels(pipeline)
        self._hung = families.hung.labels(pipeline)

    def waiting(self, count: int) -> None:
        """Set the number of requests that wait for a thread."""
        self._waiting.set(count)

    def hung(self, count: int) -> None:
        """Set the number of threads that still work for requests that have ended."""
        self._hung.set(count)


class ChildMetrics:
    """Metrics of one child of a pipeline.

    Attributes:
        call: Returns a context that counts its block as one call; the outcome is `ok` or the class of the
            error.
    """

    def __init__(self, pipeline: str, alias: str) -> None:
        families = _families()
        self.call = families.children.calls(pipeline, alias).call
        self._rows = families.rows.labels(pipeline, alias)
        self._retries = families.retries.labels(pipeline, alias)
        self._breaker = families.breaker
        self._names = (pipeline, alias)

    @property
    def names(self) -> tuple[str, str]:
        """The pipeline, and its name for the child."""
        return self._names

    def sent(self, rows: int) -> None:
        """Count rows that are sent to the child."""
        self._rows.inc(rows)

    def retried(self) -> None:
        """Count a retry."""
        self._retries.inc()

    def breaker_is(self, url: str, state: int) -> None:
        """Set the state of one server's breaker: 0 closed, 1 half open, 2 open."""
        self._breaker.labels(*self._names, url).set(state)


class StateMetrics:
    """Metrics of the calls of a pipeline's state."""

    def __init__(self, pipeline: str) -> None:
        families = _families()
        self._family = families.state
        self._breaker = families.state_breaker
        self._pipeline = pipeline

    def call(self, operation: str) -> AbstractContextManager[None]:
        """Return a context that counts its block as one call; see `ChildMetrics.call`."""
        return self._family.calls(self._pipeline, operation).call()

    def breaker_is(self, state: int) -> None:
        """Set the state of the breaker of its Redis: 0 closed, 1 half open, 2 open."""
        self._breaker.labels(self._pipeline).set(state)


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


class InsightsMetrics:
    """Metrics of the request logs of one pipeline."""

    def __init__(self, pipeline: str) -> None:
        sent, self._dropped, events, size = _insights_families()
        self._pipeline = pipeline
        self._sent = sent.labels(pipeline)
        self._by_reason: dict[str, Counter] = {}
        self._events = events.labels(pipeline)
        self._bytes = size.labels(pipeline)

    def sent(self, count: int) -> None:
        """Count events that the sink has."""
        self._sent.inc(count)

    def dropped(self, reason: str, count: int) -> None:
        """Count events that the sink will not get."""
        metric = self._by_reason.get(reason)
        if metric is None:
            metric = self._by_reason[reason] = self._dropped.labels(self._pipeline, reason)
        metric.inc(count)

    def waiting(self, events: int, size: int) -> None:
        """Set the number and the size of the events that wait for the sink."""
        self._events.set(events)
        self._bytes.set(size)


class _Family:
    """The metrics of the calls of all pipelines, or of all children."""

    def __init__(self, prefix: str, subject: str, *labels: str) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        name = f"{prefix}_total"
        self.total = self._counting(Counter)(name, f"{subject}, by outcome", [*labels, "outcome"])
        self.seconds = self._counting(Histogram)(
            f"{prefix}_seconds", f"Time of {subject.lower()}", labels, buckets=_SECONDS
        )
        self.in_flight = self._counting(Gauge)(
            f"{prefix}_in_flight", f"{subject} in progress", labels, multiprocess_mode="livesum"
        )
        # Another process reads the values of parallel workers, from files.
        self.at_once = SHARED in os.environ
        self._calls: dict[tuple[str, ...], _Calls] = {}

    def calls(self, *labels: str) -> _Calls:
        """Return the calls with these labels."""
        return self._calls.setdefault(labels, _Calls(self, labels))

    def _counting(self, metric: Any) -> Any:
        """Return a class of metrics that counts the calls before it is read."""
        all_calls = self._count

        class Counting(metric):  # type: ignore[misc]
            def collect(self) -> Any:
                all_calls()
                return super().collect()

        return Counting

    def _count(self) -> None:
        for calls in list(self._calls.values()):
            calls.count()


@dataclass(frozen=True)
class _Families:
    pipelines: _Family
    children: _Family
    state: _Family
    waiting: Gauge
    hung: Gauge
    rows: Counter
    retries: Counter
    breaker: Gauge
    state_breaker: Gauge


_making = Lock()  # each pipeline is loaded in its own thread


def _families() -> _Families:
    with _making:
        return _make()


@cache
def _make() -> _Families:
    from prometheus_client import Counter, Gauge

    child = ("pipeline", "child")
    return _Families(
        pipelines=_Family(PIPELINE_REQUESTS, "Requests to a pipeline", "pipeline"),
        children=_Family(CHILD_CALLS, "Calls to a child model", *child),
        state=_Family("tempo_state_calls", "Calls of a pipeline's state", "pipeline", "operation"),
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
        state_breaker=Gauge(
            "tempo_state_breaker_state",
            "Circuit breaker of the Redis of a pipeline's state: 0 closed, 1 half open, 2 open",
            ["pipeline"],
            multiprocess_mode="livemax",
        ),
    )


def _insights_families() -> tuple[Counter, Counter, Gauge, Gauge]:
    with _making:
        return _make_insights_families()


@cache
def _make_insights_families() -> tuple[Counter, Counter, Gauge, Gauge]:
    from prometheus_client import Counter, Gauge

    prefix, labels = "tempo_insights", ["pipeline"]
    return (
        Counter(f"{prefix}_events_sent_total", "Events of request logs that the sink has", labels),
        Counter(
            f"{prefix}_events_dropped_total",
            "Events of request logs that the sink will not get, by reason",
            [*labels, "reason"],
        ),
        Gauge(
            f"{prefix}_queue_events",
            "Events of request logs that wait for the sink",
            labels,
            multiprocess_mode="livesum",
        ),
        Gauge(
            f"{prefix}_queue_bytes",
            "Size of the events of request logs that wait for the sink",
            labels,
            multiprocess_mode="livesum",
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
