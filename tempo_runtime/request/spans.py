"""The spans of a request, by OpenTelemetry: of pipelines, calls to children, attempts and batches.

This module is imported only where requests are traced. Spans have names and numbers; they never have
values, messages of errors, or parts of URLs that may be secret.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from threading import Lock
from typing import Protocol
from urllib.parse import urlsplit

from opentelemetry import context as otel
from opentelemetry import propagate
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
    format_trace_id,
    get_current_span,
    set_span_in_context,
    use_span,
)

Attributes = Mapping[str, str | int | float]

# Names of semantic conventions, which releases of OpenTelemetry's own package keep in different places.
ERROR_TYPE = "error.type"
_METHOD = "inference.GRPCInferenceService/ModelInfer"
_CANCELLED = "cancelled"


def tracer_of(provider: TracerProvider) -> Tracer | None:
    """Return this package's tracer of a provider; None if OpenTelemetry is disabled."""
    tracer = provider.get_tracer("tempo_runtime")
    return None if isinstance(tracer, NoOpTracer) else tracer


def begin(
    tracer: Tracer, name: str, attributes: Attributes, calls: int, headers: Mapping[str, str]
) -> Trace:
    """Start a span below the current one, or below the one that the headers of a request name.

    Args:
        tracer: Makes the spans.
        name: Name of the span.
        attributes: Its attributes.
        calls: Number of calls to children that have spans of their own.
        headers: Headers of the request.
    """
    here = get_current_span().get_span_context().is_valid
    parent = otel.get_current() if here else propagate.extract(headers)
    return Trace(tracer, tracer.start_span(name, parent, attributes=attributes), SpanLimit(calls))


def outside(tracer: Tracer) -> Trace:
    """Return a trace for one call to a model that no pipeline makes: below the current span, if any."""
    trace = Trace(tracer, get_current_span(), SpanLimit(1))
    trace.is_recorded = trace.is_recorded or not trace.headers
    return trace


