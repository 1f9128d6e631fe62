"""Note the requests of a served pipeline, for its access log, its request logs and its traces."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from mlserver.errors import MLServerError

from tempo_runtime.errors import RequestNotLogged, TempoError
from tempo_runtime.request.record import RequestRecord

if TYPE_CHECKING:
    from tempo_runtime.insights.request_log import LoggedRequest, RequestLog
    from tempo_runtime.request.spans import Trace
    from tempo_runtime.runtime.access_log import AccessLog
    from tempo_runtime.runtime.tracing import PipelineTracing

_NOTHING = nullcontext()
CANCELLED = 499  # nginx's status of a request whose client has left


class Recorder:
    """Notes the requests of one pipeline.

    Args:
        access: Its access log; None for no such log.
        log: Its request log; None for no such log.
        tracing: Starts its spans; None if it is not traced.
    """

    def __init__(
        self,
        access: AccessLog | None,
        log: RequestLog | None,
        tracing: PipelineTracing | None = None,
    ) -> None:
        self._access = access
        self._log = log
        self._tracing = tracing

    def begin(self, id_: str, headers: Mapping[str, Any]) -> NotedRequest:
        """Note a request that begins.

        Args:
            id_: Its id.
            headers: Its headers.
        """
        trace = None if self._tracing is None else self._tracing.begin(headers)
        logged = None
        if self._log is not None:
            parent = None if trace is None else trace.headers.get("traceparent")
            logged = self._log.begin(id_, headers, parent)
        # Only HTTP requires this header.
        transport = "http" if "host" in headers else "grpc"
        return NotedRequest(id_, transport, self._access, logged, trace)

    @property
    def audits(self) -> bool:
        """Whether answers wait for the sink."""
        return self._log is not None and self._log.settings.audit

    def close(self) -> None:
        """Send what waits. It blocks."""
        if self._log is not None:
            self._log.close()


class NotedRequest(RequestRecord):
    """A request that is noted.

    Attributes:
        deadline: Its deadline, on the clock of `time.monotonic`; None if it has none or is not known yet.
        logged: Its log; None if it is not logged.
        trace: Its span; None if it is not traced.
    """

    __slots__ = ("_access", "_id", "_items", "_transport", "deadline", "logged", "trace")

    def __init__(
        self,
        id_: str,
        transport: str,
        access: AccessLog | None,
        logged: LoggedRequest | None,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(logged)
        self._id = id_
        self._transport = transport
        self._access = access
        self.deadline: float | None = None
        self.logged = logged
        self.trace = trace
        self._items = 0

    def entered(self) -> AbstractContextManager[object]:
        """Make its span OpenTelemetry's current one for the block."""
        return _NOTHING if self.trace is None else self.trace.entered()

    def arguments(self, arguments: Mapping[str, Any]) -> None:
        """Note the arguments, before the author's code can change them."""
        if self.logged is not None:
            self.logged.arguments(arguments)

    def item(self, item: Any) -> None:
        """Note an item of a stream."""
        self._items += 1
        if self.logged is not None:
            self.logged.item(item)

    def answered(self, value: Any) -> bool:
        """Note the answer; return whether to wait for the sink, in `audited`, because it is audited."""
        if self.logged is not None:
            self.logged.answered(value, time.perf_counter() - self.began)
            if self.logged.is_audited:
                return True
        self._write(200)
        return False

    async def audited(self) -> None:
        """Wait until the sink has the answer.

        Raises:
            RequestNotLogged: If it is audited, and the sink does not have it in time.
        """
        assert self.logged is not None
        await self.logged.audited(self._left())
        self._write(200)

    def streamed(self) -> None:
        """Note the end of a stream."""
        if self.logged is not None:
            self.logged.streamed(time.perf_counter() - self.began)
        self._write(200)

    async def failed(self, error: Exception, failure: MLServerError) -> TempoError | None:
        """Note a failure; if the request is audited, wait for the sink while there is time.

        Args:
            error: The error.
            failure: The error in the form that MLServer answers.

        Returns:
            The error to answer instead, if the request is audited and the sink does not have it in time.
        """
        status, kind = failure.status_code, getattr(error, "kind", type(error).__name__)
        instead = None
        if self.logged is not None:
            self.logged.failed(status, kind, time.perf_counter() - self.began)
            left = self._left()
            if left != 0 and not isinstance(error, RequestNotLogged):
                try:
                    await self.logged.audited(left)
                except RequestNotLogged as not_logged:
                    instead, status, kind = not_logged, not_logged.status, not_logged.kind
        self._write(status, kind)
        return instead

    def cancelled(self) -> None:
        """Note that the client has left."""
        if self.logged is not None:
            self.logged.failed(CANCELLED, "cancelled", time.perf_counter() - self.began)
        self._write(CANCELLED, "cancelled")

    def _write(self, status: int, error: str | None = None) -> None:
        trace = self.trace
        if self._access is not None:
            seconds = time.perf_counter() - self.began
            self._access.write(
                self._id,
                self._transport,
                status,
                seconds,
                sum(self.child_seconds),
                error,
                None if trace is None else trace.id,
            )
        if trace is not None:
            if self._items:
                trace.note("tempo.items", self._items)
            trace.end(error)

    def _left(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
