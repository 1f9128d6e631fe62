"""Streams of a real MLServer over each route, with and without a parallel worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from tempo_runtime import save
from tempo_runtime.testing import Server, serve
from tests.helpers import streaming_pipelines
from tests.helpers.waiting import wait_until

Event = int | dict[str, Any]  # an item, or an error
Opened = Callable[..., AbstractContextManager[Iterator[Event]]]
UNZIPPED = {"accept-encoding": "identity"}  # MLServer would keep small items back to compress them


def as_text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


@contextmanager
def over_v2(server: Server, name: str, **arguments: Any) -> Iterator[Iterator[Event]]:
    body = {"inputs": [], "parameters": {key: as_text(value) for key, value in arguments.items()}}
    url = f"{server.url}/v2/models/{name}/infer_stream"
    with httpx.stream("POST", url, json=body, headers=UNZIPPED, timeout=60) as answer:
        lines = (json.loads(line[6:]) for line in answer.iter_lines() if line)
        yield (
            event["outputs"][0]["data"][0] if event["outputs"] else event["parameters"]
            for event in lines
        )


@contextmanager
def over_plain_json(server: Server, name: str, **arguments: Any) -> Iterator[Iterator[Event]]:
    url = f"{server.url}/v2/models/{name}/predict_stream"
    with httpx.stream("POST", url, json=arguments, headers=UNZIPPED, timeout=60) as answer:
        lines = answer.iter_lines()
        yield (json.loads(line[6:]) for line in lines if line.startswith("data: "))


@contextmanager
def over_grpc(server: Server, name: str, **arguments: Any) -> Iterator[Iterator[Event]]:
    message = pb.ModelInferRequest(model_name=name)
    for key, value in arguments.items():
        if isinstance(value, int):
            message.parameters[key].int64_param = value
        else:
            message.parameters[key].string_param = as_text(value)

    def events(answers: Any) -> Iterator[Event]:
        try:
            for answer in answers:
                yield answer.outputs[0].contents.int64_contents[0]
        except grpc.RpcError as error:
            yield {"error": error.details()}

    with grpc.insecure_channel(server.grpc) as channel:
        answers = GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([message]))
        yield events(answers)
        answers.cancel()


@pytest.fixture(scope="module", params=[0, 1], ids=["no workers", "a worker"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    for target in streaming_pipelines.ALL:
        save(target, str(root / target.details.name))
    with serve(root, settings={"parallel_workers": request.param}, timeout=120) as server:
        server.workers = request.param  # type: ignore[attr-defined]
        yield server
        log = server.log()
    for noise in ("different Context", "never retrieved", "loop crashed", "CancelledError"):
        assert noise not in log


@pytest.fixture(params=[over_v2, over_plain_json, over_grpc])
def opened(request: pytest.FixtureRequest) -> Opened:
    route: Opened = request.param
    return route


def test_an_item_arrives_before_the_next_is_computed(
    server: Server, opened: Opened, tmp_path: Path
) -> None:
    gates = [tmp_path / "first", tmp_path / "second"]
    with opened(server, "steps", gates=list(map(str, gates))) as events:
        for gate in gates:
            assert isinstance(next(events), int)
            gate.touch()
        assert list(events) == []


def test_an_error_comes_after_all_items_before_it(server: Server, opened: Opened) -> None:
    with opened(server, "until", fails_at=40) as events:
        *items, error = events
    assert items == list(range(40))
    assert isinstance(error, dict)
    assert "ValueError: no 40" in error["error"]
    assert error.get("status", 500) == 500


@pytest.mark.parametrize("name", ["endless", "endless-async"])
def test_a_stream_that_never_waits_ends_when_its_client_leaves(
    name: str, server: Server, opened: Opened, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    with opened(server, name, end=str(end)) as events:
        assert [next(events) for _ in range(50)] == [1] * 50
        assert not end.exists()
    wait_until(end.exists)


def test_a_client_that_leaves_while_a_stream_waits_is_not_an_error(
    server: Server, opened: Opened, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with opened(server, "steps", gates=[str(gate)]) as events:
        assert isinstance(next(events), int)
    gate.touch()
    answer = server.http.post("/v2/models/steps/predict", json={"gates": [str(gate)]})
    assert answer.status_code == 200  # and the log, which is read at the end, has no error


@pytest.mark.parametrize("name", ["endless", "endless-async"])
def test_a_stream_asked_for_one_answer_ends_at_the_deadline(
    name: str, server: Server, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    body = {"inputs": [], "parameters": {"end": str(end), "tempo_timeout": 0.3}}
    while not Path(f"{end}.begun").exists():  # on a busy machine the deadline may come first
        assert server.post(name, body).status_code == 504
    wait_until(end.exists)


def test_a_stream_whose_worker_dies_ends_with_an_error(server: Server, tmp_path: Path) -> None:
    if not server.workers:  # type: ignore[attr-defined]
        pytest.skip("this server has no workers")
    gate = tmp_path / "gate"
    with over_plain_json(server, "steps", gates=[str(gate)]) as events:
        process = next(events)
        assert isinstance(process, int)
        os.kill(process, signal.SIGKILL)
        [error] = events
    assert isinstance(error, dict)
    assert error["status"] == 500
    assert "stopped unexpectedly" in error["error"]
    gate.touch()
    statuses = set()

    def answers() -> bool:
        ready = server.http.get("/v2/models/steps/ready").status_code
        response = server.http.post("/v2/models/steps/predict", json={"gates": [str(gate)]})
        if response.status_code == 200:
            return bool(response.json() != process)
        statuses.add((ready, response.status_code, response.json()["tempo"]["kind"]))
        return False

    wait_until(answers)
    assert statuses == {(400, 503, "NotReady")}
