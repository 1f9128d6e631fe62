"""The servers of one child: they take turns, and servers that are down are skipped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from tempo_runtime.clients.deadline import CallDeadline
from tempo_runtime.clients.failures import ChildAddress, Failure, FailureKind
from tempo_runtime.errors import ChildUnavailable, TempoError
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.request.breaker import Breaker, State
from tempo_runtime.request.timing import Elapsed, within


class Endpoint(Protocol):
    """One server of a child, called over one transport."""

    place: ChildAddress

    async def call(
        self, request: Request, seconds: float | None, headers: Mapping[str, str], *, fresh: bool
    ) -> Response:
        """Call the child once.

        Args:
            request: The request.
            seconds: Seconds to wait for the answer; None for no limit.
            headers: Headers to send.
            fresh: Whether to make a new connection, because a pooled one has just broken.

        Raises:
            Failure: If the server does not return a usable answer.
            Elapsed: If it does not answer in time.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class RemoteEndpoint(Endpoint, Protocol):
    """An endpoint that clients other than pipelines use as well."""

    async def metadata(self, seconds: float | None, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the child's V2 metadata as JSON; raise as `call` does."""
        ...

    def stream(
        self, request: Request, headers: Mapping[str, str]
    ) -> AsyncGenerator[Response, None]:
        """Call the child once and yield each message until its answer; raise as `call` does."""
        ...


class PooledServer:
    """A server of the pool, with its circuit breaker."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.breaker = Breaker()
        self.failed_with: TempoError | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls to the server would be rejected."""
        return self.breaker.state is not State.CLOSED


class ServerPool:
    """All servers of a child, for use on one event loop.

    Args:
        endpoints: The servers; at least one.
        unavailable_timeout: Seconds to wait if all servers are down, counted from when they went down.
        watch: Called with a server's URL and the state of its breaker when that changes.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        unavailable_timeout: float,
        watch: Callable[[str, int], None],
    ) -> None:
        self._all = [PooledServer(endpoint) for endpoint in endpoints]
        self._unavailable_timeout = unavailable_timeout
        self._watch = watch
        self._turn = 0
        self._change = asyncio.Event()  # set, and replaced, when a breaker changes

    @property
    def first(self) -> ChildAddress:
        """Address of the first server, for messages about all of them."""
        return self._all[0].endpoint.place

    def up(self) -> PooledServer | None:
        """Return the server whose turn it is if it is up, as in most calls; None for `next` to decide."""
        server = self._all[self._turn]
        if server.is_open:
            return None
        self._turn = (self._turn + 1) % len(self._all)
        return server

    async def next(self, clock: CallDeadline) -> PooledServer:
        """Return the next server that may be called, as soon as there is one.

        Raises:
            ChildUnavailable: If all servers are down, and the wait for them or the call's time is over.
        """
        while True:
            for _ in self._all:
                server = self._all[self._turn]
                self._turn = (self._turn + 1) % len(self._all)
                before = server.breaker.state
                admitted = server.breaker.admit()
                self._changed(server, before)
                if admitted:
                    return server
            waits = [self._unavailable_timeout - self.down_for()]
            if (left := clock.left()) is not None:
                waits.append(left)
            if min(waits) <= 0:
                raise self._down()
            # A server that is being probed does not limit the wait: the result is a change.
            waits += (server.breaker.until_probe() for server in self._all)
            with suppress(Elapsed):
                await within(min(waits), self._change.wait())

    @property
    def breakers(self) -> dict[str, State]:
        """The state of each server's circuit breaker, by the server's URL."""
        return {server.endpoint.place.server: server.breaker.state for server in self._all}

    @property
    def problem(self) -> str | None:
        """Why no server can be called; None if one is up."""
        return str(self._down()) if all(server.is_open for server in self._all) else None

    def down_for(self) -> float:
        """Return for how many seconds all servers have been down; 0 while one is up."""
        return min(server.breaker.down_for() for server in self._all)

    @property
    def is_untroubled(self) -> bool:
        """Whether no server has failed since it last answered."""
        return not any(server.breaker.failures for server in self._all)

    def another_is_up(self) -> bool:
        """Return whether a failed call may go to another server at once."""
        return len(self._all) > 1 and any(not server.is_open for server in self._all)

    def answered(self, server: PooledServer) -> None:
        """Record that a call to a server was answered."""
        if server.breaker.failures:
            before = server.breaker.state
            server.breaker.succeeded()
            self._changed(server, before)

    def failed(self, server: PooledServer, failure: Failure) -> None:
        """Record that a call to a server failed."""
        if failure.kind not in (
            FailureKind.UNAVAILABLE,
            FailureKind.CONNECTION_LOST,
            FailureKind.TIMED_OUT,
        ):
            self.answered(server)  # it is up, although it refused the request
            return
        before = server.breaker.state
        server.failed_with = failure.error
        server.breaker.failed()
        self._changed(server, before)

    def abandoned(self, server: PooledServer) -> None:
        """Record that a call to a server ended without an outcome."""
        before = server.breaker.state
        server.breaker.abandoned()
        self._changed(server, before)

    async def close(self) -> None:
        """Close the connections of all servers."""
        for server in self._all:
            await server.endpoint.close()

    def _changed(self, server: PooledServer, before: State) -> None:
        state = server.breaker.state
        if state is not before:
            self._watch(server.endpoint.place.url, state.value)
            self._change.set()
            self._change = asyncio.Event()

    def _down(self) -> TempoError:
        server = self._all[self._turn]
        place, seconds = server.endpoint.place, server.breaker.down_for()
        return ChildUnavailable(
            f"{server.failed_with} It has been down for {seconds:.1f} s; calls try it again soon.",
            model=place.model,
            url=place.url,
        )