def with_current_span(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers that name the current span, if there is one."""
    if not get_current_span().get_span_context().is_valid:
        return headers
    named = dict(headers)
    propagate.inject(named)
    return named


class SpanLimit:
    """Limits the spans of calls to children in one request, in all threads."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._count = count()

    def take(self) -> bool:
        """Count a call, and return whether it has a span of its own."""
        return next(self._count) < self._calls


class CallSpan(Protocol):
    """The record of one call to a child.

    Attributes:
        trace: The span that the call's own calls belong to.
    """

    trace: Trace

    def ended(self, error: BaseException | None) -> None:
        """Record the end of the call."""


class Trace:
    """A span, under which others are made.

    Args:
        tracer: Makes the spans.
        span: The span.
        limit: Limits the spans of calls to children.

    Attributes:
        is_recorded: Whether it is in the sample; otherwise no spans are made below it.
        headers: Headers that name it as the parent of what a child does.
    """

    def __init__(self, tracer: Tracer, span: Span, limit: SpanLimit) -> None:
        self.is_recorded = span.is_recording()
        self._tracer = tracer
        self._span = span
        self._limit = limit
        self._more: dict[tuple[str, str], _MoreCalls] = {}
        self._lock = Lock()
        self.headers: dict[str, str] = {}
        propagate.inject(self.headers, set_span_in_context(span))

    @property
    def id(self) -> str:
        """Id of the trace, as collectors show it."""
        return format_trace_id(self._span.get_span_context().trace_id)

    def note(self, name: str, value: str | int | float) -> None:
        """Set an attribute of the span."""
        self._span.set_attribute(name, value)

    def below(self, name: str, attributes: Attributes) -> Trace:
        """Start a span below the current one, which may be the author's own, or below this one."""
        if not self.is_recorded:
            return self
        here = get_current_span().get_span_context().is_valid
        parent = otel.get_current() if here else set_span_in_context(self._span)
        return self._started(self._tracer.start_span(name, parent, attributes=attributes))

    def call(self, pipeline: str, alias: str, transport: str, rows: int) -> CallSpan:
        """Start the span of a call to a child, or count the call if there are too many.

        Args:
            pipeline: The pipeline that calls the child; empty for none.
            alias: Its name for the child.
            transport: How the child is called.
            rows: Number of rows that are sent.
        """
        about = {"tempo.child": alias, "tempo.transport": transport}
        if pipeline:
            about["tempo.pipeline"] = pipeline
        if self._limit.take():
            return _OneCall(self.below(f"child {alias}", {**about, "tempo.rows": rows}))
        with self._lock:
            more = self._more.get((pipeline, alias))
            if more is None:
                summary = self.below(f"child {alias} (more calls)", about)
                more = self._more[pipeline, alias] = _MoreCalls(summary)
        return _OneOfMany(more, rows)

    def attempt(self, url: str, number: int) -> Trace:
        """Start the span of one attempt to call a server.

        Args:
            url: URL of the server.
            number: Number of the attempt, from 1.
        """
        name, attributes = _client(url)
        attributes["tempo.attempt"] = number
        if number > 1 and "http.request.method" in attributes:
            attributes["http.request.resend_count"] = number - 1
        span = self._tracer.start_span(
            name, set_span_in_context(self._span), SpanKind.CLIENT, attributes
        )
        return self._started(span)

    def answered(self, url: str, status: int | str | None = None) -> None:
        """Record the status of a server's answer to an attempt; None for a success."""
        if urlsplit(url).scheme.startswith("grpc"):
            self.note("rpc.response.status_code", "OK" if status is None else status)
        else:
            self.note("http.response.status_code", 200 if status is None else status)

    @staticmethod
    def batch(callers: Sequence[Trace], name: str, attributes: Attributes) -> Trace:
        """Start the span of a call that is made for several callers, which links to all of them.

        It is below the first of them: whether it is in the sample is decided by theirs.
        """
        first = callers[0]
        links = [Link(caller._span.get_span_context()) for caller in callers]
        span = first._tracer.start_span(
            name, set_span_in_context(first._span), attributes=attributes, links=links
        )
        for caller in callers:
            caller._span.add_link(span.get_span_context())
        return first._started(span)

    def entered(self) -> AbstractContextManager[object]:
        """Make the span OpenTelemetry's current one for the block, for spans of other libraries."""
        return use_span(self._span, record_exception=False, set_status_on_exception=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make the span the current one for the block, and end it with the block."""
        try:
            with self.entered():
                yield
        except BaseException as error:
            self.end(error)
            raise
        self.end()

    def end(self, error: BaseException | str | None = None) -> None:
        """End the span, and the spans that count further calls.

        Args:
            error: The error that it ends with, or its class.
        """
        with self._lock:
            more, self._more = list(self._more.values()), {}
        for calls in more:
            calls.end()
        if error is not None:
            self._fail(error if isinstance(error, str) else _class_of(error))
        self._span.end()

    def unsampled(self) -> Trace:
        """Return a trace that names this span as the parent, but is not in the sample."""
        known = self._span.get_span_context()
        flags = TraceFlags(known.trace_flags & ~TraceFlags.SAMPLED)
        named = SpanContext(known.trace_id, known.span_id, False, flags, known.trace_state)
        return Trace(self._tracer, NonRecordingSpan(named), self._limit)

    def _started(self, span: Span) -> Trace:
        return Trace(self._tracer, span, self._limit)

    def _fail(self, kind: str) -> None:
        self._span.set_attribute(ERROR_TYPE, kind)
        self._span.set_status(Status(StatusCode.ERROR, kind))


class _OneCall:
    """A call with a span of its own."""

    __slots__ = ("trace",)

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def ended(self, error: BaseException | None) -> None:
        self.trace.end(error)


class _MoreCalls:
    """Further calls to one child, which share one span from the first to the last.

    The work of the children for them is not in the sample.
    """

    def __init__(self, summary: Trace) -> None:
        self._summary = summary
        self.trace = summary.unsampled()
        self._lock = Lock()
        self._calls = self._rows = self._failed = 0
        self._seconds = 0.0
        self._error: str | None = None

    def count(self, rows: int, seconds: float, error: BaseException | None) -> None:
        with self._lock:
            self._calls += 1
            self._rows += rows
            self._seconds += seconds
            if error is not None:
                self._failed += 1
                self._error = _class_of(error)

    def end(self) -> None:
        with self._lock:
            self._summary.note("tempo.calls", self._calls)
            self._summary.note("tempo.rows", self._rows)
            self._summary.note("tempo.seconds", self._seconds)
            self._summary.note("tempo.failed_calls", self._failed)
            self._summary.end(self._error)


class _OneOfMany:
    """A call that is counted in the span of further calls."""

    __slots__ = ("_began", "_more", "_rows", "trace")

    def __init__(self, more: _MoreCalls, rows: int) -> None:
        self._more = more
        self._rows = rows
        self._began = time.perf_counter()
        self.trace = more.trace

    def ended(self, error: BaseException | None) -> None:
        self._more.count(self._rows, time.perf_counter() - self._began, error)


def _class_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return _CANCELLED
    return type(error).__name__


def _client(url: str) -> tuple[str, dict[str, str | int]]:
    """Return name and attributes of the span of a call to a server, without secrets in its URL."""
    parts = urlsplit(url)
    attributes: dict[str, str | int] = {"server.address": parts.hostname or ""}
    if parts.port is not None:
        attributes["server.port"] = parts.port
    if parts.scheme.startswith("grpc"):
        return _METHOD, {**attributes, "rpc.system.name": "grpc", "rpc.method": _METHOD}
    place = parts.netloc.rpartition("@")[2]
    attributes["http.request.method"] = "POST"
    attributes["url.full"] = f"{parts.scheme}://{place}{parts.path}"
    attributes["url.template"] = parts.path
    return f"POST {parts.path}", attributes
