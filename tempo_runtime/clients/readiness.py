"""Ask the servers of a child whether they have its model, for people who look at the pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tempo_runtime.clients.failures import Failure, FailureKind
from tempo_runtime.clients.pool import RemoteEndpoint
from tempo_runtime.request.timing import Elapsed, within

_TIMEOUT = 1.0  # seconds
_AWAY = (FailureKind.UNAVAILABLE, FailureKind.CONNECTION_LOST, FailureKind.TIMED_OUT)


@dataclass(frozen=True)
class Readiness:
    """Whether a child can be called.

    Attributes:
        ready: True if a server has the model, False if none can be reached, None if that is not known: a
            gateway may refuse the question and still pass on calls.
        problem: Why no server can be reached.
    """

    ready: bool | None = None
    problem: str | None = None


async def ask(servers: Sequence[RemoteEndpoint], headers: Mapping[str, str]) -> Readiness:
    """Ask each server for the model's metadata; must run on the loop of the connections.

    Args:
        servers: The child's servers.
        headers: Headers to send.
    """
    found = await asyncio.gather(*(_ask(server, headers) for server in servers))
    for ready in (True, None):
        if any(one.ready is ready for one in found):
            return Readiness(ready)
    return found[0]


async def _ask(server: RemoteEndpoint, headers: Mapping[str, str]) -> Readiness:
    try:
        await within(_TIMEOUT, server.metadata(_TIMEOUT, headers))
    except Failure as failure:
        if failure.kind in _AWAY:
            return Readiness(False, str(failure.error))
        return Readiness()
    except Elapsed:
        return Readiness(False, f"{server.place} did not answer within {_TIMEOUT:g} s")
    return Readiness(True)
