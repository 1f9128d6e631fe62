"""The first line and the headers of a request are limited."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tempo_runtime import save
from tempo_runtime.runtime.request_head import LARGEST
from tempo_runtime.testing import Server, serve
from tests.helpers import pipelines

READY = b"GET /v2/health/ready HTTP/1.1\r\nhost: a\r\n"
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(save(pipelines.echo, str(tmp_path_factory.mktemp("echo")))) as server:
        yield server


@pytest.fixture
def connection(server: Server) -> Iterator[socket.socket]:
    url = urlsplit(server.url)
    with closing(socket.create_connection((url.hostname, url.port), timeout=60)) as connection:
        yield connection


def sent_until_refused(connection: socket.socket, pieces: Iterator[bytes]) -> bytes:
    """Send pieces until the server closes the connection, and return its answer."""
    for piece in pieces:
        try:
            connection.sendall(piece)
        except OSError:
            break
    try:
        return connection.recv(4096)
    except ConnectionError:  # reset, because the server left pieces unread
        return b""


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (READY + b"x: ", b"a" * 8192),
        (READY, b"x: " + b"a" * 8000 + b"\r\n"),
        (b"GET /", b"a" * 8192),
    ],
    ids=["one header", "many headers", "the first line"],
)
def test_a_head_without_end_is_refused_and_others_are_answered(
    first: bytes, piece: bytes, connection: socket.socket, server: Server
) -> None:
    sizes = []

    def pieces() -> Iterator[bytes]:
        yield first
        for number in range(16 * MEGABYTE // len(piece)):
            sizes.append(number * len(piece))
            yield piece

    answer = sent_until_refused(connection, pieces())
    assert sizes[-1] < 15 * MEGABYTE
    assert not answer or answer.startswith(b"HTTP/1.1 400")
    assert server.http.get("/v2/health/ready").status_code == 200


def test_a_head_below_the_limit_is_read(connection: socket.socket) -> None:
    connection.sendall(READY + b"x: " + b"a" * (LARGEST - 1024))
    connection.sendall(b"\r\n\r\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_the_body_does_not_count(server: Server) -> None:
    x = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a" * MEGABYTE]}
    assert server.post("echo", {"inputs": [x]}).status_code == 200


def test_each_request_of_a_connection_is_counted_by_itself(connection: socket.socket) -> None:
    for _ in range(3):
        connection.sendall(READY + b"x: " + b"a" * (LARGEST // 2))
        connection.sendall(b"\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
