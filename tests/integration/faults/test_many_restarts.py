"""10,000 requests, and a child that is killed 20 times."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from tempo_runtime.testing import Server
from tests.integration.faults.asker import Asker

_RESTARTS = 20
_REQUESTS = 500  # for each restart
_CLIENTS = 32
_WAYS = [
    (pipeline, f"double_{transport}")
    for pipeline in ("ask", "ask-async")
    for transport in ("http", "grpc")
]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_request_is_lost(child: Server, asker: Asker) -> None:
    server = urlsplit(asker.server.url).netloc
    with ThreadPoolExecutor(_CLIENTS) as pool:
        for restart in range(_RESTARTS):
            numbers = range(restart * _REQUESTS, (restart + 1) * _REQUESTS)
            asked = [pool.submit(_ask, server, number) for number in numbers]
            asked[_REQUESTS // 2].result()
            child.restart()  # while the other half is sent
            assert [told for each in asked if (told := each.result())] == []


def _ask(server: str, number: int) -> str:
    """Return the fault of the answer; empty if it is the number's double."""
    pipeline, alias = _WAYS[number % len(_WAYS)]
    tensors = [
        {"name": "child", "shape": [1], "datatype": "BYTES", "data": [alias]},
        {"name": "x", "shape": [1], "datatype": "FP64", "data": [number]},
    ]
    # A client that costs little: the tests, the server and its child share two processors.
    with closing(HTTPConnection(server, timeout=120)) as connection:
        connection.request(
            "POST",
            f"/v2/models/{pipeline}/infer",
            json.dumps({"inputs": tensors}),
            {"content-type": "application/json"},
        )
        answer = connection.getresponse()
        body = answer.read()
    right = answer.status == 200 and json.loads(body)["outputs"][0]["data"] == [number * 2]
    return "" if right else f"{number} over {alias}: {answer.status} {body.decode()}"
