"""Serve a fake model over gRPC, with the messages that MLServer includes.

The server is threaded and not of grpc.aio: the client under test is, and its event loops in different
threads disturb each other. The script still runs on the fake's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import grpc
from mlserver.grpc import dataplane_pb2 as pb

from tempo_runtime._util.ports import HOST
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.grpc_messages import request_to_proto, response_from_proto
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.testing.script import Call, Model, Script
from tempo_runtime.testing.steps import Fail, Reply

_SERVICE = "inference.GRPCInferenceService"
_MOST_CALLS = 256  # at once; each takes a thread
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.so_reuseport", 0),  # a port in use is an error, instead of a server that nobody reaches
)
_CODES = {  # of MLServer, and of other V2 servers
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class GrpcSide:
    """A gRPC server that answers for a fake model.

    Args:
        fake: The fake model.
        script: What it does with its calls.
        loop: The loop that its script runs on.
        port: Port to listen on.
        credentials: Credentials for TLS; None to serve without TLS.
    """

    def __init__(
        self,
        fake: Model,
        script: Script,
        loop: asyncio.AbstractEventLoop,
        port: int,
        credentials: grpc.ServerCredentials | None,
    ) -> None:
        self._fake = fake
        self._script = script
        self._loop = loop
        self._threads = ThreadPoolExecutor(_MOST_CALLS, thread_name_prefix="fake-model-grpc")
        self._server = grpc.server(self._threads, options=_OPTIONS)
        address = f"{HOST}:{port}"
        if credentials is None:
            self._server.add_insecure_port(address)
        else:
            self._server.add_secure_port(address, credentials)
        self._server.add_generic_rpc_handlers([self._handlers()])
        self._server.start()

    def stop(self) -> None:
        """Stop the server and end every call that has no answer yet."""
        self._server.stop(None).wait()
        self._threads.shutdown()

    def _handlers(self) -> grpc.GenericRpcHandler:
        methods: dict[str, tuple[Any, Callable[..., Any]]] = {
            "ServerLive": (pb.ServerLiveRequest, lambda *_: pb.ServerLiveResponse(live=True)),
            "ServerReady": (pb.ServerReadyRequest, lambda *_: pb.ServerReadyResponse(ready=True)),
            "ModelReady": (pb.ModelReadyRequest, self._ready),
            "ModelMetadata": (pb.ModelMetadataRequest, self._metadata),
            "ModelInfer": (pb.ModelInferRequest, self._infer),
        }
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    method, request.FromString, lambda message: message.SerializeToString()
                )
                for name, (request, method) in methods.items()
            },
        )

    def _ready(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check_name(request.name, context)
        return pb.ModelReadyResponse(ready=self._fake.ready)

    def _metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check_name(request.name, context)
        return pb.ModelMetadataResponse(**self._fake.metadata)

    def _infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check_name(request.model_name, context)
        try:
            call = Call.of(
                _request(request),
                headers={name: str(value) for name, value in context.invocation_metadata()},
                transport="grpc",
                path=f"/{_SERVICE}/ModelInfer",
                version=request.model_version or None,
            )
        except PayloadError as error:
            context.abort(_CODES[422], str(error))
        try:
            reply = self._played(call, context)
        except CancelledError:
            context.abort(grpc.StatusCode.CANCELLED, "the call has ended")
        return self._sent(reply, context)

    def _sent(self, reply: Response | Reply, context: grpc.ServicerContext) -> Any:
        """Return the message of a reply, or end the call with its error."""
        if isinstance(reply, Response):
            return _message(reply, self._fake.name)
        assert isinstance(reply, Fail)
        code = _CODES.get(reply.status, grpc.StatusCode.UNKNOWN)
        context.abort(grpc.StatusCode[reply.code] if reply.code else code, reply.message)

    def _played(self, call: Call, context: grpc.ServicerContext) -> Response | Reply:
        playing = asyncio.run_coroutine_threadsafe(self._play(call), self._loop)

        def ended() -> None:  # answered, given up by the client, or cut off by `stop`
            playing.cancel()

        if not context.add_callback(ended):  # it has ended already: `ended` is never called
            playing.cancel()
        return playing.result()

    async def _play(self, call: Call) -> Response | Reply:
        return await self._script.play(call)

    def _check_name(self, name: str, context: grpc.ServicerContext) -> None:
        if name != self._fake.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Model {name} not found")


# `protocol.grpc_messages` has the client's half. The tensors of requests and responses have the same
# fields, so that each half can read and write those of the other.


def _request(message: Any) -> Request:
    tensors = [pb.ModelInferResponse.InferOutputTensor() for _ in message.inputs]
    for tensor, sent in zip(tensors, message.inputs):
        tensor.ParseFromString(sent.SerializeToString())
    read = response_from_proto(
        pb.ModelInferResponse(
            outputs=tensors,
            raw_output_contents=message.raw_input_contents,
            parameters=message.parameters,
        )
    )
    outputs = [output.name for output in message.outputs]
    return Request(read.tensors, outputs, read.parameters, message.id or None)


def _message(response: Response, name: str) -> Any:
    written = request_to_proto(Request(response.tensors, [], response.parameters), name, None)
    message = pb.ModelInferResponse(
        model_name=name,
        raw_output_contents=written.raw_input_contents,
        parameters=written.parameters,
    )
    for tensor in written.inputs:
        message.outputs.add().ParseFromString(tensor.SerializeToString())
    return message
