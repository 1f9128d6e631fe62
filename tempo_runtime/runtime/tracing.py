"""Trace the requests of a served pipeline, below MLServer's spans.

MLServer traces requests over HTTP and gRPC in its main process, if its setting `tracing_server` is set.
The spans of pipelines go to the same provider, and in a parallel worker to one like it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from threading import Lock, Thread
from typing import Any

from mlserver import tracing as mlservers
from mlserver.handlers import DataPlane
from opentelemetry.trace import Tracer

from tempo_runtime.request import tracing
from tempo_runtime.request.spans import Trace, begin, tracer_of
from tempo_runtime.runtime import drain

_FLUSH = 1.0  # seconds
_making = Lock()  # each pipeline is loaded in its own thread


class PipelineTracing:
    """Starts the spans of one pipeline's requests.

    Args:
        tracer: Makes the spans.
        pipeline: Name of the pipeline.
        version: Its version, if it has one.
        calls: Number of calls to children that have spans of their own, in each request.
    """

    def __init__(self, tracer: Tracer, pipeline: str, version: str | None, calls: int) -> None:
        self._tracer = tracer
        self._name = f"pipeline {pipeline}"
        self._attributes = {"tempo.pipeline": pipeline}
        if version:
            self._attributes["tempo.version"] = version
        self._calls = calls

    def begin(self, headers: Mapping[str, Any]) -> Trace:
        """Start the span of a request that has these headers."""
        return begin(self._tracer, self._name, self._attributes, self._calls, headers)


def server_tracer(data_plane: DataPlane | None) -> Tracer | None:
    """Return the tracer of a server's pipelines; None if requests are not traced.

    Args:
        data_plane: That of the MLServer in this process; None in a parallel worker.
    """
    # A worker's process has MLServer's settings as well, but gives models no reference to them.
    owner = multiprocessing.current_process() if data_plane is None else data_plane
    settings = getattr(owner, "_settings", None)
    if not getattr(settings, "tracing_server", None):
        return tracing.tracer()
    with _making:
        provider = mlservers.get_tracer_provider(settings)
    drain.before_killing(_flush)
    return tracer_of(provider)


def _flush() -> None:
    """Export the spans that have ended, if the collector takes them in time."""
    provider = mlservers._TRACER_PROVIDER
    exporting = Thread(target=provider.force_flush, daemon=True)
    exporting.start()
    exporting.join(_FLUSH)
