"""A child on a server: how often it is called, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from tempo_runtime.clients.deadline import CallDeadline
from tempo_runtime.clients.failures import Failure, FailureKind
from tempo_runtime.clients.pool import Endpoint, PooledServer, ServerPool
from tempo_runtime.clients.retry import Policy, RetryBudget, pause_before_retry
from tempo_runtime.errors import ChildUnavailable
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.request import context
from tempo_runtime.request.metrics import ChildMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.request.timing import Elapsed, within


@dataclass(frozen=True)
class Limits:
    """What one call may do.

    Attributes:
        policy: When it is made again.
        timeout: Seconds it may take, all attempts together.
        max_concurrency: Calls at once; more wait.
        headers: Headers of its own.
        forwards_deadline: Whether the child is a pipeline of ours, which is told the time left and the
            seed, and reads tagged JSON.
    """

    policy: Policy = field(default_factory=Policy)
    timeout: float | None = None
    max_concurrency: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    forwards_deadline: bool = False


class RemoteTransport:
    """Calls a child on one of its servers, again where that can help, within the time there is.

    Args:
        endpoints: Its servers.
        portal: The loop they live on; everything runs there.
        limits: What one call may do.
        metrics: Where retries and breakers are counted.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], portal: Portal, limits: Limits, metrics: ChildMetrics
    ) -> None:
        self.tagged = limits.forwards_deadline
        self._portal = portal
        self._limits = limits
        self._metrics = metrics
        self._servers = ServerPool(endpoints, limits.policy.patience, metrics.breaker_is)
        self._budget = RetryBudget()
        count = limits.max_concurrency
        self._slots = None if count is None else asyncio.Semaphore(count)

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        return await self._portal.arun(self._infer(request, context.current()))

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        return self._portal.run(self._infer(request, context.current()))

    async def close(self) -> None:
        """Close its connections."""
        await self._portal.arun(self._servers.close())

    # The context is passed by hand: a coroutine that crosses to another loop may lose its own.
    async def _infer(self, request: Request, current: context.RequestContext) -> Response:
        clock = CallDeadline(current, self._limits.timeout)
        headers = {**current.headers, **self._limits.headers}
        if self._slots is None:
            return await self._attempts(request, current, clock, headers)
        async with self._slot(self._slots, clock):
            return await self._attempts(request, current, clock, headers)

    @asynccontextmanager
    async def _slot(self, slots: asyncio.Semaphore, clock: CallDeadline) -> AsyncIterator[None]:
        try:
            await within(clock.left(), slots.acquire())
        except Elapsed:
            place, count = self._servers.first, self._limits.max_concurrency
            raise ChildUnavailable(
                f"{place} was not called: {count} calls were at work all the time, its "
                "`max_concurrency`",
                model=place.model,
                url=place.url,
            ) from None
        try:
            yield
        finally:
            slots.release()

    async def _attempts(
        self,
        request: Request,
        current: context.RequestContext,
        clock: CallDeadline,
        headers: Mapping[str, str],
    ) -> Response:
        self._budget.earn()
        repeated = {FailureKind.UNAVAILABLE: 0, FailureKind.CONNECTION_LOST: 0}
        while True:
            server = await self._servers.next(clock)
            left = clock.left()
            asked = request
            if self._limits.forwards_deadline:
                asked = replace(request, parameters=current.passed_on(request.parameters, left))
            try:
                fresh = repeated[FailureKind.CONNECTION_LOST] > 0
                response = await server.endpoint.call(asked, left, headers, fresh=fresh)
            except Failure as failure:
                self._servers.failed(server, failure)
                pause = self._pause(server, failure, repeated, clock)
                if pause is None:
                    raise failure.error from failure.__cause__
            except Elapsed:
                place = server.endpoint.place
                error = clock.ended(place)
                if clock.ends_request:
                    self._servers.abandoned(server)
                else:
                    self._servers.failed(server, Failure(FailureKind.TIMED_OUT, error))
                raise error from None
            except BaseException:
                self._servers.abandoned(server)
                raise
            else:
                self._servers.answered(server)
                response.url = server.endpoint.place.url
                return response
            self._metrics.retried()
            if pause:
                await asyncio.sleep(pause)

    def _pause(
        self,
        server: PooledServer,
        failure: Failure,
        repeated: dict[FailureKind, int],
        clock: CallDeadline,
    ) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        counted = (
            FailureKind.UNAVAILABLE
            if failure.kind is FailureKind.UNAVAILABLE
            else FailureKind.CONNECTION_LOST
        )
        pause = pause_before_retry(
            self._limits.policy,
            failure.kind,
            repeated=repeated[counted],
            down_for=self._servers.down_for(),
            left=clock.left(),
            retry_after=failure.retry_after,
        )
        repeated[counted] += 1
        if pause is None:
            return None
        # A retry that waits until its server is known to be back gives nobody more to do.
        if (
            counted is FailureKind.CONNECTION_LOST
            and not server.is_open
            and not self._budget.spend()
        ):
            return None
        return 0.0 if self._servers.another_is_up() else pause
