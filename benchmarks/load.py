"""A client that costs little: whole requests made beforehand, on plain sockets."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def request(model: str, tensor: dict[str, Any]) -> bytes:
    """The whole HTTP request for one tensor, so that the client has nothing left to do."""
    body = json.dumps({"inputs": [tensor]}).encode()
    return _head(model, body, "Content-Type: application/json") + body


def binary_request(model: str, tensor: dict[str, Any], raw: bytes) -> bytes:
    """The same, with the tensor's elements as binary data, which is asked for as well."""
    parameters = {**tensor.get("parameters", {}), "binary_data_size": len(raw)}
    asking = {"parameters": {"binary_data_output": True}}
    content = json.dumps({"inputs": [{**tensor, "parameters": parameters}], **asking}).encode()
    body = content + raw
    return _head(model, body, f"Inference-Header-Content-Length: {len(content)}") + body


def _head(model: str, body: bytes, header: str) -> bytes:
    lines = [
        f"POST /v2/models/{model}/infer HTTP/1.1",
        "Host: benchmark",
        header,
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def closed_loop(url: str, asked: bytes, clients: int, requests: int) -> list[float]:
    """Milliseconds of each request; each client has one connection, and never pauses."""
    port = int(url.rpartition(":")[2])

    def client(_: int) -> list[float]:
        times = []
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            for _ in range(max(1, requests // clients)):
                begin = time.perf_counter()
                _exchange(connection, asked)
                times.append((time.perf_counter() - begin) * 1000)
        return times

    with ThreadPoolExecutor(clients) as pool:
        return [each for times in pool.map(client, range(clients)) for each in times]


def _exchange(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer.decode())
    length = int(head.lower().split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
    left = length - len(body)
    while left > 0:
        left -= len(_received(connection))


def _received(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    if not received:
        raise ConnectionError("the server closed the connection")
    return received
