"""Events that wait for the sink: bounded by their number and by their size, and all of them counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock

from tempo_runtime.insights.events import Event
from tempo_runtime.request.metrics import InsightsMetrics

OVERHEAD = 500  # bytes of an event besides its values
QUEUE_FULL = "queue_full"
SHUTDOWN = "shutdown"


class EventQueue:
    """The events of one pipeline; any thread puts them, and the sender takes them.

    Args:
        max_events: Largest number of events, with those that are being sent.
        max_bytes: Largest size of these events.
        metrics: Counts the events.

    Attributes:
        events: Number of events, with those that are being sent.
        bytes: Their size.
        dropped: Number of events that were dropped so far.
    """

    def __init__(self, max_events: int, max_bytes: int, metrics: InsightsMetrics) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._waiting: deque[Event] = deque()
        # Held for a few additions only. Without it, additions of several threads could be lost.
        self._lock = Lock()
        self._is_closed = False
        self.events = 0
        self.bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, event: Event) -> bool:
        """Add an event; return whether there was room."""
        size = event.size + OVERHEAD
        with self._lock:
            fits = (
                not self._is_closed
                and self.events < self._max_events
                and self.bytes + size <= self._max_bytes
            )
            if fits:
                self.events += 1
                self.bytes += size
                self._waiting.append(event)
        if not fits:
            self.drop(SHUTDOWN if self._is_closed else QUEUE_FULL)
        return fits

    def take(self, max_events: int, max_bytes: int) -> list[Event]:
        """Remove the first events, which still count until they are `sent` or `lost`.

        Args:
            max_events: Largest number of events.
            max_bytes: Size of their values after which no further event is taken.
        """
        taken: list[Event] = []
        size = 0
        while self._waiting and len(taken) < max_events and size < max_bytes:
            taken.append(self._waiting.popleft())
            size += taken[-1].size
        return taken

    def sent(self, events: Sequence[Event]) -> None:
        """Count events that the sink has."""
        self._metrics.sent(len(events))
        self._remove(events)

    def lost(self, events: Sequence[Event], reason: str) -> None:
        """Count events that the sink will not get."""
        self.drop(reason, len(events))
        self._remove(events)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count events that are not in the queue."""
        with self._lock:
            self.dropped += count
        self._metrics.dropped(reason, count)

    def close(self) -> None:
        """Take no further events."""
        with self._lock:
            self._is_closed = True

    def measure(self) -> None:
        """Set the metrics of what waits."""
        self._metrics.waiting(self.events, self.bytes)

    def _remove(self, events: Sequence[Event]) -> None:
        size = sum(event.size + OVERHEAD for event in events)
        with self._lock:
            self.events -= len(events)
            self.bytes -= size
        self.measure()
