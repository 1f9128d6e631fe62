"""Deploying again: what has not changed goes on, and the rest is replaced without a failed request."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import psutil
import pytest

from tempo_runtime import DeploymentFailed, LocalOptions, RemoteModel, deploy_local, save
from tempo_runtime._util.http_request import request
from tempo_runtime.deploy.local import find
from tests.deploy.local.redeployed import Studio

X = np.array([[1.0]])
_REQUEST = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [1.0]}]}
_PERIOD = 1 / 50  # seconds


def places(remote: RemoteModel) -> dict[str, str]:
    return {model.name: model.place for model in remote.status()}


@contextlib.contextmanager
def load(ask: Callable[[], float]) -> Iterator[Counter[object]]:
    """Asks 50 times a second for the block; counts the answers, and the errors."""
    answers: Counter[object] = Counter()
    ended = threading.Event()

    def asking() -> None:
        due = time.monotonic()
        while not ended.is_set():
            try:
                answers[ask()] += 1
            except Exception as error:
                answers[f"{type(error).__name__}: {error}"] += 1
            due += _PERIOD
            ended.wait(max(0.0, due - time.monotonic()))

    thread = threading.Thread(target=asking)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()


def asked(url: str, client: httpx.Client) -> float:
    answer = client.post(f"{url}/infer", json=_REQUEST)
    answer.raise_for_status()
    return float(answer.json()["outputs"][0]["data"][0])


def asked_anew(url: str) -> float:
    """Asks over a separate connection."""
    body = json.dumps(_REQUEST).encode()
    answer = request(f"{url}/infer", 60, body=body, headers={"content-type": "application/json"})
    assert answer.status == 200, answer.body
    return float(json.loads(answer.body)["outputs"][0]["data"][0])


def test_a_changed_child_is_replaced_and_its_pipeline_continues(
    studio: Studio, options: LocalOptions
) -> None:
    plus = studio.plus(1.0)
    with deploy_local(plus, options) as remote:
        before = places(remote)
        assert remote.predict(X) == [3.0]
        studio.train(10.0)
        deploy_local(plus, options)
        after = places(remote)
        assert after["plus"] == before["plus"]
        assert after["line"] != before["line"]
        assert remote.predict(X) == [11.0]


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_no_request_is_lost_while_everything_is_replaced(
    studio: Studio, options: LocalOptions, transport: str
) -> None:
    chosen = options.model_copy(update={"transport": transport})
    with deploy_local(studio.plus(1.0), chosen) as remote:
        url = f"{remote.deployment.main().url}/v2/models/plus"
        with (
            httpx.Client(timeout=60) as kept,
            load(lambda: float(remote.predict(X)[0])) as by_us,
            load(lambda: asked(url, kept)) as over_kept,
            load(lambda: asked_anew(url)) as over_new,
        ):
            studio.train(10.0)
            again = deploy_local(studio.plus(5.0), chosen)
            assert again.predict(X) == [15.0]
            left_to = [psutil.Process(each.process.pid) for each in _record(remote).leaving]
            psutil.wait_procs(left_to, timeout=60)
            assert not any(each.is_running() for each in left_to) or _zombies(left_to)
    for answers in (by_us, over_kept, over_new):
        # A pipeline is replaced before or after its child.
        assert set(answers) <= {3.0, 11.0, 7.0, 15.0}, answers
        assert {3.0, 15.0} <= set(answers)


def test_a_request_that_runs_is_answered_by_the_server_that_has_it(
    studio: Studio, options: LocalOptions
) -> None:
    with deploy_local(studio.alone("first"), options) as remote:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(remote.predict(seconds=6.0)))
        thread.start()
        deploy_local(studio.alone("second"), options)
        assert remote.predict() == "second"
        thread.join()
        assert answers == ["first"]


def test_the_previous_servers_continue_if_a_new_one_fails(
    studio: Studio, options: LocalOptions
) -> None:
    with deploy_local(studio.alone("first"), options) as remote:
        before = places(remote)
        with pytest.raises(
            DeploymentFailed,
            match=r"alone failed: .*the moon is in the wrong place at .*; the previous servers still run",
        ):
            deploy_local(studio.alone(fails=True), options)
        assert places(remote) == before
        assert remote.predict() == "first"


def test_a_server_that_died_is_started_again(studio: Studio, options: LocalOptions) -> None:
    alone = studio.alone("first")
    with deploy_local(alone, options) as remote:
        (server,) = _record(remote).servers
        os.kill(server.process.pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(server.process.pid)], timeout=60)
        (model,) = remote.status()
        assert model.state == "ended"
        deploy_local(alone, options)
        assert remote.predict() == "first"


def test_a_detached_deployment_is_replaced_by_another_deployer(
    studio: Studio, options: LocalOptions
) -> None:
    chosen = options.model_copy(update={"detached": True})
    try:
        first = deploy_local(studio.alone("first"), chosen)
        second = deploy_local(studio.alone("second"), chosen)
        assert second.endpoint == first.endpoint
        assert second.predict() == "second"
        assert len(list(find.find("alone"))) == 1
    finally:
        for each in find.find("alone"):
            each.undeploy()


def test_a_model_that_is_no_longer_called_is_stopped(studio: Studio, options: LocalOptions) -> None:
    word, says = studio.saying("one")
    save(word)
    save(says)
    with deploy_local(says, options) as remote:
        assert sorted(places(remote)) == ["says", "word"]
        deploy_local(studio.alone(), options.model_copy(update={"name": "says"}))
        assert list(places(remote)) == ["alone"]


def _record(remote: RemoteModel):  # type: ignore[no-untyped-def]
    return remote.deployment._current()  # type: ignore[attr-defined]


def _zombies(processes: list[psutil.Process]) -> bool:
    return all(each.status() == psutil.STATUS_ZOMBIE for each in processes if each.is_running())
