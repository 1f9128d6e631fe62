"""More requests than a pipeline takes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tempo_runtime import save
from tempo_runtime.testing import Answer, FakeModel, Hang, Server, serve
from tests.helpers import pipelines

pytestmark = pytest.mark.traced


@pytest.fixture
def fake() -> Iterator[FakeModel]:
    with FakeModel("double") as fake:
        yield fake


@pytest.fixture(params=[pipelines.SyncParent, pipelines.async_parent], ids=["sync", "async"])
def server(request: pytest.FixtureRequest, tmp_path: Path, fake: FakeModel) -> Iterator[Server]:
    save(request.param, str(tmp_path / "parent"))
    env = {
        "TEMPO_RUNTIME_BASE_URL": fake.url,
        "TEMPO_RUNTIME_MAX_CONCURRENCY": "2",
        "TEMPO_RUNTIME_MAX_QUEUE": "1",
    }
    with serve(tmp_path, env=env) as server:
        yield server


def ask(server: Server) -> httpx.Response:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1]}
    return server.post(server.models[0], {"inputs": [tensor]})


def test_a_request_beyond_the_queue_is_turned_away_and_told_when_to_come_back(
    server: Server, fake: FakeModel
) -> None:
    gate = Hang(then=Answer(np.array([2.0])))
    fake.answer = gate
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, server) for _ in range(3)]
        while True:
            answer = ask(server) if _in_flight(server) == 3 else None
            if answer is not None:
                break
        gate.release()
        assert [each.result().status_code for each in waiting] == [200, 200, 200]
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "raise `max_concurrency` or `max_queue`" in answer.json()["error"]
    assert ask(server).status_code == 200


def _in_flight(server: Server) -> float:
    for line in server.http.get(server.metrics).text.splitlines():
        if line.startswith("tempo_pipeline_requests_in_flight{"):
            return float(line.split()[-1])
    return 0
