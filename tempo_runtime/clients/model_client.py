"""A client of one model on one server, for the command line and `RemoteModel`."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from tempo_runtime.clients.connect import endpoints, limits
from tempo_runtime.clients.failures import Failure
from tempo_runtime.clients.remote import RemoteTransport
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.request import context, tracing
from tempo_runtime.request.metrics import ChildMetrics
from tempo_runtime.request.portal import Portal, background
from tempo_runtime.request.timing import Elapsed
from tempo_runtime.settings import ChildSettings, PipelineSettings

_URL = re.compile(
    r"(?P<server>(?:https?|grpcs?)://[^/?#]+(?:/[^?#]*?)??)/(?:v2/models/)?(?P<name>[^/?#]+)"
    r"(?:/versions/(?P<version>[^/?#]+))?(?:/infer)?/?"
)


class ModelUrl(NamedTuple):
    """The parts of a model's URL.

    Attributes:
        server: URL of its server.
        name: Name of the model.
        version: Its version; None for the one that the server chooses.
    """

    server: str
    name: str
    version: str | None

    @classmethod
    def of(cls, url: str) -> ModelUrl:
        """Parse `http://HOST:PORT/v2/models/NAME` or `grpc://HOST:PORT/NAME`.

        Raises:
            PayloadError: If it names no model.
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise PayloadError(
                "the target's URL names no model; write http://HOST:PORT/v2/models/NAME, or "
                "grpc://HOST:PORT/NAME"
            )
        return cls(match["server"], match["name"], match["version"])

    @classmethod
    def names_a_model(cls, url: str) -> bool:
        """Return whether a URL has the name of a model in it."""
        return _URL.fullmatch(url) is not None


class ModelClient:
    """A client of one model that is not the child of a pipeline.

    Settings that are not in `given` come from the environment's settings for all children.

    Args:
        name: Name that the server knows the model by.
        given: `url` of the server, and any other settings of a child.
        forwards_deadline: Whether the model is a pipeline of this package; see `Limits`.
        is_triton: Whether the server is Triton.

    Attributes:
        endpoint: The model's server.
        portal: The loop that its connections live on.
        transport: Transport that calls the model as if it were a child.
        metrics: Metrics of the calls.
        decoding: Limits for decoding answers.
        timeout: Seconds that a request may take, as set in the environment.
        call_timeout: Seconds that a call may take; None for as long as its request.

    Raises:
        pydantic.ValidationError: If `given` is invalid.
        SettingsError: If the environment's settings are invalid, or a file named there cannot be used.
    """

    def __init__(
        self,
        name: str,
        given: Mapping[str, Any],
        *,
        forwards_deadline: bool = False,
        is_triton: bool = False,
    ) -> None:
        shared = PipelineSettings.read()
        models = {name: ChildSettings.model_validate(given)}
        alone = {"models": models, "base_url": None, "transport": None}
        self.decoding, self.timeout = shared.decoding, shared.timeout
        self.portal: Portal = background()
        self._name = name
        self._settings = shared.model_copy(update=alone).child(name)
        [self.endpoint] = endpoints(self._settings, name, self.portal, is_triton=is_triton)
        self.endpoint.place = replace(self.endpoint.place, role="model")
        self.connect(forwards_deadline=forwards_deadline)

    @classmethod
    def at(cls, url: ModelUrl, headers: Mapping[str, str]) -> ModelClient:
        """Return a client of the model at a URL, which does not wait for a server that is down.

        Raises:
            PayloadError: If the URL cannot be used.
        """
        given = {"url": url.server, "version": url.version, "headers": dict(headers)}
        try:
            return cls(url.name, {**given, "unavailable_timeout": 0})
        except ValidationError as error:
            reason = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise PayloadError(f"the target cannot be called: {reason}") from error

    def connect(self, *, forwards_deadline: bool) -> None:
        """Replace the transport, once it is known whether the model is a pipeline of this package."""
        allowed = limits(self._settings, forwards_deadline=forwards_deadline)
        self._headers, self.call_timeout = allowed.headers, allowed.timeout
        metrics = self.metrics = ChildMetrics("", self._name)
        self.transport = RemoteTransport([self.endpoint], self.portal, allowed, metrics)

    async def metadata(self, timeout: float) -> dict[str, Any]:
        """Return the model's V2 metadata.

        Args:
            timeout: Seconds that the call may take.

        Raises:
            ChildError: If there is no such server or model, or no answer in time.
        """
        try:
            return await self.endpoint.metadata(timeout, self._headers)
        except Failure as failure:
            raise failure.error from failure.__cause__
        except Elapsed:
            raise self.endpoint.place.silent(f"{timeout:g} s").error from None

    async def stream(
        self, request: Request, current: context.RequestContext, left: float | None
    ) -> AsyncGenerator[Response, None]:
        """Yield each message of a streamed answer.

        Args:
            request: The request.
            current: The request's context, whose parameters are sent as well.
            left: Seconds that the model may take, which it is sent.

        Raises:
            ChildError: If the model does not return a usable answer.
        """
        sent = replace(request, parameters=current.passed_on(request.parameters, left))
        try:
            async with aclosing(self.endpoint.stream(sent, _traced(self._headers))) as responses:
                async for response in responses:
                    yield response
        except Failure as failure:
            raise failure.error from failure.__cause__


def _traced(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers that name the caller's span, if this process traces its calls."""
    if tracing.tracer() is None:
        return headers
    # Imported here, because it imports OpenTelemetry.
    from tempo_runtime.request.spans import with_current_span

    return with_current_span(headers)
