"""Log the requests of one pipeline: which of them, and what of each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from hashlib import blake2b
from typing import Any, Concatenate, ParamSpec, TypeVar

from tempo_runtime.errors import RequestNotLogged, SettingsError
from tempo_runtime.insights.captures import Capture, Part
from tempo_runtime.insights.events import Event, members, to_json
from tempo_runtime.insights.queue import QUEUE_FULL, EventQueue
from tempo_runtime.insights.redaction import Redaction
from tempo_runtime.insights.sender import UNWRITABLE, Sender
from tempo_runtime.request.metrics import InsightsMetrics
from tempo_runtime.request.timing import Elapsed, within
from tempo_runtime.settings import InsightsSettings

CHILD_LIMIT = "child_limit"
logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
_Logged = TypeVar("_Logged", bound="LoggedRequest | LoggedCall")
_OK = members({"status": 200, "outcome": "ok"})
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
        self.about = members({"modelid": pipeline} | ({"modelversion": version} if version else {}))
        self._decides_early = settings.sample_argument is None
        self.sender = Sender(pipeline, settings, self.queue, _data, _decide)

    def begin(
        self, id_: str, headers: Mapping[str, Any], traceparent: str | None = None
    ) -> LoggedRequest | None:
        """Return the log of a request that begins; None if it is not logged.

        Args:
            id_: Its id.
            headers: Its headers, by name in lower case.
            traceparent: Its span, if it is traced, as W3C's header names it.
        """
        settings = self.settings
        declined = headers.get(settings.decline_header)
        if declined is not None and not settings.audit and str(declined).lower() not in _NO:
            return None
        if settings.sample_rate < 1 and self._decides_early:
            header = settings.sample_header
            key = id_ if header is None else headers.get(header, id_)
            if not self.is_in_sample(key):
                return None
        return LoggedRequest(self, id_, traceparent)

    def is_in_sample(self, key: Any) -> bool:
        """Return whether requests with this key are logged: the same in every process."""
        digest = blake2b(str(key).encode(errors="replace"), digest_size=6).digest()
        return int.from_bytes(digest, "big") < self.settings.sample_rate * 2**48

    def close(self) -> None:
        """Send what waits, within `flush_timeout`. It blocks."""
        self.sender.close()


def _guarded(
    note: Callable[Concatenate[_Logged, P], T],
) -> Callable[Concatenate[_Logged, P], T | None]:
    """Make a method drop an event that it cannot write, since the request must not fail because of it."""

    @wraps(note)
    def guarded(self: _Logged, /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return note(self, *args, **kwargs)
        except Exception:
            self.lose()
            return None

    return guarded


class LoggedRequest:
    """The log of one request; implements `RequestEvents`."""

    __slots__ = (
        "_about",
        "_children",
        "_end",
        "_id",
        "_ids",
        "_is_off",
        "_item_capture",
        "_items",
        "_log",
        "_lost",
    )

    def __init__(self, log: RequestLog, id_: str, traceparent: str | None = None) -> None:
        self._log = log
        self._id = id_
        self._ids = {"requestid": id_} | ({"traceparent": traceparent} if traceparent else {})
        self._about = b"%b%b" % (members(self._ids), log.about)
        self._children = 0
        self._is_off = False
        self._lost: str | None = None  # why one of its events is lost
        self._end: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._items: list[Part] = []
        self._item_capture: Capture | None = None

    @_guarded
    def arguments(self, arguments: Mapping[str, Any]) -> None:
        """Log the arguments of the request."""
        log = self._log
        settings = log.settings
        if settings.sample_argument is not None and settings.sample_rate < 1:
            self._is_off = not log.is_in_sample(arguments.get(settings.sample_argument, self._id))
        if self._is_off or "request" not in log.logs:
            return
        capture = Capture(log.redaction, settings.max_payload_bytes)
        self._put("request", self._about, capture, [(b"arguments", capture.values(arguments))])

    @_guarded
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
        capture = Capture(log.redaction.and_(redact), log.settings.max_payload_bytes)
        return LoggedCall(self, pipeline, alias, capture, capture.values(inputs))

    def about_child(self, pipeline: str, alias: str, outcome: str) -> bytes:
        """Return the attributes of a call to a child.

        Args:
            pipeline: The pipeline that called it.
            alias: Its name for the child.
            outcome: `ok`, or the class of the error.
        """
        more = members({"child": alias, "outcome": outcome})
        if pipeline == self._log.pipeline:
            return self._about + more
        return members({**self._ids, "modelid": pipeline}) + more

    def inside(self, redact: Sequence[str]) -> LoggedInside:
        """See `RequestEvents.inside`."""
        return LoggedInside(self, redact)

    @_guarded
    def logged(self, value: Any, redact: Sequence[str] = ()) -> None:
        """See `RequestEvents.logged`.

        Args:
            value: The value.
            redact: Further names of values that are not logged.
        """
        if self._is_off:
            return
        capture = self._capture(redact)
        name = "value"
        part = capture.values(value) if _has_names(value) else capture.value(name, value)
        self._put("custom", self._about, capture, [(name.encode(), part)])

    def item(self, item: Any) -> None:
        """Note an item of a stream, which is logged with the others at the end."""
        if self._is_off:
            return
        capture = self._item_capture = self._item_capture or self._capture()
        try:
            if capture.size < self._log.settings.max_payload_bytes:
                self._items.append(capture.value("result", item))
                return
        except Exception:
            self.lose()
        capture.cut("result")

    @_guarded
    def answered(self, value: Any, seconds: float) -> None:
        """Log the answer."""
        if self._is_off or "response" not in self._log.logs:
            return
        self._begin_end()
        capture = self._capture()
        self._end_with(_OK, seconds, capture, [(b"result", capture.value("result", value))])

    @_guarded
    def streamed(self, seconds: float) -> None:
        """Log the end of a stream, with its items."""
        if self._is_off or "response" not in self._log.logs:
            return
        items = b"[%b]" % b",".join(map(_json, self._items))
        self._end_with(_OK, seconds, self._item_capture or self._capture(), [(b"result", items)])

    def failed(self, status: int, error: str, seconds: float) -> None:
        """Log a failure by its status and the class of its error: its message may have values."""
        if self._is_off or "response" not in self._log.logs:
            return
        self._begin_end()
        about = members({"status": status, "outcome": error})
        self._end_with(about, seconds, self._capture(), [])

    @property
    def is_audited(self) -> bool:
        """Whether the answer waits for the sink."""
        return self._end is not None

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

    def lose(self) -> None:
        """Count an event that cannot be written, and log the exception that is being handled."""
        logger.exception("an event of pipeline %r cannot be written", self._log.pipeline)
        self._log.queue.drop(UNWRITABLE)
        self._lost = UNWRITABLE
        self.decided()

    def decided(self) -> None:
        """Let the request go on, if it waits for its last event; any thread may call this."""
        if self._end is not None:
            loop, end = self._end
            if not loop.is_closed():
                loop.call_soon_threadsafe(_finish, end)

    def _capture(self, redact: Sequence[str] = ()) -> Capture:
        return Capture(self._log.redaction.and_(redact), self._log.settings.max_payload_bytes)

    def _begin_end(self) -> None:
        """Let the answer wait for the last event, if it is audited."""
        if self._log.settings.audit:
            loop = asyncio.get_running_loop()
            self._end = loop, loop.create_future()

    def _end_with(
        self, about: bytes, seconds: float, capture: Capture, parts: list[tuple[bytes, Part]]
    ) -> None:
        parts.append((b"milliseconds", b"%.3f" % (seconds * 1000)))
        if self._children:
            parts.append((b"child_calls", b"%d" % self._children))
        self._put("response", self._about + about, capture, parts)
        if self._end is not None and self._lost is not None:
            _finish(self._end[1])

    def _put(
        self, kind: str, about: bytes, capture: Capture, parts: list[tuple[bytes, Part]]
    ) -> None:
        log = self._log
        if capture.cuts:
            parts.append((b"cut", to_json(capture.cuts)))
        data = _joined(parts) if capture.is_written else parts
        owner = self if log.settings.audit else None
        if log.queue.put(Event(kind, time.time(), about, data, owner, capture.size)):
            log.sender.wake()
        else:
            self._lost = QUEUE_FULL

    def _not_logged(self, reason: str) -> RequestNotLogged:
        return RequestNotLogged(
            f"pipeline {self._log.pipeline!r} does not answer a request that is not logged, and the sink "
            f"of its request logs {reason}"
        )


class LoggedInside:
    """The log of one request for a pipeline inside another's process; implements `RequestEvents`.

    Args:
        request: The log of the request.
        redact: Further names of values that are not logged.
    """

    __slots__ = ("_redact", "_request")

    def __init__(self, request: LoggedRequest, redact: Sequence[str]) -> None:
        self._request = request
        self._redact = tuple(redact)

    def child(
        self, pipeline: str, alias: str, inputs: Mapping[str, Any], redact: Sequence[str]
    ) -> LoggedCall | None:
        """See `RequestEvents.child`."""
        return self._request.child(pipeline, alias, inputs, (*self._redact, *redact))

    def logged(self, value: Any) -> None:
        """See `RequestEvents.logged`."""
        self._request.logged(value, self._redact)

    def inside(self, redact: Sequence[str]) -> LoggedInside:
        """See `RequestEvents.inside`."""
        return LoggedInside(self._request, (*self._redact, *redact))


class LoggedCall:
    """The log of one call to a child; implements `ChildEvent`."""

    __slots__ = ("_alias", "_arguments", "_capture", "_pipeline", "_request")

    def __init__(
        self,
        request: LoggedRequest,
        pipeline: str,
        alias: str,
        capture: Capture,
        arguments: Part,
    ) -> None:
        self._request = request
        self._pipeline = pipeline
        self._alias = alias
        self._capture = capture
        self._arguments = arguments

    def lose(self) -> None:
        """See `LoggedRequest.lose`."""
        self._request.lose()

    @_guarded
    def ended(self, answer: Any, error: BaseException | None, seconds: float) -> None:
        """See `ChildEvent.ended`."""
        request, capture = self._request, self._capture
        parts: list[tuple[bytes, Part]] = [(b"arguments", self._arguments)]
        if error is None:
            parts.append((b"result", capture.value("result", answer)))
        parts.append((b"milliseconds", b"%.3f" % (seconds * 1000)))
        outcome = "ok" if error is None else getattr(error, "kind", type(error).__name__)
        about = request.about_child(self._pipeline, self._alias, outcome)
        request._put("child", about, capture, parts)


def _has_names(value: Any) -> bool:
    """Return whether a value is a dict whose keys are text."""
    return type(value) is dict and all(type(name) is str for name in value)


def _json(part: Part) -> bytes:
    return part if isinstance(part, bytes) else part.to_json()


def _joined(parts: Iterable[tuple[bytes, Part]]) -> bytes:
    return b"{%b}" % b",".join([b'"%b":%b' % (name, _json(part)) for name, part in parts])


def _data(event: Event) -> bytes:
    """Return the data of an event as JSON."""
    return event.data if isinstance(event.data, bytes) else _joined(event.data)


def _decide(event: Event, lost: str | None) -> None:
    """Let a request that waits for its last event go on."""
    request: LoggedRequest | None = event.pending
    if request is None:
        return
    if lost is not None:
        request._lost = lost
    if event.kind == "response":
        request.decided()


def _finish(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)
