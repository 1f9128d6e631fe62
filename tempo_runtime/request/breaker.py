"""A circuit breaker: while a server is down, only one call at a time probes whether it is back."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from enum import Enum

_THRESHOLD = 3
_FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0  # seconds


class State(Enum):
    """State of a breaker: whether it lets calls through."""

    CLOSED = 0
    HALF_OPEN = 1  # one call, as a probe
    OPEN = 2


class Breaker:
    """A circuit breaker for one server.

    Consecutive failures open it. After a pause it lets one call through, the probe. If the probe
    succeeds, the breaker closes; otherwise a longer pause begins. Each pause is shortened at random, so
    that the breakers of many processes do not probe at the same time.

    Attributes:
        state: Whether the breaker lets calls through.
        failures: Number of consecutive failures.

    Args:
        threshold: Number of consecutive failures that open it.
        clock: Returns seconds since any point in time.
        jitter: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        threshold: int = _THRESHOLD,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._threshold = threshold
        self._clock = clock
        self._jitter = jitter
        self.failures = 0
        self._down_since = 0.0
        self._next_probe = 0.0
        self.state = State.CLOSED

    def admit(self) -> bool:
        """Return whether a call may be made now; if half open, this call is the probe."""
        if self.state is State.CLOSED:
            return True
        if self.state is State.OPEN and self._clock() >= self._next_probe:
            self.state = State.HALF_OPEN
            return True
        return False

    def down_for(self) -> float:
        """Return the seconds since the first of the consecutive failures; 0 without failures."""
        return self._clock() - self._down_since if self.failures else 0.0

    def until_probe(self) -> float:
        """Return the seconds until the next probe may be made; infinite while a probe is under way."""
        return max(0.0, self._next_probe - self._clock()) if self.state is State.OPEN else math.inf

    def succeeded(self) -> None:
        """Record that a call was answered."""
        self.failures = 0
        self.state = State.CLOSED

    def failed(self) -> None:
        """Record that a call failed because the server is down."""
        if self.state is State.OPEN:
            return  # the call began before the breaker opened, and tells nothing new
        if not self.failures:
            self._down_since = self._clock()
        self.failures += 1
        if self.state is State.HALF_OPEN or self.failures >= self._threshold:
            self.state = State.OPEN
            pauses = self.failures - self._threshold
            pause = min(LONGEST_PAUSE, _FIRST_PAUSE * 2 ** max(0, min(pauses, 16)))
            self._next_probe = self._clock() + pause * (1 - self._jitter() / 2)

    def abandoned(self) -> None:
        """Record that the probe ended without an answer, for a reason other than the server."""
        if self.state is State.HALF_OPEN:
            self.state = State.OPEN
