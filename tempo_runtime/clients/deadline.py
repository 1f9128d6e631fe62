"""The deadline of a call to a child."""

from __future__ import annotations

import time

from tempo_runtime.clients.failures import ChildAddress
from tempo_runtime.errors import ChildUnavailable, DeadlineExceeded, TempoError
from tempo_runtime.request.context import RequestContext

# A call ends a little before its request, so that the answer can name the child that was late.
_MARGIN = 0.1  # seconds
_MARGIN_RATIO = 0.1


class CallDeadline:
    """Deadline of one call: its own timeout or the request's deadline, whichever comes first.

    Args:
        current: The request that makes the call.
        timeout: Seconds that the call may take; None for as long as the request.

    Attributes:
        ends_request: Whether the request's deadline comes first.
    """

    def __init__(self, current: RequestContext, timeout: float | None) -> None:
        remaining = current.remaining()
        if remaining is not None:
            remaining -= min(_MARGIN, _MARGIN_RATIO * remaining)
        allowed = None if timeout is None else max(0.0, timeout - current.waited)
        self.ends_request = allowed is None or (remaining is not None and remaining < allowed)
        seconds = remaining if self.ends_request else allowed
        self._current = current
        self._timeout = timeout
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Return the seconds that are left, at least 0; None for no deadline."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def ended(self, place: ChildAddress) -> TempoError:
        """Return the error of a call that was not answered in time."""
        if self.ends_request:
            error = DeadlineExceeded(f"{place} did not answer in time: {self._current.exceeded()}")
            error.path = (place.model,)
            return error
        return ChildUnavailable(
            f"{place} did not answer within {self._timeout:g} s, its `timeout`",
            model=place.model,
            url=place.url,
        )
