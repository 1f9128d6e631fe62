"""Load that costs little, and checks each answer: whole requests made beforehand, on plain sockets."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TIMEOUT = 60.0  # seconds without any answer
Decode = Callable[[bytes], "NDArray[np.float64]"]


@dataclass
class Question:
    """A whole HTTP request, and what answers it.

    Attributes:
        request: Its bytes.
        expected: The numbers of the right answer.
        decode: Reads them from a body.
    """

    request: bytes
    expected: NDArray[np.float64]
    decode: Decode
    _right: set[bytes] = field(default_factory=set)

    def is_answered_by(self, body: bytes) -> bool:
        """Return whether a body is the right answer. A body that was right before is not read again."""
        if body in self._right:
            return True
        try:
            found = np.asarray(self.decode(body), dtype=float).ravel()
        except (ValueError, LookupError, TypeError):
            return False
        right = found.shape == self.expected.shape and np.allclose(found, self.expected, 1e-5, 1e-6)
        if right and len(self._right) < 64:
            self._right.add(body)
        return bool(right)


class Run(NamedTuple):
    """The answers to all clients in one turn.

    Attributes:
        times: Seconds that each answer took.
        wrong: How many answers were not the expected ones, or were errors, or did not come.
        seconds: Length of the turn.
    """

    times: list[float]
    wrong: int
    seconds: float

    @property
    def rate(self) -> float:
        """Right answers in a second."""
        return (len(self.times) - self.wrong) / self.seconds


def post(path: str, body: bytes, headers: str = "Content-Type: application/json\r\n") -> bytes:
    """Return the whole HTTP request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: benchmark\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def closed_loop(port: int, questions: Sequence[Question], clients: int, seconds: float) -> Run:
    """Ask with several clients, each on its own connection, without a pause between answers.

    Each client asks the questions in turn, and begins with another one, so that an answer that
    belongs to another client is seen to be wrong. Each asks at least once.
    """
    times: list[float] = []
    wrong = 0
    with selectors.DefaultSelector() as selector:
        begin = time.perf_counter()
        end = begin + seconds
        for number in range(clients):
            client = _Client(port, selector, questions, number)
            client.ask()
        while selector.get_map():
            events = selector.select(TIMEOUT)
            if not events:
                wrong += len(selector.get_map())
                times += [TIMEOUT] * len(selector.get_map())
                for key in list(selector.get_map().values()):
                    key.data.close()
            for key, _ in events:
                client = key.data
                answered = client.proceed()
                if answered is None:
                    continue
                now = time.perf_counter()
                times.append(now - client.asked_at)
                wrong += not answered
                if now < end:
                    client.ask()
                else:
                    client.close()
        return Run(times, wrong, time.perf_counter() - begin)


class _Client:
    """One connection, and the question that it waits for."""

    def __init__(
        self,
        port: int,
        selector: selectors.BaseSelector,
        questions: Sequence[Question],
        number: int,
    ) -> None:
        self._port, self._selector = port, selector
        self._questions, self._next = questions, number
        self._socket: socket.socket | None = None

    def ask(self) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
            self._selector.register(self._socket, selectors.EVENT_READ, self)
        self._question = self._questions[self._next % len(self._questions)]
        self._next += 1
        self._received = bytearray()
        self._left = memoryview(self._question.request)
        self.asked_at = time.perf_counter()
        self._send()

    def proceed(self) -> bool | None:
        """Send or receive more; return whether the answer is right once it is whole."""
        assert self._socket is not None
        if self._left:
            self._send()
            return None
        try:
            chunk = self._socket.recv(1 << 18)
        except OSError:
            chunk = b""
        if not chunk:
            self.close()
            return False
        self._received += chunk
        answer = _parse(self._received)
        if answer is None:
            return None
        if answer.closes:
            self.close()
        return answer.status == 200 and self._question.is_answered_by(answer.body)

    def close(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def _send(self) -> None:
        assert self._socket is not None
        try:
            self._left = self._left[self._socket.send(self._left) :]
        except BlockingIOError:
            pass
        except OSError:
            self._left = self._left[:0]  # reading tells that the connection is closed
        events = selectors.EVENT_WRITE if self._left else selectors.EVENT_READ
        if self._selector.get_key(self._socket).events != events:
            self._selector.modify(self._socket, events, self)


class _Answer(NamedTuple):
    status: int
    body: bytes
    closes: bool


def _parse(received: bytearray) -> _Answer | None:
    """Read a whole answer, or return None if more is to come."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    status = int(head[9:12])
    closes = b"connection: close" in head
    _, length, rest = head.partition(b"\r\ncontent-length:")
    if length:
        size = int(rest.split(b"\r\n", 1)[0])
        if len(received) < end + 4 + size:
            return None
        return _Answer(status, bytes(received[end + 4 : end + 4 + size]), closes)
    if not received.endswith(b"0\r\n\r\n"):
        return None
    body, place = bytearray(), end + 4
    while size := int(received[place : (line := received.find(b"\r\n", place))], 16):
        body += received[line + 2 : line + 2 + size]
        place = line + size + 4
    return _Answer(status, bytes(body), closes)


def random_batches(rows: int) -> list[NDArray[np.float64]]:
    """Return the rows of several questions: flowers, with the four measures of irises in cm."""
    generator = np.random.default_rng(rows)
    low, high = (4.3, 2.0, 1.0, 0.1), (7.9, 4.4, 6.9, 2.5)
    return list(generator.uniform(low, high, (8, rows, 4)).round(2))


def v2_json(model: str, name: str, rows: NDArray[np.float64], number: int) -> bytes:
    """Return a V2 request. Its id makes the bytes of all right answers to it the same."""
    tensor = {"name": name, "shape": rows.shape, "datatype": "FP64", "data": rows.ravel().tolist()}
    tensor["parameters"] = {"content_type": "np"}
    body = json.dumps({"id": f"benchmark-{number}", "inputs": [tensor]}).encode()
    return post(f"/v2/models/{model}/infer", body)


def v2_numbers(body: bytes) -> NDArray[np.float64]:
    """Read the numbers of a V2 answer."""
    return np.asarray(json.loads(body)["outputs"][0]["data"], dtype=float)


def v2_binary(model: str, name: str, rows: NDArray[np.float64], number: int) -> bytes:
    """Return the same request with binary data, which asks for binary data."""
    raw = np.ascontiguousarray(rows, dtype="<f8").tobytes()
    tensor = {"name": name, "shape": rows.shape, "datatype": "FP64"}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    content = {"id": f"benchmark-{number}", "inputs": [tensor]}
    content["parameters"] = {"binary_data_output": True}
    text = json.dumps(content).encode()
    headers = "Content-Type: application/octet-stream\r\n"
    headers += f"Inference-Header-Content-Length: {len(text)}\r\n"
    return post(f"/v2/models/{model}/infer", text + raw, headers)


def v2_binary_numbers(body: bytes) -> NDArray[np.float64]:
    """Read the numbers of an answer in binary data: they follow its JSON."""
    content, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    assert content["outputs"][0]["datatype"] == "FP64"
    return np.frombuffer(body, "<f8", offset=end)
