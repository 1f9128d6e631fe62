"""A child behind V2 over gRPC."""

from __future__ import annotations

from typing import Any

import grpc
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from tempo_runtime import context
from tempo_runtime.children.failures import NOT_READY, Place, seconds_left
from tempo_runtime.errors import PayloadError, TempoError
from tempo_runtime.portal import Portal
from tempo_runtime.proto import request_to_proto, response_from_proto
from tempo_runtime.wire import Request, Response

_TOO_LARGE = "larger than max"
_OPTIONS = (
    # Tensors are larger than gRPC's 4 MB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that is gone without a word is noticed between calls, too.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


class GrpcTransport:
    """Calls a child with `ModelInfer`.

    Args:
        portal: The loop that the connection lives on.
        url: Its server: `grpc://HOST:PORT`, or `grpcs://HOST:PORT` with TLS.
        model: Name the child is served under.
        version: Version to ask for.
        timeout: Seconds one call may take.
    """

    def __init__(
        self,
        portal: Portal,
        *,
        url: str,
        model: str,
        version: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._portal = portal
        self._model = model
        self._version = version
        self._place = Place(model, url)
        self._timeout = timeout
        self._channel: grpc.aio.Channel | None = None

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        return await self._portal.arun(self._infer(request, context.current()))

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        return self._portal.run(self._infer(request, context.current()))

    async def close(self) -> None:
        """Closes the connection."""
        if self._channel is not None:
            await self._portal.arun(self._channel.close())

    async def _infer(self, request: Request, current: context.RequestContext) -> Response:
        seconds = seconds_left(self._timeout, current)
        message = request_to_proto(request, self._model, self._version)
        try:
            answer = await self._call(message, seconds, tuple(current.headers.items()))
        except grpc.aio.AioRpcError as error:
            raise self._failure(error, seconds, current) from error
        try:
            return response_from_proto(answer)
        except PayloadError as error:
            raise self._place.unusable(error) from error

    async def _call(self, message: Any, seconds: float | None, metadata: Any) -> Any:
        if self._channel is None:  # made here, because it belongs to the loop it is made on
            self._channel = _connect(self._place.url)
        stub = GRPCInferenceServiceStub(self._channel)
        return await stub.ModelInfer(message, timeout=seconds, metadata=metadata)

    def _failure(
        self, error: grpc.aio.AioRpcError, seconds: float | None, current: context.RequestContext
    ) -> TempoError:
        code, said = error.code(), error.details() or ""
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self._place.silent(seconds or 0, current)
        if code is grpc.StatusCode.UNAVAILABLE:
            return self._place.unreachable(said)
        if code is grpc.StatusCode.NOT_FOUND:
            return self._place.not_found(said)
        if _TOO_LARGE in said:
            return self._place.refused(code.name, f"{said}; raise its `grpc_max_message_length`")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED or NOT_READY in said:
            return self._place.not_ready(said)
        return self._place.refused(code.name, said)


def _connect(url: str) -> grpc.aio.Channel:
    scheme, _, target = url.partition("://")
    if scheme == "grpcs":
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), _OPTIONS)
    return grpc.aio.insecure_channel(target, _OPTIONS)
