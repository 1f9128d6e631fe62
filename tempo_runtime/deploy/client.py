"""A deployed pipeline, or model, as the one who deployed it sees it: something to call."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.clients.child import Child
from tempo_runtime.clients.connect import endpoints, limits
from tempo_runtime.clients.failures import Failure
from tempo_runtime.clients.pool import Endpoint
from tempo_runtime.clients.remote import RemoteTransport
from tempo_runtime.deploy.deployment import Deployment, ModelStatus
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.request import context
from tempo_runtime.request.metrics import ChildMetrics
from tempo_runtime.request.portal import Portal, background
from tempo_runtime.settings import ChildSettings, PipelineSettings

_DONE = object()


class RemoteModel:
    """A deployed model. At the end of a `with` block it is undeployed.

    Made by `deploy_local` and `deploy_remote`.

    Args:
        details: The model that people call first.
        deployment: Where it runs.
        changes: See the attribute.

    Attributes:
        details: As given.
        deployment: As given.
        changes: What became of each model: `started`, `replaced` or `unchanged`.
    """

    def __init__(
        self,
        details: ModelDetails,
        deployment: Deployment,
        changes: Mapping[str, str] | None = None,
    ) -> None:
        self.details = details
        self.deployment = deployment
        self.changes = dict(changes or {})
        self._connection: _Connection | None = None

    @property
    def aio(self) -> _Awaited:
        """The same calls, to be awaited."""
        return _Awaited(self)  # made each time: what it is kept in would keep it

    @property
    def endpoint(self) -> str:
        """URL of the model. Calls to it need the headers in `headers`.

        Raises:
            DeploymentFailed: If it was undeployed.
        """
        return self.deployment.endpoint

    @property
    def headers(self) -> dict[str, str]:
        """Headers that every call to `endpoint` needs: a secret, or empty if none are needed.

        Raises:
            DeploymentFailed: If it was undeployed.
        """
        return dict(self.deployment.main().headers)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the model.

        Args:
            args: Its inputs, in order.
            kwargs: Its inputs, by name.

        Returns:
            What its predict method returns.

        Raises:
            PayloadError: If a value cannot travel.
            ChildError: If it gives no usable answer.
            DeploymentFailed: If it was undeployed.
        """
        connection = self._connected()  # kept for the length of the call
        return connection.call(*args, **kwargs)

    __call__ = predict

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Calls the model, and yields each value that its predict method yields.

        The arguments and errors are those of `predict`.
        """
        portal = background()
        connection = self._connected()
        values = connection.stream(*args, **kwargs)
        try:
            while (value := portal.run(_next(values))) is not _DONE:
                yield value
        finally:
            portal.run(values.aclose())

    def logs(self, model: str | None = None) -> str:
        """What its servers have printed; of one model only, if named."""
        found = self.deployment.logs(model)
        if model is not None:
            return found.get(model, "")
        return "\n".join(f"== {name}\n{text}" for name, text in found.items())

    def status(self) -> list[ModelStatus]:
        """How it and the models it calls are; nothing once it was undeployed."""
        return self.deployment.models()

    def undeploy(self) -> None:
        """Ends it, and the models that were deployed with it."""
        try:
            self.deployment.undeploy()
        finally:
            # Last, for calls of other threads that are still being answered.
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def __enter__(self) -> RemoteModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undeploy()

    def __repr__(self) -> str:
        with contextlib.suppress(DeploymentFailed):
            return f"<RemoteModel {self.details.name!r} at {self.endpoint}>"
        return f"<RemoteModel {self.details.name!r}, undeployed>"

    def _connected(self) -> _Connection:
        main = self.deployment.main()
        url = main.grpc if self.deployment.transport == "grpc" else main.url
        connection = self._connection
        if connection is None or connection.where != (url, main.headers):
            # The other is closed with the last call that is made by it.
            connection = self._connection = _Connection(self.details, url, main.headers)
        return connection


class _Awaited:
    """The calls of a `RemoteModel`, to be awaited."""

    def __init__(self, remote: RemoteModel) -> None:
        self._remote = remote

    async def predict(self, *args: Any, **kwargs: Any) -> Any:
        """See `RemoteModel.predict`."""
        connection = self._remote._connected()
        return await connection.awaited(*args, **kwargs)

    __call__ = predict

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """See `RemoteModel.stream`."""
        portal = background()  # whose loop the connection lives on
        connection = self._remote._connected()
        values = connection.stream(*args, **kwargs)
        try:
            while (value := await portal.arun(_next(values))) is not _DONE:
                yield value
        finally:
            await portal.arun(values.aclose())


class _Connection:
    """A client of a deployed model."""

    def __init__(self, details: ModelDetails, url: str, headers: Mapping[str, str]) -> None:
        self.where = (url, headers)
        self._details = details
        self._portal = background()
        own = ChildSettings.model_validate({"url": url, "headers": dict(headers)})
        alone = {"models": {"remote": own}, "base_url": None, "transport": None}
        shared = PipelineSettings.read()
        settings = shared.model_copy(update=alone).child("remote")
        [self._endpoint] = endpoints(settings, details.name, self._portal)
        self._endpoint.place = replace(self._endpoint.place, role="model")
        allowed = limits(settings, forwards_deadline=details.served_by_us)
        self._headers = allowed.headers
        metrics = ChildMetrics("", details.name)
        transport = RemoteTransport([self._endpoint], self._portal, allowed, metrics)
        self._tagged = transport.tagged
        self._decoding = shared.decoding
        child = partial(Child, details, transport, self._portal, metrics, decoding=shared.decoding)
        self.call, self.awaited = child(), child(awaitable=True)
        # Also when its owner forgets it, and when the process ends.
        self.close = weakref.finalize(self, _close, self._portal, transport)

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """The values of a stream."""
        current = context.current()
        tensors = encode_arguments(self._details.signature, args, kwargs, tagged=self._tagged)
        request = Request(tensors, [], current.passed_on({}, current.remaining()), current.id)
        async with aclosing(_responses(self._endpoint, request, self._headers)) as responses:
            async for response in responses:
                if response.parameters.get("progress") is not True:
                    yield decode_results(
                        self._details.signature,
                        response.tensors,
                        response.content_type,
                        limits=self._decoding,
                    )


def _close(portal: Portal, transport: RemoteTransport) -> None:
    closing = portal.submit(transport.close())
    try:
        asyncio.get_running_loop()  # it may be the one that this is to happen on
    except RuntimeError:
        closing.result()


async def _responses(
    endpoint: Endpoint, request: Request, headers: Any
) -> AsyncGenerator[Response, None]:
    try:
        async with aclosing(endpoint.stream(request, headers)) as responses:
            async for response in responses:
                yield response
    except Failure as failure:
        raise failure.error from failure.__cause__


async def _next(values: AsyncGenerator[Any, None]) -> Any:
    return await anext(values, _DONE)
