"""Stops calls to a server that is down, but for one at a time that finds out whether it is back."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from enum import Enum

_THRESHOLD = 3
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


class State(Enum):
    """Whether calls go through."""

    CLOSED = 0
    HALF_OPEN = 1  # one does, as a probe
    OPEN = 2


class Breaker:
    """A circuit breaker for one server.

    Failures in a row open it. After a pause it lets one call through, the probe; that closes it, or
    begins another, longer pause. A pause is shortened at random, so that the breakers of many
    processes do not probe together.

    Attributes:
        state: Whether calls go through.
        failures: Failures in a row.

    Args:
        threshold: Failures in a row that open it.
        clock: Seconds, from any start.
        jitter: A number from 0 to 1.
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
        """Return whether a call may be made now; while half open, the caller is the probe."""
        if self.state is State.CLOSED:
            return True
        if self.state is State.OPEN and self._clock() >= self._next_probe:
            self.state = State.HALF_OPEN
            return True
        return False

    def down_for(self) -> float:
        """Seconds since the first of the failures in a row; 0 where the last call succeeded."""
        return self._clock() - self._down_since if self.failures else 0.0

    def until_probe(self) -> float:
        """Seconds until the next probe may be made; infinite while one is."""
        return max(0.0, self._next_probe - self._clock()) if self.state is State.OPEN else math.inf

    def succeeded(self) -> None:
        """Note that a call was answered."""
        self.failures = 0
        self.state = State.CLOSED

    def failed(self) -> None:
        """Note that a call found the server down."""
        if self.state is State.OPEN:
            return  # a call that was made before: it says nothing new
        if not self.failures:
            self._down_since = self._clock()
        self.failures += 1
        if self.state is State.HALF_OPEN or self.failures >= self._threshold:
            self.state = State.OPEN
            pauses = self.failures - self._threshold
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** max(0, min(pauses, 16)))
            self._next_probe = self._clock() + pause * (1 - self._jitter() / 2)

    def abandoned(self) -> None:
        """Note that the probe ended without an answer, and not by the server's fault."""
        if self.state is State.HALF_OPEN:
            self.state = State.OPEN
