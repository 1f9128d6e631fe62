"""Requests in progress are answered while a deployment changes or ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tempo_runtime import LocalOptions, RemoteModel, deploy_local
from tempo_runtime.deploy.local import find
from tests.deploy.conftest import eventually
from tests.deploy.local.redeployed import ASKED, Studio

pytestmark = [pytest.mark.slow, pytest.mark.traced]


@pytest.fixture
def asking() -> Any:
    """Asks a pipeline to take its time, and returns when it has begun to."""
    with ThreadPoolExecutor() as threads:

        def ask(remote: RemoteModel, seconds: float) -> Future[Any]:
            answer = threads.submit(remote.predict, seconds=seconds)
            assert eventually(lambda: ASKED in remote.logs(remote.details.name), 30)
            return answer

        yield ask


Asking = Callable[[RemoteModel, float], "Future[Any]"]


def test_undeploying_ends_a_child_after_the_pipeline_that_is_about_to_call_it(
    studio: Studio, options: LocalOptions, asking: Asking
) -> None:
    with deploy_local(studio.late(), options) as remote:
        answer = asking(remote, 3.0)
        remote.undeploy()
        assert answer.result() == "called: 2"


def test_a_child_that_is_dropped_still_answers_the_pipeline_that_leaves(
    studio: Studio, options: LocalOptions, asking: Asking
) -> None:
    with deploy_local(studio.late(), options) as remote:
        answer = asking(remote, 5.0)
        again = deploy_local(studio.late(calls=False), options)
        assert again.predict() == "not called"
        assert [model.name for model in again.status()] == ["late"]
        assert answer.result() == "called: 2"


def test_undeploying_answers_a_long_call_over_grpc(
    studio: Studio, options: LocalOptions, asking: Asking
) -> None:
    chosen = options.model_copy(update={"transport": "grpc"})
    with deploy_local(studio.alone("first"), chosen) as remote:
        answer = asking(remote, 7.0)  # MLServer by itself gives a call 5 s
        remote.undeploy()
        assert answer.result() == "first"


def test_after_a_redeploy_a_kept_connection_leads_to_the_new_server(
    studio: Studio, options: LocalOptions
) -> None:
    with deploy_local(studio.alone("first"), options) as remote, httpx.Client() as kept:
        assert said(kept, remote) == "first"
        for _ in range(3):
            with suppress(httpx.TimeoutException):
                said(httpx, remote, seconds=4.0, timeout=0.2)
        deploy_local(studio.alone("second"), options)
        assert said(kept, remote) == "second"


def test_an_interrupt_while_the_old_server_leaves_keeps_the_new_one(
    studio: Studio, options: LocalOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with deploy_local(studio.alone("first"), options) as remote, httpx.Client() as kept:
            said(kept, remote)  # an unused connection, which the old server waits for
            thread = threading.Thread(target=interrupt_once_replaced, args=[place()])
            thread.start()

            def replace() -> None:
                deploy_local(studio.alone("second"), options)
                thread.join()  # a late interrupt is for this test as well, and not for the run

            with pytest.raises(KeyboardInterrupt):
                replace()
            assert remote.predict() == "second"
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt_once_replaced(before: str) -> None:
    assert eventually(lambda: place() != before, 30)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def place() -> str:
    (deployment,) = find.find("alone")
    return deployment.models()[0].place


def said(client: Any, remote: RemoteModel, seconds: float = 0.0, timeout: float = 30.0) -> str:
    tensor = {"name": "seconds", "shape": [1], "datatype": "FP64", "data": [seconds]}
    url = f"{remote.endpoint}/infer"
    answer = client.post(url, json={"inputs": [tensor]}, timeout=timeout)
    return str(answer.json()["outputs"][0]["data"][0])
