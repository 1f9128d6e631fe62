"""Answers of a child that are longer than its settings allow."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from tempo_runtime.clients.connect import endpoints
from tempo_runtime.clients.failures import Failure
from tempo_runtime.errors import ChildFailed
from tempo_runtime.protocol.messages import Request
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import Fail
from tests.clients.connected_child import Connect, connect
from tests.helpers.byte_faults import FaultyModel, Raw

__all__ = ["connect"]
TOLD = r"child 'iris' at .* more than the limit of 1000; .*`max_answer_bytes`"


@pytest.fixture
def fake() -> Iterator[FaultyModel]:
    with FaultyModel("iris", np.arange(1000.0), grpc=True) as fake:
        yield fake


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_an_answer_that_is_too_long_is_refused_and_names_child_size_and_setting(
    transport: str, fake: FaultyModel, connect: Connect
) -> None:
    url = fake.url if transport == "http" else fake.grpc_url
    with pytest.raises(ChildFailed, match=TOLD):
        connect(url, max_answer_bytes=1000)(np.ones(1))
    assert len(fake.calls) == 1
    assert connect(url, max_answer_bytes=0)(np.ones(1)).shape == (1000,)


def test_the_body_of_an_error_has_the_same_limit(fake: FaultyModel, connect: Connect) -> None:
    fake.answer = Fail(500, "a" * 2000)
    with pytest.raises(ChildFailed, match=TOLD):
        connect(fake.url, max_answer_bytes=1000)(np.ones(1))


def test_a_compressed_answer_is_refused_before_it_is_read(
    fake: FaultyModel, connect: Connect
) -> None:
    bomb = gzip.compress(b'{"outputs": [' + b" " * 1_000_000 + b"]}")
    fake.answer = Raw(bomb, headers={"content-encoding": "gzip"})
    with pytest.raises(ChildFailed, match=r"child 'iris' .*compressed \('gzip'\)"):
        connect(fake.url)(np.ones(1))


class _Compressing(GRPCInferenceServiceServicer):  # type: ignore[misc]
    def ModelInfer(  # noqa: N802 - gRPC's name
        self, request: object, context: grpc.ServicerContext
    ) -> object:
        context.set_compression(grpc.Compression.Gzip)
        return pb.ModelInferResponse(raw_output_contents=[b" " * 1_000_000])


def test_a_compressed_answer_over_grpc_is_refused(connect: Connect) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    add_GRPCInferenceServiceServicer_to_server(_Compressing(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(ChildFailed, match="Compression algorithm not supported: gzip"):
            connect(f"grpc://127.0.0.1:{port}")(np.ones(1))
    finally:
        server.stop(0).wait()


class _Endless(http.server.BaseHTTPRequestHandler):
    """Answers without end, and without a word about its length."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"400\r\n" + b" " * 1024 + b"\r\n")
        except OSError:  # the client has gone
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def endless() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Endless) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_without_end_is_given_up_while_it_arrives(endless: str, connect: Connect) -> None:
    with pytest.raises(ChildFailed, match=r"more than the limit of 100000"):
        connect(endless, max_answer_bytes=100_000)(np.ones(1))


def test_an_event_of_a_stream_without_end_is_given_up_while_it_arrives(endless: str) -> None:
    options = {"models": {"iris": {"url": endless, "max_answer_bytes": 100_000}}}
    settings = PipelineSettings.read(options, {}).child("iris")
    [endpoint] = endpoints(settings, "iris", background())

    async def read() -> None:
        try:
            async for _ in endpoint.stream(Request([]), {}):
                pass
        finally:
            await endpoint.close()

    with pytest.raises(Failure) as caught:
        background().run(read())
    assert "more than the limit of 100000" in str(caught.value.error)
