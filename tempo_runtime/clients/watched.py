"""Call a pipeline of this package as a stream, to be told how far its explainer has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from tempo_runtime.clients.deadline import CallDeadline
from tempo_runtime.clients.model_client import ModelClient
from tempo_runtime.errors import ChildUnavailable, PayloadError
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.request import context
from tempo_runtime.request.timing import Elapsed, within

OnProgress = Callable[[int, int, Mapping[str, Any]], None]
"""Called with the calls to children so far, the rows sent with them, and further facts."""

_KNOWN = ("progress", "calls", "rows")


async def infer(
    client: ModelClient,
    request: Request,
    current: context.RequestContext,
    on_progress: OnProgress,
) -> Response:
    """Return the answer to a request.

    A server that is down is called again as any model is, in a plain call.

    Args:
        client: The client of the pipeline; this runs on its loop.
        request: The request.
        current: The request's context.
        on_progress: Called with each message about the progress.

    Raises:
        ChildError: If the pipeline does not give a usable answer.
        DeadlineExceeded: If the request has no time left.
    """
    clock = CallDeadline(current, client.call_timeout)
    left = clock.left()
    try:
        response = await within(left, _last(client, request, current, left, on_progress))
    except Elapsed:
        raise clock.ended(client.endpoint.place) from None
    return await client.transport.infer(request) if response is None else response


async def _last(
    client: ModelClient,
    request: Request,
    current: context.RequestContext,
    left: float | None,
    on_progress: OnProgress,
) -> Response | None:
    """Return the last message of the stream; None if the server could not be reached."""
    last, arrived = None, False
    try:
        async with aclosing(client.stream(request, current, left)) as responses:
            async for response in responses:
                arrived = True
                if response.parameters.get("progress") is True:
                    on_progress(*_progress(response.parameters))
                else:
                    last = response
    except ChildUnavailable as error:
        if arrived or len(error.path) > 1:  # the pipeline's own child may be down
            raise
        return None
    if last is None:
        raise client.endpoint.place.unusable(PayloadError("its stream ended without an answer"))
    return last


def _progress(parameters: Mapping[str, Any]) -> tuple[int, int, Mapping[str, Any]]:
    """Return the progress in a message; over gRPC anything but a number is JSON text."""
    known = {
        name: orjson.loads(value) if isinstance(value, str) else value
        for name, value in parameters.items()
    }
    news = {name: value for name, value in known.items() if name not in _KNOWN}
    return known.get("calls", 0), known.get("rows", 0), news
