"""The servers of one child, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import itertools

from tempo_runtime.clients.deadline import CallDeadline
from tempo_runtime.clients.failures import ChildAddress, Failure, FailureKind
from tempo_runtime.clients.pool import ServerPool
from tempo_runtime.errors import TempoError
from tempo_runtime.request import context
from tempo_runtime.request.breaker import Breaker


class Endpoint:
    place = ChildAddress("iris", "http://iris")


async def test_a_probe_that_becomes_possible_while_it_is_looked_for_is_made() -> None:
    servers = ServerPool([Endpoint()], unavailable_timeout=1e9, watch=lambda url, state: None)  # type: ignore[list-item]
    [server] = servers._all
    # Each look at the clock is a little later than the last; the pause ends between two of them.
    for ahead in range(20):
        ticks = itertools.count(-ahead)
        server.breaker = Breaker(threshold=1, clock=lambda: next(ticks) / 100, jitter=lambda: 0)  # noqa: B023
        servers.failed(server, Failure(FailureKind.UNAVAILABLE, TempoError("down")))
        found = servers.next(CallDeadline(context.current(), None))
        assert await asyncio.wait_for(found, timeout=10) is server
