"""Whether a failed call is made again, and when."""

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
    """What a child's settings allow.

    Attributes:
        retries: Further attempts, where the child may have worked on the first.
        patience: Seconds to wait for a child that is down, from when it went down.
    """

    retries: int = 2
    patience: float = 10.0


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
    """Seconds to wait before a failed call is made again; None if it is not.

    Only what a retry can help is tried again, and none that would begin after the deadline. Where
    nothing took the request, time alone is the limit; where the child may have worked on it, the
    number of retries is, so that a request that kills its child kills few. A pause doubles each time, and
    is shortened at random by up to a half, so that callers who failed together come back apart. There is
    always one: a connection made at once to a server that is just ending breaks as well, and one restart
    would cost two retries.

    Args:
        policy: What the settings allow.
        kind: How the call failed.
        repeated: Retries of this call so far.
        down_for: Seconds since its server was first found down.
        left: Seconds until the call's deadline; None for no deadline.
        retry_after: Seconds the child asked to wait.
        jitter: A number from 0 to 1.
    """
    if kind in (FailureKind.PERMANENT, FailureKind.TIMED_OUT):
        return None
    if kind is FailureKind.UNAVAILABLE and down_for >= policy.patience:
        return None
    if kind is not FailureKind.UNAVAILABLE and repeated >= policy.retries:
        return None
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(repeated, 16)) * (1 - jitter() / 2)
    pause = max(pause, retry_after or 0.0)
    return None if left is not None and pause >= left else pause


class RetryBudget:
    """Keeps retries a fraction of calls, so that a child in trouble is not given more to do.

    Each call earns a fraction of a retry; what is not spent is kept, up to a limit. Below the reserve
    time earns, too, one retry a second, for a pipeline that is called now and then.

    Args:
        ratio: Retries that a call earns.
        reserve: Retries to begin with.
        most: Retries that can be kept.
        clock: Seconds, from any start.
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
        """Note a call."""
        self._balance = min(self._most, self._balance + self._ratio)

    def spend(self) -> bool:
        """Take one retry, if there is one."""
        now = self._clock()
        if self._balance < self._reserve:
            self._balance = min(self._reserve, self._balance + now - self._filled)
        self._filled = now
        if self._balance < 1:
            return False
        self._balance -= 1
        return True
