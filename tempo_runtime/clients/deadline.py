"""The time a call to a child has."""

from __future__ import annotations

import time

from tempo_runtime.clients.failures import ChildAddress
from tempo_runtime.errors import ChildUnavailable, DeadlineExceeded, TempoError
from tempo_runtime.request.context import RequestContext

# A call ends a little before its request does: whoever waits is told which child was late.
_MARGIN = 0.1  # seconds
_MARGIN_RATIO = 0.1


class CallDeadline:
    """Ends with a call's own limit or with its request's deadline, whichever comes first.

    Args:
        current: The request it is for.
        timeout: Seconds the call may take; None for as long as the request.

    Attributes:
        ends_request: Whether it is the request's deadline that comes first.
    """

    def __init__(self, current: RequestContext, timeout: float | None) -> None:
        remaining = current.remaining()
        if remaining is not None:
            remaining -= min(_MARGIN, _MARGIN_RATIO * remaining)
        self.ends_request = timeout is None or (remaining is not None and remaining < timeout)
        seconds = remaining if self.ends_request else timeout
        self._current = current
        self._timeout = timeout
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds until it ends, 0 once it has; None for never."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def ended(self, place: ChildAddress) -> TempoError:
        """Return the error of a call that was not answered in time."""
        if self.ends_request:
            error = DeadlineExceeded(
                f"{place} had not answered when the time was up: {self._current.exceeded()}"
            )
            error.path = (place.model,)
            return error
        return ChildUnavailable(
            f"{place} gave no answer within {self._timeout:g} s, the child's `timeout`",
            model=place.model,
            url=place.url,
        )
