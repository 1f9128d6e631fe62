"""The servers of one child: they take turns, and one that is down is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from tempo_runtime.clients.breaker import Breaker, State
from tempo_runtime.clients.deadline import CallDeadline
from tempo_runtime.clients.failures import ChildAddress, Failure, FailureKind
from tempo_runtime.errors import ChildUnavailable, TempoError
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.request.timing import Elapsed, within


class Endpoint(Protocol):
    """One server of a child, over one transport."""

    place: ChildAddress

    async def call(
        self, request: Request, seconds: float | None, headers: Mapping[str, str], *, fresh: bool
    ) -> Response:
        """Call it once.

        Args:
            request: What to ask.
            seconds: Time there is; None for no end.
            headers: Headers to send.
            fresh: Whether to make a connection for it: one that was kept has just broken.

        Raises:
            Failure: If it gives no usable answer.
            Elapsed: If it gives none within so many seconds.
        """
        ...

    async def metadata(self, seconds: float | None, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return what the server says of the child, as V2's JSON has it; raises as `call` does."""
        ...

    def stream(
        self, request: Request, headers: Mapping[str, str]
    ) -> AsyncGenerator[Response, None]:
        """Call it once, for all it has to say until its answer; raise as `call` does."""
        ...

    async def close(self) -> None:
        """Free what it holds."""
        ...


class PooledServer:
    """One of them, and whether it is up."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.breaker = Breaker()
        self.failed_with: TempoError | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls to it would be turned away."""
        return self.breaker.state is not State.CLOSED


class ServerPool:
    """All of them. Used on one event loop.

    Args:
        endpoints: One at least.
        patience: Seconds to wait for a server that is down, from when it went down.
        watch: Told a server's URL and the state of its breaker, when that changes.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], patience: float, watch: Callable[[str, int], None]
    ) -> None:
        self._all = [PooledServer(endpoint) for endpoint in endpoints]
        self._patience = patience
        self._watch = watch
        self._turn = 0
        self._news = asyncio.Event()  # set, and replaced, when a breaker changes

    @property
    def first(self) -> ChildAddress:
        """Where one of them is."""
        return self._all[0].endpoint.place

    async def next(self, clock: CallDeadline) -> PooledServer:
        """Return the next that may be called, as soon as there is one.

        Raises:
            ChildUnavailable: If all are down, for longer than the patience or the time that is left.
        """
        while True:
            for _ in self._all:
                server = self._all[self._turn]
                self._turn = (self._turn + 1) % len(self._all)
                if self._admits(server):
                    return server
            waits = [self._patience - self.down_for()]
            if (left := clock.left()) is not None:
                waits.append(left)
            if min(waits) <= 0:
                raise self._down()
            # While one is being probed there is no such time; there will be news of it.
            waits += (server.breaker.until_probe() for server in self._all)
            with suppress(Elapsed):
                await within(min(waits), self._news.wait())

    def down_for(self) -> float:
        """Seconds since the last of them went down; 0 while one is up."""
        return min(server.breaker.down_for() for server in self._all)

    def another_is_up(self) -> bool:
        """Return whether a call that failed may go to another at once."""
        return len(self._all) > 1 and any(not server.is_open for server in self._all)

    def answered(self, server: PooledServer) -> None:
        """Note that a call to it was answered."""
        if server.breaker.failures:
            before = server.breaker.state
            server.breaker.succeeded()
            self._changed(server, before)

    def failed(self, server: PooledServer, failure: Failure) -> None:
        """Note that a call to it failed."""
        if failure.kind not in (
            FailureKind.UNAVAILABLE,
            FailureKind.CONNECTION_LOST,
            FailureKind.TIMED_OUT,
        ):
            self.answered(server)  # it is up, and does not like what it is asked
            return
        before = server.breaker.state
        server.failed_with = failure.error
        server.breaker.failed()
        self._changed(server, before)

    def abandoned(self, server: PooledServer) -> None:
        """Note that a call to it ended without an outcome."""
        before = server.breaker.state
        server.breaker.abandoned()
        self._changed(server, before)

    async def close(self) -> None:
        """Close them."""
        for server in self._all:
            await server.endpoint.close()

    def _admits(self, server: PooledServer) -> bool:
        before = server.breaker.state
        admitted = server.breaker.admit()
        self._changed(server, before)
        return admitted

    def _changed(self, server: PooledServer, before: State) -> None:
        state = server.breaker.state
        if state is not before:
            self._watch(server.endpoint.place.url, state.value)
            self._news.set()
            self._news = asyncio.Event()

    def _down(self) -> TempoError:
        server = self._all[self._turn]
        place, seconds = server.endpoint.place, server.breaker.down_for()
        return ChildUnavailable(
            f"{server.failed_with} It has been down for {seconds:.1f} s, and is tried again soon.",
            model=place.model,
            url=place.url,
        )
