"""The port that leads through the cluster's API: what it refuses, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tempo_runtime.deploy.cluster import connection as connections
from tempo_runtime.deploy.cluster.platforms import endpoint
from tempo_runtime.deploy.cluster.relay import Relay
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import options


@pytest.fixture
def relay(api: ApiServer) -> Iterator[Relay]:
    connection = connections.connect()
    found = Relay(connection, endpoint("plus", options()))
    yield found
    found.close()
    connection.close()


def sent(relay: Relay, text: str) -> bytes:
    """All that comes back for a request."""
    where = urlsplit(relay.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as client:
        client.sendall(text.replace("\n", "\r\n").encode())
        found = b""
        while part := client.recv(4096):
            found += part
    return found


@pytest.mark.parametrize(
    "rest",
    [
        "content-length: x\n\n",
        "content-length: -1\n\n",
        "transfer-encoding: chunked\n\nx\n",
        "transfer-encoding: chunked\n\n-1\n",
    ],
)
def test_a_body_without_a_length_is_refused(
    relay: Relay, rest: str, capfd: pytest.CaptureFixture[str]
) -> None:
    host = urlsplit(relay.url).netloc
    answer = sent(relay, f"POST /v2/models/plus/infer HTTP/1.1\nhost: {host}\n{rest}")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert capfd.readouterr().err == ""


def test_a_model_that_does_not_answer_is_given_up(
    api: ApiServer, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempo_runtime.deploy.cluster.relay._SILENT", 0.2)
    api.fault("GET", "/proxy/", -1)
    host = urlsplit(relay.url).netloc
    answer = sent(relay, f"GET /v2/models/plus HTTP/1.1\nhost: {host}\nconnection: close\n\n")
    assert answer.startswith(b"HTTP/1.1 502 ")


def test_its_own_thread_may_close_it(relay: Relay) -> None:
    peeked = relay.close.peek()
    assert peeked is not None
    server, thread = peeked[2]
    server.service_actions = relay.close  # called by the thread that serves
    thread.join(10)
    assert not thread.is_alive()
