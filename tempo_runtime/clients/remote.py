"""The transport to a child on servers: limits, attempts and deadlines of its calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tempo_runtime.clients.deadline import CallDeadline
from tempo_runtime.clients.failures import Failure, FailureKind
from tempo_runtime.clients.pool import Endpoint, PooledServer, ServerPool
from tempo_runtime.clients.retry import Policy, RetryBudget, pause_before_retry
from tempo_runtime.errors import ChildUnavailable
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.request import context
from tempo_runtime.request.breaker import State
from tempo_runtime.request.metrics import ChildMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.request.timing import Elapsed, within

if TYPE_CHECKING:
    from tempo_runtime.request.spans import Trace


@dataclass(frozen=True)
class Limits:
    """Limits of the calls to a child.

    Attributes:
        policy: When a failed call is made again.
        timeout: Seconds that a call may take, with all attempts.
        max_concurrency: Largest number of calls at the same time; further calls wait.
        headers: Headers to send with each call.
        forwards_deadline: Whether the child is a pipeline of this package: it receives the time that
            is left and the seed, and reads tagged JSON.
    """

    policy: Policy = field(default_factory=Policy)
    timeout: float | None = None
    max_concurrency: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    forwards_deadline: bool = False


class RemoteTransport:
    """Calls a child on one of its servers, and retries within the deadline where that can help.

    Args:
        endpoints: The child's servers.
        portal: The loop of their connections; everything runs there.
        limits: Limits of the calls.
        metrics: Metrics of retries and breakers.
    """

    connects = True
    """Whether a call goes over a connection, so that each attempt is a span."""

    def __init__(
        self, endpoints: Sequence[Endpoint], portal: Portal, limits: Limits, metrics: ChildMetrics
    ) -> None:
        self.tagged = limits.forwards_deadline
        self._portal = portal
        self._limits = limits
        self._metrics = metrics
        self._servers = ServerPool(endpoints, limits.policy.unavailable_timeout, metrics.breaker_is)
        self._budget = RetryBudget()
        count = limits.max_concurrency
        self._slots = None if count is None else asyncio.Semaphore(count)

    @property
    def breakers(self) -> Mapping[str, State]:
        """See `ServerPool.breakers`."""
        return self._servers.breakers

    @property
    def problem(self) -> str | None:
        """See `ServerPool.problem`."""
        return self._servers.problem

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        return await self._portal.arun(self._infer(request, context.current()))

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        return self._portal.run(self._infer(request, context.current()))

    async def close(self) -> None:
        """Close the connections."""
        await self._portal.arun(self._servers.close())

    # The context is an argument, because a coroutine may lose it on the way to another loop.
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
                f"{place} was not called: it stayed at its limit of concurrent calls "
                f"(`max_concurrency` is {count})",
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
        repeated: dict[FailureKind, int] = {}
        trace = current.trace if self.connects else None
        while True:
            server = self._servers.up() or await self._servers.next(clock)
            left = clock.left()
            sent = request
            if self._limits.forwards_deadline:
                sent = replace(request, parameters=current.passed_on(request.parameters, left))
            try:
                fresh = FailureKind.CONNECTION_LOST in repeated
                if trace is None or not trace.is_recorded:
                    response = await server.endpoint.call(sent, left, headers, fresh=fresh)
                else:
                    number = 1 + sum(repeated.values())
                    response = await _traced(
                        server.endpoint, sent, left, headers, fresh, trace, number
                    )
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
        """Return the seconds until the next attempt; None to give up."""
        counted = (
            FailureKind.UNAVAILABLE
            if failure.kind is FailureKind.UNAVAILABLE
            else FailureKind.CONNECTION_LOST
        )
        pause = pause_before_retry(
            self._limits.policy,
            failure.kind,
            repeated=repeated.get(counted, 0),
            down_for=self._servers.down_for(),
            left=clock.left(),
            retry_after=failure.retry_after,
        )
        repeated[counted] = repeated.get(counted, 0) + 1
        if pause is None:
            return None
        # A retry that waits for the breaker is not extra load, so the budget does not limit it.
        if (
            counted is FailureKind.CONNECTION_LOST
            and not server.is_open
            and not self._budget.spend()
        ):
            return None
        return 0.0 if self._servers.another_is_up() else pause


async def _traced(
    endpoint: Endpoint,
    request: Request,
    seconds: float | None,
    headers: Mapping[str, str],
    fresh: bool,
    trace: Trace,
    number: int,
) -> Response:
    """Make one attempt, with a span that the server's own span belongs to."""
    url = endpoint.place.url
    attempt = trace.attempt(url, number)
    try:
        with attempt.entered():
            response = await endpoint.call(
                request, seconds, {**headers, **attempt.headers}, fresh=fresh
            )
    except Failure as failure:
        if failure.status is not None:
            attempt.answered(url, failure.status)
        attempt.end(failure.error)
        raise
    except Elapsed:
        attempt.end("timeout")
        raise
    except BaseException as error:
        attempt.end(error)
        raise
    attempt.answered(url)
    attempt.end()
    return response
