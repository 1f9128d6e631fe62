"""10,000 requests, and a child that is killed 20 times."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from tempo_runtime.testing import Server
from tests.integration.faults.asker import Asker

_REQUESTS = 10_000
_RESTARTS = 20
_CLIENTS = 32
# Each of them is met by some of the requests.
_WAYS = [
    (pipeline, f"double_{transport}")
    for pipeline in ("ask", "ask-async")
    for transport in ("http", "grpc")
]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_request_is_lost(child: Server, asker: Asker) -> None:
    numbers = iter(range(_REQUESTS))
    answers: list[str] = []
    news = threading.Condition()
    not_yet: set[int] = set()  # clients without an answer since the child's last restart

    def client(which: int) -> None:
        pipeline, alias = _WAYS[which % len(_WAYS)]
        with closing(HTTPConnection(urlsplit(asker.server.url).netloc, timeout=120)) as connection:
            while (number := next(numbers, None)) is not None:
                answer = _ask(connection, pipeline, alias, number)
                with news:
                    answers.append(answer)
                    not_yet.discard(which)
                    news.notify()

    def may_restart(count: int) -> bool:
        # No request meets more restarts than it has retries.
        return not not_yet and len(answers) >= count * _REQUESTS // (_RESTARTS + 1)

    with ThreadPoolExecutor(_CLIENTS) as pool:
        clients = [pool.submit(client, which) for which in range(_CLIENTS)]
        for restart in range(1, _RESTARTS + 1):
            with news:
                assert news.wait_for(lambda count=restart: may_restart(count), timeout=120)
            child.restart()
            with news:
                not_yet.update(range(_CLIENTS))
        for each in clients:
            each.result()
    assert [answer for answer in answers if answer] == []
    assert len(answers) == _REQUESTS


def _ask(connection: HTTPConnection, pipeline: str, alias: str, number: int) -> str:
    """What is wrong with the answer; nothing, if it is the number's double."""
    tensors = [
        {"name": "child", "shape": [1], "datatype": "BYTES", "data": [alias]},
        {"name": "x", "shape": [1], "datatype": "FP64", "data": [number]},
    ]
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
