"""A child over HTTP, against a real server that does whatever it is told."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pytest

from tempo_runtime import context
from tempo_runtime.children.child import Child
from tempo_runtime.children.http import HttpTransport, connections
from tempo_runtime.details import ModelDetails, ModelFramework
from tempo_runtime.errors import (
    ChildFailed,
    ChildNotFound,
    ChildUnavailable,
    DeadlineExceeded,
    TempoError,
)
from tempo_runtime.portal import background
from tempo_runtime.testing import free_ports

_shared: httpx.AsyncBaseTransport
GOOD = {
    "model_name": "iris",
    "outputs": [{"name": "predict", "shape": [2, 1], "datatype": "INT64", "data": [3, 4]}],
}


class FakeServer(ThreadingHTTPServer):
    """Answers each request with `status` and `body`, once `gate` is open."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body = 200, json.dumps(GOOD).encode()
        self.gate = threading.Event()
        self.gate.set()
        self.slow_body = self.cut_body = False
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.paths.append(self.path)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.gate.wait(30)
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        if self.server.slow_body:
            self.wfile.write(self.server.body[:10])
            self.wfile.flush()
            self.rfile.read(1)  # until the client is gone
        elif self.server.cut_body:
            self.wfile.write(self.server.body[:10])
            self.close_connection = True
        else:
            self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.gate.set()
        server.shutdown()


@pytest.fixture(autouse=True, scope="module")
def shared() -> Iterator[httpx.AsyncBaseTransport]:
    global _shared
    _shared = connections()
    yield _shared
    background().run(_shared.aclose())


def child(url: str, *, awaitable: bool = False, **options: Any) -> Child:
    details = ModelDetails("iris", ModelFramework.SKLearn)
    options = {"connect_timeout": 2, **options}
    transport = HttpTransport(_shared, background(), url=url, model="iris", **options)
    return Child(details, transport, awaitable=awaitable)


def test_an_answer_loses_the_column_mlserver_gave_it(fake: FakeServer) -> None:
    found = child(fake.url)(np.ones((2, 4)))
    assert found.tolist() == [3, 4]
    assert found.dtype == np.int64


def test_the_version_is_part_of_the_path(fake: FakeServer) -> None:
    child(fake.url, version="v2")(np.ones(1))
    assert fake.paths == ["/v2/models/iris/versions/v2/infer"]


def test_only_headers_that_may_travel_go_along(fake: FakeServer) -> None:
    headers = {"X-Request-Id": "7", "traceparent": "00-1", "Seldon-Model": "me", "Host": "a"}
    with context.serving(None, headers):
        child(fake.url)(np.ones(1))
    [sent] = fake.headers
    assert (sent["x-request-id"], sent["traceparent"]) == ("7", "00-1")
    assert "seldon-model" not in sent
    assert sent["host"] != "a"


ANSWERS: list[tuple[int, bytes, type[TempoError], str]] = [
    (404, b'{"error": "Model iris not found"}', ChildNotFound, "Model iris not found"),
    (400, b'{"error": "Model iris is not ready yet."}', ChildUnavailable, "not ready"),
    (400, b'{"error": "bad rows"}', ChildFailed, "answered 400: bad rows"),
    (422, b'{"detail": [{"msg": "no"}]}', ChildFailed, "no"),
    (429, b"slow down", ChildUnavailable, "slow down"),
    (500, b"Internal Server Error", ChildFailed, "answered 500: Internal Server Error"),
    (503, b"", ChildUnavailable, "status 503"),
    (504, b'{"error": "late"}', DeadlineExceeded, "late"),
    (200, b"<html>hello", ChildFailed, "not JSON"),
    (200, b"[1]", ChildFailed, "not a V2 body"),
    (200, b'{"outputs": [{"name": "y"}]}', ChildFailed, "'shape' must be a JSON list"),
    (200, b'{"outputs": 3}', ChildFailed, "'outputs' must be a JSON list"),
    (
        200,
        b'{"outputs": [{"name": "y", "shape": [2], "datatype": "INT64", "data": [1]}]}',
        ChildFailed,
        "tensor 'y' says shape [2]",
    ),
]


@pytest.mark.parametrize(("status", "body", "kind", "told"), ANSWERS)
def test_an_unusable_answer_becomes_an_error_that_names_the_child(
    status: int, body: bytes, kind: type[TempoError], told: str, fake: FakeServer
) -> None:
    fake.status, fake.body = status, body
    with pytest.raises(kind) as caught:
        child(fake.url)(np.ones(1))
    assert type(caught.value) is kind
    assert told in str(caught.value)
    assert "child 'iris'" in str(caught.value)


def test_a_child_nobody_serves_is_unavailable_with_its_url() -> None:
    [port] = free_ports(1)
    with pytest.raises(ChildUnavailable, match=f"cannot be reached at http://127.0.0.1:{port}/"):
        child(f"http://127.0.0.1:{port}")(np.ones(1))


def test_a_host_that_does_not_exist_is_unavailable() -> None:
    with pytest.raises(ChildUnavailable, match=r"nowhere\.invalid"):
        child("http://nowhere.invalid")(np.ones(1))


@pytest.mark.parametrize(
    ("sent", "kind"), [(b"", ChildUnavailable), (b"hello\r\n\r\n", ChildFailed)]
)
def test_a_server_that_does_not_speak_http_is_told(sent: bytes, kind: type[TempoError]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(sent)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(kind, match="child 'iris'"):
            child(f"http://127.0.0.1:{listener.getsockname()[1]}")(np.ones(1))


def test_a_child_that_hangs_ends_with_the_requests_deadline(fake: FakeServer) -> None:
    fake.gate.clear()
    told = "had not answered when the time was up"
    with context.serving(0.2, {}), pytest.raises(DeadlineExceeded, match=told):
        child(fake.url)(np.ones(1))


def test_a_child_that_stops_within_its_answer_ends_with_the_deadline_and_others_go_on(
    fake: FakeServer,
) -> None:
    fake.slow_body = True
    for _ in range(3):
        with context.serving(0.2, {}), pytest.raises(DeadlineExceeded):
            child(fake.url)(np.ones(1))
    fake.slow_body = False
    assert child(fake.url)(np.ones(1)).tolist() == [3, 4]


def test_an_answer_that_is_cut_off_is_unavailable(fake: FakeServer) -> None:
    fake.cut_body = True
    with pytest.raises(ChildUnavailable):
        child(fake.url)(np.ones(1))


def test_a_child_may_be_given_less_time_than_the_request(fake: FakeServer) -> None:
    fake.gate.clear()
    told = r"no answer within 0\.2 s, the child's `timeout`"
    with context.serving(20, {}), pytest.raises(ChildUnavailable, match=told):
        child(fake.url, timeout=0.2)(np.ones(1))


def test_no_call_is_made_once_the_time_is_up(fake: FakeServer) -> None:
    with context.serving(1e-9, {}), pytest.raises(DeadlineExceeded):
        child(fake.url)(np.ones(1))
    assert fake.paths == []


async def test_a_sync_child_can_be_called_inside_a_running_loop(fake: FakeServer) -> None:
    assert child(fake.url)(np.ones(1)).tolist() == [3, 4]


def test_calls_from_several_event_loops_share_a_client(fake: FakeServer) -> None:
    called = child(fake.url, awaitable=True)

    async def call() -> Any:
        return await called(np.ones(1))

    assert [asyncio.run(call()).tolist() for _ in range(2)] == [[3, 4], [3, 4]]
