"""Decide whether a failed call is made again, and when."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tempo_runtime.clients.failures import FailureKind

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


@dataclass(frozen=True)
class Policy:
    """A child's settings for retries.

    Attributes:
        retries: Further attempts, if the child may have worked on the first.
        unavailable_timeout: Seconds to wait for a child that is down, counted from when it went down.
    """

    retries: int = 2
    unavailable_timeout: float = 10.0


def pause_before_retry(
    policy: Policy,
    kind: FailureKind,
    *,
    repeated: int,
    down_for: float,
    left: float | None,
    retry_after: float | None = None,
    jitter: Callable[[], float] = random.random,
) -> float | None:
    """Return the seconds to wait before a failed call is made again; None to give up.

    A call is made again only if that can help, and never after the deadline. If no server took the
    request, only time limits the attempts. If the child may have worked on it, their number is limited,
    so that a request that kills its child kills only a few. Pauses double, and are shortened at random by
    up to a half, so that callers that failed together do not return together. There is always a pause: a
    server that is just ending would break the next connection as well, and one restart would cost two
    retries.

    Args:
        policy: The child's settings for retries.
        kind: Kind of the failure.
        repeated: Number of retries of this call so far.
        down_for: Seconds since the child went down.
        left: Seconds until the call's deadline; None for no deadline.
        retry_after: Seconds that the child asked to wait.
        jitter: Returns a random number from 0 to 1.
    """
    if kind in (FailureKind.PERMANENT, FailureKind.TIMED_OUT):
        return None
    if kind is FailureKind.UNAVAILABLE and down_for >= policy.unavailable_timeout:
        return None
    if kind is not FailureKind.UNAVAILABLE and repeated >= policy.retries:
        return None
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(repeated, 16)) * (1 - jitter() / 2)
    pause = max(pause, retry_after or 0.0)
    return None if left is not None and pause >= left else pause


class RetryBudget:
    """Limits retries to a fraction of the calls, so that they do not overload a child in trouble.

    Each call earns a fraction of a retry. Unspent retries are kept, up to a limit. Below the reserve, one
    retry is added each second, for pipelines that are rarely called.

    Args:
        ratio: Retries that a call earns.
        reserve: Retries to begin with.
        most: Largest number of retries to keep.
        clock: Returns seconds since any point in time.
    """

    def __init__(
        self,
        ratio: float = 0.2,
        reserve: float = 10.0,
        most: float = 100.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._most = most
        self._clock = clock
        self._balance = reserve
        self._filled = clock()

    def earn(self) -> None:
        """Record a call."""
        self._balance = min(self._most, self._balance + self._ratio)

    def spend(self) -> bool:
        """Take one retry, and return whether there was one."""
        now = self._clock()
        if self._balance < self._reserve:
            self._balance = min(self._reserve, self._balance + now - self._filled)
        self._filled = now
        if self._balance < 1:
            return False
        self._balance -= 1
        return True
