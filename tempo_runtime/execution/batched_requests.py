"""Put requests of different clients to a pipeline together, in front of its predict method."""

from __future__ import annotations

import time
from typing import Any

from tempo_runtime.clients.batching import BatchingTransport
from tempo_runtime.clients.failures import ChildAddress
from tempo_runtime.errors import DeadlineExceeded, SettingsError
from tempo_runtime.execution.in_process import PipelineTransport
from tempo_runtime.execution.runner import Runner
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.sizes import DecodingLimits, convert, is_large
from tempo_runtime.request import context
from tempo_runtime.request.context import RequestContext
from tempo_runtime.request.metrics import BatchMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.settings import Batching


class BatchedRequests:
    """Runs the requests of one loaded pipeline; those that wait become one call of its predict method.

    The arguments of a request are encoded as for a child in the same process, so that requests that came
    in different forms go together as well.

    Args:
        runner: The runner of the pipeline.
        portal: The loop of the server.
        options: How many rows go together, and how long a request waits for others.
        decoding: Limits for decoding.
        turns: Number of calls of the predict method at the same time.

    Raises:
        SettingsError: If the pipeline has an explainer.
    """

    def __init__(
        self,
        runner: Runner,
        portal: Portal,
        options: Batching,
        decoding: DecodingLimits,
        turns: int = 1,
    ) -> None:
        details = runner.pipeline.details
        if runner.explains:
            raise SettingsError(
                f"pipeline {details.name!r} has an explainer, whose random numbers belong to one "
                "request; remove its `batching`"
            )
        self._runner = runner
        self._signature = runner.pipeline.signature
        self._decoding = decoding
        self.transport = BatchingTransport(
            PipelineTransport(runner, decoding, run=runner.run_admitted),
            portal,
            options,
            ChildAddress(details.name, "this server", role="pipeline"),
            BatchMetrics(details.name),
            signature=self._signature,
            turns=turns,
            shares_budget=True,
            clock=_RequestDeadline,
        )

    async def run(self, arguments: dict[str, Any]) -> Any:
        """Answer one request; see `Runner.run`."""
        with self._runner.admitted():
            request = await convert(is_large(arguments), self._request, arguments)
            response = await self.transport.infer(request)
            return await convert(is_large(response.tensors), self._value, response)

    def _request(self, arguments: dict[str, Any]) -> Request:
        tensors = encode_arguments(self._signature, (), arguments, tagged=True)
        return Request(tensors, id=context.current().id)

    def _value(self, response: Response) -> Any:
        return decode_results(
            self._signature, response.tensors, response.content_type, limits=self._decoding
        )


class _RequestDeadline:
    """The deadline of a request, until which it may wait."""

    def __init__(self, current: RequestContext) -> None:
        self._current = current

    def left(self) -> float | None:
        """See `Clock.left`."""
        end = self._current.deadline
        return None if end is None else max(0.0, end - time.monotonic())

    def ended(self, place: ChildAddress) -> DeadlineExceeded:
        """See `Clock.ended`."""
        return self._current.exceeded()
