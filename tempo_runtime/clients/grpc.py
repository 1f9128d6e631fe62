"""Calls to a child over gRPC, in the V2 protocol."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import grpc
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from pydantic import SecretStr

from tempo_runtime.clients.failures import (
    NOT_READY,
    AnswerLimit,
    ChildAddress,
    Failure,
    FailureKind,
)
from tempo_runtime.clients.tls import grpc_files
from tempo_runtime.clients.triton import is_loading, is_unknown_model
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.error_details import unmarked
from tempo_runtime.protocol.grpc_messages import (
    metadata_from_proto,
    request_to_proto,
    response_from_proto,
)
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.request.timing import Elapsed
from tempo_runtime.settings import TlsSettings

_TOO_LARGE = "larger than max"
_TOO_LONG = re.compile(r"Received message larger than max \((\d+) vs\. (\d+)\)")
# A status without a gRPC code in MLServer; pipelines of earlier versions append it to the text.
_STATUS = re.compile(r"\(status (\d{3})(?:, retry after ([\d.]+) s)?\)$")
# Codes for a wrong request: those that MLServer uses for 400 and 422, and those of other servers.
_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 422,
}
_NEVER_MADE = ("failed to connect", "dns resolution failed", "no address")
_DISTRUSTED = ("ssl_error", "certificate", "tls handshake")
_OPTIONS = (
    # Tensors can be larger than gRPC's default limit of 4 MB.
    ("grpc.max_send_message_length", -1),
    # Only uncompressed messages are accepted: a few compressed bytes may expand without limit.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # Keepalives notice between calls that a server has disappeared without closing its connection.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Our circuit breaker decides when to connect again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A name has a new address once its container or pod is replaced: look it up this often, because
    # gRPC by default waits 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 500),
)


class GrpcEndpoint:
    """A child's server, called with `ModelInfer`.

    Args:
        url: URL of the server: `grpc://HOST:PORT`, or `grpcs://HOST:PORT` with TLS.
        model: Name that the server knows the child by.
        version: Version to ask for.
        connect_timeout: Seconds to wait for a connection.
        tls: Settings of the encrypted connection, if the URL asks for one.
        proxy: URL of an HTTP proxy.
        max_answer_bytes: Largest size of an answer, or of an item of a stream; None for no limit.

    Raises:
        SettingsError: If a file named in `tls` cannot be used.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str,
        version: str | None = None,
        connect_timeout: float | None = None,
        tls: TlsSettings | None = None,
        proxy: SecretStr | None = None,
        max_answer_bytes: int | None = None,
    ) -> None:
        self.place = ChildAddress(model, url)
        self._model = model
        self._version = version
        scheme, _, self._target = url.partition("://")
        files = grpc_files(tls or TlsSettings()) if scheme == "grpcs" else None
        self._credentials = grpc.ssl_channel_credentials(*files) if files else None
        # Only the proxy in the settings is used, not one in the process's environment.
        options: list[tuple[str, Any]] = [*_OPTIONS, ("grpc.enable_http_proxy", int(bool(proxy)))]
        options.append(("grpc.max_receive_message_length", max_answer_bytes or -1))
        self._limit = AnswerLimit(max_answer_bytes)
        if proxy:
            options.append(("grpc.http_proxy", proxy.get_secret_value()))
        if connect_timeout:
            options.append(("grpc.min_reconnect_backoff_ms", int(connect_timeout * 1000)))
        self._options = options
        self._channel: grpc.aio.Channel | None = None

    async def call(
        self, request: Request, seconds: float | None, headers: Mapping[str, str], *, fresh: bool
    ) -> Response:
        """See `Endpoint.call`; gRPC manages its only connection itself."""
        message = request_to_proto(request, self._model, self._version)
        answer = await self._ask("ModelInfer", message, seconds, headers)
        if answer is None:  # gRPC could not parse the message
            raise self.place.unusable(PayloadError("not a V2 message"))
        return self._response(answer)

    async def metadata(self, seconds: float | None, headers: Mapping[str, str]) -> dict[str, Any]:
        """See `Endpoint.metadata`."""
        message = pb.ModelMetadataRequest(name=self._model, version=self._version or "")
        return metadata_from_proto(await self._ask("ModelMetadata", message, seconds, headers))

    async def stream(
        self, request: Request, headers: Mapping[str, str]
    ) -> AsyncGenerator[Response, None]:
        """See `Endpoint.stream`."""
        message = request_to_proto(request, self._model, self._version)

        async def messages() -> AsyncIterator[pb.ModelInferRequest]:
            yield message

        metadata = tuple(headers.items())
        try:
            async for answer in self._stub().ModelStreamInfer(messages(), metadata=metadata):
                yield self._response(answer)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error

    async def close(self) -> None:
        """Close the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _stub(self) -> Any:
        if self._channel is None:  # made on first use, because it belongs to the current loop
            self._channel = self._connect()
            self._made = GRPCInferenceServiceStub(self._channel)
        return self._made

    async def _ask(
        self, method: str, message: Any, seconds: float | None, headers: Mapping[str, str]
    ) -> Any:
        begin = time.monotonic()
        try:
            call = getattr(self._stub(), method)
            return await call(message, timeout=seconds, metadata=tuple(headers.items()))
        except grpc.aio.AioRpcError as error:
            spent = seconds is not None and time.monotonic() - begin >= 0.95 * seconds
            if spent and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise Elapsed from error
            raise self._failure(error) from error

    def _response(self, answer: Any) -> Response:
        try:
            return response_from_proto(answer)
        except PayloadError as error:
            raise self.place.unusable(error) from error

    def _connect(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target, self._options)
        return grpc.aio.secure_channel(self._target, self._credentials, self._options)

    def _failure(self, error: grpc.aio.AioRpcError) -> Failure:
        failure = self._failure_of(error)
        failure.status = error.code().name
        return failure

    def _failure_of(self, error: grpc.aio.AioRpcError) -> Failure:
        code = error.code()
        text, info = unmarked(error.details() or "")
        if info is not None:
            return self.place.passed_up(info, text)
        status = _STATUS.search(text)
        if is_unknown_model(text):  # UNAVAILABLE in earlier releases of Triton
            return self.place.not_found(text)
        match code:
            case grpc.StatusCode.UNAVAILABLE if is_loading(text):
                return self.place.not_ready(text, FailureKind.UNAVAILABLE)
            case grpc.StatusCode.UNAVAILABLE:
                return self._unreachable(text)
            case grpc.StatusCode.NOT_FOUND:
                return self.place.not_found(text)
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return self.place.late(text)
            case grpc.StatusCode.CANCELLED | grpc.StatusCode.ABORTED:
                return self.place.unreachable(
                    f"it cancelled the call: {text}", FailureKind.CONNECTION_LOST
                )
            case _ if (longer := _TOO_LONG.search(text)) and int(longer[2]) == self._limit.most:
                return self._too_long(int(longer[1]))
            case _ if _TOO_LARGE in text:
                return self.place.refused(code.name, f"{text}; raise its `grpc_max_message_length`")
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return self.place.not_ready(text, FailureKind.OVERLOADED)
            case _ if NOT_READY in text:
                return self.place.not_ready(text, FailureKind.UNAVAILABLE)
            case _ if status:
                wait = float(status[2]) if status[2] else None
                return self.place.by_status(int(status[1]), text[: status.start()].rstrip(), wait)
            case _:
                return self.place.refused(code.name, text, status=_REFUSALS.get(code))

    def _too_long(self, length: int) -> Failure:
        try:
            self._limit.check(length)
        except PayloadError as error:
            return self.place.unusable(error)
        raise AssertionError(length)

    def _unreachable(self, text: str) -> Failure:
        lower = text.lower()
        if any(word in lower for word in _DISTRUSTED):
            return self.place.distrusted(text)
        never = any(word in lower for word in _NEVER_MADE)
        return self.place.unreachable(
            text, FailureKind.UNAVAILABLE if never else FailureKind.CONNECTION_LOST
        )
