"""Deploying again: what has not changed goes on, and the rest is replaced without a failed request."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tempo_runtime import DeploymentFailed, DockerOptions, deploy_local
from tests.containers.deploy.conftest import Readable
from tests.containers.running import readable
from tests.deploy.conftest import eventually
from tests.deploy.local.redeployed import ASKED
from tests.deploy.local.test_rolling import load, places

pytestmark = pytest.mark.slow
X = np.array([[1.0]])


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_no_request_is_lost_while_all_is_replaced(
    studio: Readable, options: DockerOptions, transport: str
) -> None:
    env = {"TEMPO_RUNTIME_TRANSPORT": transport}
    chosen = options.model_copy(update={"transport": transport, "env": env})
    plus = studio.plus(1.0)
    with deploy_local(plus, chosen) as remote:
        first = places(remote)
        with load(lambda: float(remote.predict(X)[0])) as answers:
            deploy_local(plus, chosen)
            assert places(remote) == first  # nothing has changed
            studio.train(10.0)
            plus = studio.plus(5.0)
            deploy_local(plus, chosen)
            assert remote.predict(X) == [15.0]
            second = places(remote)
            studio.train(20.0)
            readable(studio.folder)
            deploy_local(plus, chosen)
            assert remote.predict(X) == [25.0]
            third = places(remote)
    assert {*first.values()}.isdisjoint(second.values())
    assert third["plus"] == second["plus"]  # only its child has changed
    assert third["line"] not in (first["line"], second["line"])
    # A pipeline is replaced before or after its child.
    assert set(answers) <= {3.0, 11.0, 7.0, 15.0, 25.0}, answers
    assert {3.0, 15.0, 25.0} <= set(answers)


def test_the_old_container_goes_on_and_answers_its_requests_if_the_new_one_fails(
    studio: Readable, options: DockerOptions
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with deploy_local(studio.alone("first"), options) as remote:
        before = places(remote)
        with pytest.raises(
            DeploymentFailed, match=r"wrong place at .*; the previous servers still run"
        ):
            deploy_local(studio.alone(fails=True), options)
        assert places(remote) == before
        answers = []
        thread = threading.Thread(target=lambda: answers.append(remote.predict(seconds=6.0)))
        thread.start()
        # A port that is asked for is the new one's.
        deploy_local(studio.alone("second"), options.model_copy(update={"port": port}))
        assert remote.predict() == "second"
        assert remote.endpoint == f"http://127.0.0.1:{port}/v2/models/alone"
        thread.join()
        assert answers == ["first"]
        # It can have the port once only, and so ends before the next starts.
        chosen = options.model_copy(update={"port": port})
        with pytest.raises(DeploymentFailed, match="the previous servers still run"):
            deploy_local(studio.alone(fails=True), chosen)
        assert remote.predict() == "second"
        deploy_local(studio.alone("third"), chosen)
        assert remote.predict() == "third"


def test_a_child_answers_until_the_pipelines_that_call_it_have_ended(
    studio: Readable, options: DockerOptions
) -> None:
    def asking() -> Future[Any]:
        answer = threads.submit(remote.predict, seconds=4.0)
        assert eventually(lambda: ASKED in remote.logs("late"), 30)
        return answer

    with ThreadPoolExecutor() as threads, deploy_local(studio.late(), options) as remote:
        answer = asking()
        deploy_local(studio.late(calls=False), options)
        assert list(places(remote)) == ["late"]
        assert answer.result() == "called: 2"
        deploy_local(studio.late(), options)
        answer = asking()
        remote.undeploy()
        assert answer.result() == "called: 2"


def test_a_container_that_died_is_started_again(
    studio: Readable, options: DockerOptions, engine: Any
) -> None:
    alone = studio.alone("first")
    with deploy_local(alone, options) as remote:
        ((_, place),) = places(remote).items()
        engine.containers.get(place.removeprefix("container ")).kill()
        assert eventually(lambda: [each.state for each in remote.status()] == ["ended"], 30)
        deploy_local(alone, options)
        assert remote.predict() == "first"
