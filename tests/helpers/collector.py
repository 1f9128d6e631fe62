"""Collectors of traces, in this process, which keep the spans that they receive."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Link(NamedTuple):
    """Ids of a span that another one links to."""

    trace: str
    span: str


class Span(NamedTuple):
    """A span as the tests look at it."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    error: str | None
    links: tuple[Link, ...]
    service: str

    @property
    def link(self) -> Link:
        return Link(self.trace, self.id)


class Spans(list[Span]):
    """Spans, in the order in which they ended."""

    def of(self, trace: str) -> Spans:
        """Return the spans of one trace."""
        return Spans(span for span in self if span.trace == trace)

    def named(self, name: str) -> Spans:
        return Spans(span for span in self if span.name == name)

    def below(self, parent: Span) -> Spans:
        return Spans(span for span in self if span.parent == parent.id)

    def tree(self) -> str:
        """Return the names of the spans, each indented below its parent, in the order of their start."""
        ids = {span.id for span in self}
        lines: list[str] = []

        def add(span: Span, depth: int) -> None:
            lines.append("  " * depth + span.name)
            for part in sorted(self.below(span), key=lambda span: span.start):
                add(part, depth + 1)

        for root in sorted((s for s in self if s.parent not in ids), key=lambda span: span.start):
            add(root, 0)
        return "\n".join(lines)


class Collector(TraceServiceServicer):
    """OpenTelemetry's own gRPC service: keeps the spans that processes export to `address`."""

    def __init__(self) -> None:
        self.spans = Spans()
        self._server = grpc.server(ThreadPoolExecutor(2))
        add_TraceServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Collector:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name for it
        self.spans += _spans(request)
        return pb.ExportTraceServiceResponse()


class InMemory:
    """Keeps the spans of this process.

    Attributes:
        provider: The tracer provider that makes them.
    """

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> Spans:
        """The spans that have ended so far."""
        return _spans(encode_spans(self._exporter.get_finished_spans()))


def _spans(request: Any) -> Spans:
    spans = Spans()
    for part in request.resource_spans:
        resource = _attributes(part.resource.attributes)
        for scope in part.scope_spans:
            spans += [_span(span, resource["service.name"]) for span in scope.spans]
    return spans


def _span(span: Any, service: str) -> Span:
    return Span(
        span.name,
        type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        span.status.message if span.status.code == 2 else None,
        tuple(Link(link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        service,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
