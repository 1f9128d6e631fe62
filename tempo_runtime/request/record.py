"""Notes about a request while it runs, for the access log, the request logs and traces."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tempo_runtime.request.spans import CallSpan


class ChildEvent(Protocol):
    """The log of one call to a child."""

    def ended(self, answer: Any, error: BaseException | None, seconds: float) -> None:
        """Log the end of the call."""


class RequestEvents(Protocol):
    """The log of one request."""

    def child(
        self, pipeline: str, alias: str, inputs: Mapping[str, Any], redact: Sequence[str]
    ) -> ChildEvent | None:
        """Log the start of a call to a child; return None if the call is not logged.

        Args:
            pipeline: The pipeline that calls the child.
            alias: Its name for the child.
            inputs: The arguments, by name.
            redact: Names of values that the child itself does not log.
        """

    def logged(self, value: Any) -> None:
        """Log a value of the author's."""

    def inside(self, redact: Sequence[str]) -> RequestEvents:
        """Return the log for a pipeline in this process, which also redacts these names."""


class RequestRecord:
    """One request.

    Attributes:
        began: When it began, on the clock of `time.perf_counter`.
        child_seconds: Seconds of each call to a child.
        events: Its log; None if it is not logged.
    """

    __slots__ = ("began", "child_seconds", "events")

    def __init__(self, events: RequestEvents | None = None) -> None:
        self.began = time.perf_counter()
        # Calls may end in several threads; appending to a list is a single step.
        self.child_seconds: list[float] = []
        self.events = events

    def inside(self, redact: Sequence[str] = ()) -> RequestRecord:
        """Return the record for a pipeline in this process that this one calls.

        The time of its calls is part of the call that is already counted.

        Args:
            redact: Names of values that it does not log.
        """
        events = self.events
        return RequestRecord(events.inside(redact) if events is not None and redact else events)


class CallRecord:
    """One call to a child, which begins now.

    Args:
        record: The request.
        event: The log of the call; None if it is not logged.
        span: Its span; None if it is not traced.
    """

    __slots__ = ("_began", "_event", "_record", "span")

    def __init__(
        self, record: RequestRecord, event: ChildEvent | None, span: CallSpan | None = None
    ) -> None:
        self._record = record
        self._event = event
        self.span = span
        self._began = time.perf_counter()

    def ended(self, answer: Any, error: BaseException | None = None) -> None:
        """Note the end of the call, with its answer or its error."""
        seconds = time.perf_counter() - self._began
        self._record.child_seconds.append(seconds)
        if self._event is not None:
            self._event.ended(answer, error, seconds)
        if self.span is not None:
            self.span.ended(error)
