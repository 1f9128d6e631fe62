"""Asks a served pipeline, and looks at what is left behind in its server."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
from grpc import RpcError, insecure_channel
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client.parser import text_string_to_metric_families

from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.grpc_messages import request_to_proto, response_from_proto
from tempo_runtime.protocol.messages import Request, request_to_json, response_from_json
from tempo_runtime.testing import Server

SLACK = 15.0  # seconds that a busy machine may add
_CHANNELS = 8  # gRPC keeps a connection to each server, and may do so for each child
X = np.array([1.0])


@dataclass(frozen=True)
class Told:
    """The answer to a pipeline's client.

    Attributes:
        status: HTTP status, or the name of gRPC's.
        text: The error's message.
        value: The result.
    """

    status: int | str
    text: str = ""
    value: Any = None


class Asker:
    """A client of a server of `inside.asking`.

    Args:
        server: The server.
        http: URLs of its children.
        grpc: URLs of those over gRPC.
    """

    def __init__(self, server: Server, http: Iterable[str], grpc: Iterable[str]) -> None:
        self.server = server
        self._http_ports, self._grpc_ports = _ports(http), _ports(grpc)
        self._channel = insecure_channel(server.grpc)
        self._before = self._census()

    def close(self) -> None:
        self._channel.close()

    def ask(self, pipeline: str, child: str, x: Any = X, seconds: float | None = None) -> Told:
        """Asks over HTTP, and sees that the answer comes in the time given."""
        began = time.monotonic()
        status, answer = self._infer(pipeline, request_to_json(_request(child, x, seconds)))
        _check_time(began, seconds)
        if status != 200:
            assert b"Traceback" not in answer
            return Told(status, json.loads(answer)["error"])
        response = response_from_json(answer)
        return Told(200, "", decode_results(None, response.tensors, response.content_type))

    def ask_over_grpc(
        self, pipeline: str, child: str, x: Any = X, seconds: float | None = None
    ) -> Told:
        """Asks over gRPC."""
        infer = GRPCInferenceServiceStub(self._channel).ModelInfer
        began = time.monotonic()
        try:
            answer = infer(request_to_proto(_request(child, x, seconds), pipeline, None))
        except RpcError as error:
            _check_time(began, seconds)
            return Told(error.code().name, error.details() or "")
        response = response_from_proto(answer)
        return Told("OK", "", decode_results(None, response.tensors, response.content_type))

    def ask_many(self, count: int, pipeline: str, child: str, x: Any = X) -> list[Told]:
        """Asks so many times at once."""
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self.ask(pipeline, child, x), range(count)))

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        text = httpx.get(self.server.metrics, timeout=120, trust_env=False).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def check_nothing_is_left(self, idle: int) -> None:
        """Waits until no call is at work, and no more tasks and threads are there than at first.

        Args:
            idle: How many HTTP connections to children may stay, for the next calls.
        """
        for name in ("tempo_pipeline_requests_in_flight", "tempo_child_calls_in_flight"):
            until(lambda name=name: self.metric(name) == 0, lambda name=name: f"{name} is not 0")
        until(
            lambda: self._census() == self._before,
            lambda: {kind: names - self._before[kind] for kind, names in self._census().items()},
        )
        for ports, count in ((self._http_ports, idle), (self._grpc_ports, _CHANNELS)):
            until(
                lambda ports=ports, count=count: len(self._connections(ports)) <= count,
                lambda ports=ports: self._connections(ports),
            )

    def _census(self) -> dict[str, Counter[str]]:
        _, found = self._infer("census", b'{"inputs": []}')
        response = response_from_json(found)
        named = decode_results(None, response.tensors, response.content_type)
        return {kind: Counter(names) for kind, names in named.items()}

    def _infer(self, pipeline: str, body: bytes) -> tuple[int, bytes]:
        # A connection for each request: hundreds of threads ask at once, and where they share
        # httpx's pool one may close the socket that another reads (EBADF).
        connection = HTTPConnection(urlsplit(self.server.url).netloc, timeout=120)
        with closing(connection):
            connection.request(
                "POST",
                f"/v2/models/{pipeline}/infer",
                body,
                {"content-type": "application/json"},
            )
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _connections(self, ports: set[int]) -> list[Any]:
        process = psutil.Process(self.server.process.pid)
        return [
            found
            for found in process.net_connections("tcp")
            if found.raddr and found.raddr.port in ports
        ]


def _ports(urls: Iterable[str]) -> set[int]:
    return {int(url.rpartition(":")[2]) for url in urls}


def _request(child: str, x: Any, seconds: float | None) -> Request:
    tensors = encode_arguments(None, (), {"child": child, "x": x})
    # As text: gRPC's parameters hold no floats.
    parameters = {} if seconds is None else {"tempo_timeout": str(seconds)}
    return Request(tensors, [], parameters)


def _check_time(began: float, seconds: float | None) -> None:
    took = time.monotonic() - began
    assert seconds is None or took < seconds + SLACK, f"{took:.1f} s, and {seconds:g} s were given"


def until(holds: Callable[[], bool], told: Any) -> None:
    """Waits until something holds.

    Args:
        holds: Whether it does.
        told: What to say if it does not in time; or a function that says it.
    """
    end = time.monotonic() + SLACK
    while not holds():
        assert time.monotonic() < end, told() if callable(told) else told
        time.sleep(0.02)
