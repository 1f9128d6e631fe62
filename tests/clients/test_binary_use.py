"""Binary data in calls over HTTP: only to servers that announce it, and JSON where it is refused."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tempo_runtime.clients import binary_use
from tempo_runtime.clients.child import Child
from tempo_runtime.errors import ChildFailed, ChildRefused
from tempo_runtime.protocol.binary import (
    HEADER,
    MEDIA_TYPE,
    AskedOutputs,
    attach_inputs,
    response_to_body,
    split_body,
)
from tempo_runtime.protocol.messages import request_from_json, response_to_json, tensor_from_json
from tests.clients.connected_child import Connect, connect

__all__ = ["connect"]
LARGE = np.array([0x7FF8_0000_DEAD_BEEF, 0x8000_0000_0000_0000] * 500, "u8").view("f8")
SMALL = np.array([0.5])
Answer = tuple[int, dict[str, str], bytes]


class Recorded(http.server.ThreadingHTTPServer):
    """A server that returns its inputs, and records the requests.

    Attributes:
        asked: `metadata`, `json` or `binary`, for each request.
        extensions: What it announces.
        binary_answer: Its answer to binary requests, if that is another.
        json_answer: Its answer to requests in JSON, if that is another.
        metadata: Set once it may answer requests for its metadata.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.extensions: Any = ["binary_tensor_data"]
        self.binary_answer: Answer | None = None
        self.json_answer: Answer | None = None
        self.metadata = threading.Event()
        self.metadata.set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, body: bytes, length: str | None) -> Answer:
        if length is None:
            self.asked.append("json")
            content = response_to_json(request_from_json(body), "m")  # type: ignore[arg-type]
            return self.json_answer or (200, {"content-type": "application/json"}, content)
        self.asked.append("binary")
        if self.binary_answer is not None:
            return self.binary_answer
        head, raw = split_body(body, [length])
        attach_inputs(head, raw)
        tensors = [tensor_from_json(item) for item in head["inputs"]]
        content, size = response_to_body({"model_name": "m"}, tensors, AskedOutputs(True))
        return 200, {"content-type": MEDIA_TYPE, HEADER: str(size)}, content


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorded

    def do_GET(self) -> None:
        self.server.asked.append("metadata")
        self.server.metadata.wait(30)
        content = {"name": "s", "version": "1", "extensions": self.server.extensions}
        self._send(200, {}, json.dumps(content).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self._send(*self.server.answer(body, self.headers[HEADER]))

    def log_message(self, *_: Any) -> None:
        pass

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Recorded]:
    with Recorded() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.metadata.set()
        server.shutdown()


def call_until_binary(child: Child, server: Recorded) -> None:
    """Call until the client has read what the server announces."""
    end = time.monotonic() + 30
    while "binary" not in server.asked:
        assert time.monotonic() < end, server.asked
        child(LARGE)


def test_large_calls_are_binary_once_the_server_has_announced_it(
    server: Recorded, connect: Connect
) -> None:
    server.metadata.clear()
    child = connect(server.url)
    child(LARGE)  # which does not wait for the metadata, on a connection of its own
    assert sorted(server.asked) in (["json"], ["json", "metadata"])
    server.metadata.set()
    call_until_binary(child, server)
    assert server.asked.count("metadata") == 1
    assert child(LARGE).tobytes() == LARGE.tobytes()
    child(SMALL)
    assert server.asked[-2:] == ["binary", "json"]


def test_small_calls_do_not_ask_for_the_metadata(server: Recorded, connect: Connect) -> None:
    child = connect(server.url)
    child(SMALL)
    child(SMALL)
    assert server.asked == ["json", "json"]


@pytest.mark.parametrize("extensions", [[], ["classification"], None, "binary_tensor_data"])
def test_a_server_that_does_not_announce_it_is_sent_json(
    extensions: Any, server: Recorded, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary_use, "_PAUSE", 0)
    server.extensions = extensions
    child = connect(server.url)
    while server.asked.count("metadata") < 3:
        child(LARGE)
    assert "binary" not in server.asked


def test_calls_do_not_wait_for_the_metadata(server: Recorded, connect: Connect) -> None:
    server.metadata.clear()
    child = connect(server.url)
    child(LARGE)
    child(LARGE)
    assert sorted(server.asked) == ["json", "json", "metadata"]


REFUSALS: dict[str, Answer] = {
    "MLServer": (422, {}, b'{"detail": [{"type": "json_invalid", "msg": "JSON decode error"}]}'),
    "a proxy": (415, {"content-type": "text/html"}, b"<html>Unsupported Media Type"),
    "a proxy that drops the header": (200, {"content-type": MEDIA_TYPE}, b"{}\0\0"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_call_is_sent_as_json_and_so_are_those_after_it(
    case: str, server: Recorded, connect: Connect
) -> None:
    server.binary_answer = REFUSALS[case]
    child = connect(server.url)
    call_until_binary(child, server)
    assert child(LARGE).shape == LARGE.shape
    assert server.asked[-3:] == ["binary", "json", "json"]


def test_a_server_that_announces_it_again_is_sent_it_again(
    server: Recorded, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary_use, "_PAUSE", 0)
    server.binary_answer = REFUSALS["MLServer"]
    child = connect(server.url)
    call_until_binary(child, server)
    server.binary_answer = None
    server.asked.clear()
    call_until_binary(child, server)
    assert child(LARGE).tobytes() == LARGE.tobytes()


def test_a_wrong_request_is_an_error_and_no_reason_for_json(
    server: Recorded, connect: Connect
) -> None:
    child = connect(server.url)
    call_until_binary(child, server)
    server.binary_answer = server.json_answer = (400, {}, b'{"error": "too many columns"}')
    with pytest.raises(ChildRefused, match="too many columns"):
        child(LARGE)
    with pytest.raises(ChildRefused):
        child(LARGE)
    assert server.asked[-4:] == ["binary", "json"] * 2


def test_an_error_of_our_runtime_is_not_asked_for_again(server: Recorded, connect: Connect) -> None:
    child = connect(server.url)
    call_until_binary(child, server)
    details = {"kind": "PayloadError", "status": 422, "fault": "client", "path": []}
    body = json.dumps({"error": "wrong", "tempo": details}).encode()
    server.binary_answer = (422, {}, body)
    server.asked.clear()
    with pytest.raises(ChildRefused, match="wrong"):
        child(LARGE)
    assert server.asked == ["binary"]


def test_a_binary_answer_that_does_not_fit_names_the_child(
    server: Recorded, connect: Connect
) -> None:
    child = connect(server.url)
    call_until_binary(child, server)
    server.binary_answer = (200, {"content-type": MEDIA_TYPE, HEADER: "2"}, b"{}\0")
    with pytest.raises(ChildFailed, match=r"child 'iris' at .* 1 bytes follow the JSON"):
        child(LARGE)
