"""Log the requests of one pipeline: which of them, and what of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from tempo_runtime.errors import RequestNotLogged, SettingsError
from tempo_runtime.insights.events import Event
from tempo_runtime.insights.queue import QUEUE_FULL, EventQueue
from tempo_runtime.insights.redaction import Redaction
from tempo_runtime.insights.sender import Sender
from tempo_runtime.insights.snapshots import Cut, Snapshot
from tempo_runtime.request.metrics import InsightsMetrics
from tempo_runtime.request.timing import Elapsed, within
from tempo_runtime.settings import InsightsSettings

CHILD_LIMIT = "child_limit"
_NO = ("", "0", "false", "no", "off")


class RequestLog:
    """The request log of one pipeline.

    Args:
        pipeline: Name of the pipeline.
        version: Its version, if it has one.
        settings: What is logged, and where it is sent.
        streams: Whether the pipeline streams.

    Raises:
        SettingsError: If a stream shall be audited, or the file of certificates cannot be used.
    """

    def __init__(
        self, pipeline: str, version: str | None, settings: InsightsSettings, streams: bool = False
    ) -> None:
        if streams and settings.audit:
            raise SettingsError(
                f"pipeline {pipeline!r} streams, so its answers cannot wait for the sink of the request "
                "logs; remove insights.audit"
            )
        self.pipeline = pipeline
        self.settings = settings
        self.queue = EventQueue(settings.max_events, settings.max_bytes, InsightsMetrics(pipeline))
        self.redaction = Redaction(settings.redact)
        self.logs = frozenset(settings.log)
        self._constant = {"modelid": pipeline} | ({"modelversion": version} if version else {})
        self._decides_early = settings.sample_argument is None
        self.sender = Sender(pipeline, settings, self.queue, _redact, _decide)

    def begin(self, id_: str, headers: Mapping[str, Any]) -> LoggedRequest | None:
        """Return the log of a request that begins; None if it is not logged.

        Args:
            id_: Its id.
            headers: Its headers, by name in lower case.
        """
        settings = self.settings
        if (
            not settings.audit
            and settings.decline_header
            and str(headers.get(settings.decline_header, "")).lower() not in _NO
        ):
            return None
        if settings.sample_rate < 1 and self._decides_early:
            header = settings.sample_header
            key = id_ if header is None else headers.get(header, id_)
            if not self.is_in_sample(key):
                return None
        return LoggedRequest(self, id_, {"requestid": id_, **self._constant})

    def is_in_sample(self, key: Any) -> bool:
        """Return whether requests with this key are logged: the same in every process."""
        digest = blake2b(str(key).encode(errors="replace"), digest_size=6).digest()
        return int.from_bytes(digest, "big") < self.settings.sample_rate * 2**48

    def close(self) -> None:
        """Send what waits, within `flush_timeout`. It blocks."""
        self.sender.close()


class LoggedRequest:
    """The log of one request; implements `RequestEvents`."""

    __slots__ = (
        "_attributes",
        "_children",
        "_end",
        "_id",
        "_is_off",
        "_items",
        "_log",
        "_lost",
        "_snapshot",
    )

    def __init__(self, log: RequestLog, id_: str, attributes: Mapping[str, Any]) -> None:
        self._log = log
        self._id = id_
        self._attributes = attributes
        self._children = 0
        self._is_off = False
        self._lost: str | None = None  # why one of its events is lost
        self._end: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._items: list[Any] | None = None
        self._snapshot: Snapshot | None = None

    def arguments(self, arguments: Mapping[str, Any]) -> None:
        """Log the arguments of the request."""
        log = self._log
        settings = log.settings
        if settings.sample_argument is not None and settings.sample_rate < 1:
            self._is_off = not log.is_in_sample(arguments.get(settings.sample_argument, self._id))
        if self._is_off or "request" not in log.logs:
            return
        snapshot = Snapshot(settings.max_payload_bytes)
        values = {name: snapshot.of(name, value) for name, value in arguments.items()}
        self._put("request", {}, {"arguments": values}, log.redaction, snapshot)

    def child(
        self, pipeline: str, alias: str, inputs: Mapping[str, Any], redact: Sequence[str]
    ) -> LoggedCall | None:
        """See `RequestEvents.child`."""
        log = self._log
        if self._is_off or "children" not in log.logs:
            return None
        self._children += 1
        if self._children > log.settings.max_child_events:
            log.queue.drop(CHILD_LIMIT)
            return None
        snapshot = Snapshot(log.settings.max_payload_bytes)
        values = {name: snapshot.of(name, value) for name, value in inputs.items()}
        return LoggedCall(self, pipeline, alias, values, log.redaction.and_(redact), snapshot)

    def logged(self, value: Any) -> None:
        """See `RequestEvents.logged`."""
        if self._is_off:
            return
        snapshot = Snapshot(self._log.settings.max_payload_bytes)
        self._put(
            "custom", {}, {"value": snapshot.of("value", value)}, self._log.redaction, snapshot
        )

    def item(self, item: Any) -> None:
        """Note an item of a stream, which is logged with the others at the end."""
        if self._is_off:
            return
        if self._snapshot is None or self._items is None:
            self._snapshot, self._items = Snapshot(self._log.settings.max_payload_bytes), []
        if self._snapshot.size < self._log.settings.max_payload_bytes:
            self._items.append(self._snapshot.of("result", item))
        else:
            self._snapshot.cuts.append({"name": "result", "kept": 0, "of": 1})

    def answered(self, value: Any, seconds: float) -> None:
        """Log the answer."""
        if self._is_off or "response" not in self._log.logs:
            return
        snapshot = Snapshot(self._log.settings.max_payload_bytes)
        result = snapshot.of("result", value)
        self._end_with(200, "ok", seconds, {"result": result}, snapshot)

    def streamed(self, seconds: float) -> None:
        """Log the end of a stream, with its items."""
        if self._is_off or "response" not in self._log.logs:
            return
        snapshot = self._snapshot or Snapshot(0)
        self._end_with(200, "ok", seconds, {"result": self._items or []}, snapshot)

    def failed(self, status: int, error: str, seconds: float) -> None:
        """Log a failure by its status and the class of its error: its message may have values."""
        if self._is_off or "response" not in self._log.logs:
            return
        self._end_with(status, error, seconds, {}, Snapshot(0))

    async def audited(self, seconds: float | None) -> None:
        """Wait until the sink has all events of this request; at once if it is not audited.

        Args:
            seconds: The time that is left; None for no limit.

        Raises:
            RequestNotLogged: If the sink does not have them in time.
        """
        if self._end is None:
            return
        try:
            await within(seconds, self._end[1])
        except Elapsed:
            raise self._not_logged("did not take it within the request's time") from None
        if self._lost is not None:
            raise self._not_logged(f"did not get it ({self._lost})")

    def _end_with(
        self, status: int, outcome: str, seconds: float, data: dict[str, Any], snapshot: Snapshot
    ) -> None:
        log = self._log
        if log.settings.audit:
            loop = asyncio.get_running_loop()
            self._end = loop, loop.create_future()
        data["milliseconds"] = round(seconds * 1000, 3)
        if self._children:
            data["child_calls"] = self._children
        more = {"status": status, "outcome": outcome}
        self._put("response", more, data, log.redaction, snapshot)
        if self._end is not None and self._lost is not None and not self._end[1].done():
            self._end[1].set_result(None)

    def _put(
        self,
        kind: str,
        more: Mapping[str, Any],
        data: dict[str, Any],
        redaction: Redaction,
        snapshot: Snapshot,
    ) -> None:
        log = self._log
        pending = _Pending(self, redaction, snapshot.cuts)
        event = Event(kind, time.time(), self._attributes, more, data, pending, snapshot.size)
        if log.queue.put(event):
            log.sender.wake()
        else:
            self._lost = QUEUE_FULL

    def _not_logged(self, reason: str) -> RequestNotLogged:
        return RequestNotLogged(
            f"pipeline {self._log.pipeline!r} does not answer a request that is not logged, and the sink "
            f"of its request logs {reason}"
        )


class LoggedCall:
    """The log of one call to a child; implements `ChildEvent`."""

    __slots__ = ("_alias", "_inputs", "_pipeline", "_redaction", "_request", "_snapshot")

    def __init__(
        self,
        request: LoggedRequest,
        pipeline: str,
        alias: str,
        inputs: dict[str, Any],
        redaction: Redaction,
        snapshot: Snapshot,
    ) -> None:
        self._request = request
        self._pipeline = pipeline
        self._alias = alias
        self._inputs = inputs
        self._redaction = redaction
        self._snapshot = snapshot

    def ended(self, answer: Any, error: BaseException | None, seconds: float) -> None:
        """See `ChildEvent.ended`."""
        snapshot = self._snapshot
        data: dict[str, Any] = {
            "arguments": self._inputs,
            "milliseconds": round(seconds * 1000, 3),
        }
        if error is None:
            data["result"] = snapshot.of("result", answer)
        more = {
            "modelid": self._pipeline,
            "child": self._alias,
            "outcome": "ok" if error is None else getattr(error, "kind", type(error).__name__),
        }
        self._request._put("child", more, data, self._redaction, snapshot)


class _Pending:
    """The request of an event, as far as the sender has to know it."""

    __slots__ = ("cuts", "redaction", "request")

    def __init__(self, request: LoggedRequest, redaction: Redaction, cuts: list[Cut]) -> None:
        self.request = request
        self.redaction = redaction
        self.cuts = cuts


def _redact(event: Event) -> None:
    pending: _Pending = event.request
    if pending.redaction:
        pending.redaction.apply(event.data)
    if pending.cuts:
        event.data["cut"] = pending.cuts


def _decide(event: Event, lost: str | None) -> None:
    """Let a request that waits for its last event go on."""
    request: LoggedRequest = event.request.request
    if lost is not None:
        request._lost = lost
    if event.kind == "response" and request._end is not None:
        loop, end = request._end
        if not loop.is_closed():
            loop.call_soon_threadsafe(_finish, end)


def _finish(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)
