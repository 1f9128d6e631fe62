"""A real child that is killed, and comes back on the same port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from tempo_runtime.testing import Server
from tests.integration.faults.asker import Asker, Told, X, until

BOTH = [("ask", "http"), ("ask-async", "grpc")]  # each restart takes seconds
WELL = Told(200, "", X * 2)


@contextmanager
def asking(
    asker: Asker, pipeline: str, waiter: str, path: Path, **options: float
) -> Iterator[Future[Told]]:
    """A request that its child works on until there is the file, from within its work on."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(asker.ask, pipeline, waiter, str(path), **options)
        until(Path(f"{path}.called").exists, "the child was not called")
        yield asked


@pytest.mark.parametrize(("pipeline", "transport"), BOTH)
def test_a_request_whose_child_is_killed_is_answered_once_it_is_back(
    pipeline: str, transport: str, child: Server, asker: Asker, tmp_path: Path
) -> None:
    path = tmp_path / "gate"
    with asking(asker, pipeline, f"waiter_{transport}", path) as asked:
        child.kill()
        path.touch()
        child.restart()
        assert asked.result() == Told(200, "", "done")


@pytest.mark.parametrize(("pipeline", "transport"), BOTH)
def test_a_request_whose_child_is_killed_and_stays_away_fails_with_its_name(
    pipeline: str, transport: str, child: Server, asker: Asker, tmp_path: Path
) -> None:
    waiter = f"waiter_{transport}"
    with asking(asker, pipeline, waiter, tmp_path / "gate", seconds=4) as asked:
        child.kill()
        told = asked.result()
    assert told.status == 503
    assert "child 'waiter' cannot be reached at" in told.text
    assert (child.url if transport == "http" else child.grpc) in told.text
    child.restart()
    assert asker.ask(pipeline, f"double_{transport}") == WELL


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_request_is_answered_by_a_server_whose_model_is_still_loading(
    transport: str, child: Server, gate: Path, asker: Asker
) -> None:
    gate.unlink()
    restarting = threading.Thread(target=child.restart)
    restarting.start()
    try:
        until(lambda: _says(child, "gated") == 400, "the server does not say that it is loading")
        before = asker.metric("tempo_child_retries_total", child=f"gated_{transport}")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(asker.ask, "ask", f"gated_{transport}")
            until(
                lambda: (
                    asker.metric("tempo_child_retries_total", child=f"gated_{transport}")
                    >= before + 3
                ),
                "the child was not asked again",
            )
            gate.touch()
            assert asked.result() == WELL
    finally:
        gate.touch()
        restarting.join()


@pytest.mark.parametrize(("pipeline", "transport"), [("ask", "grpc"), ("ask-async", "http")])
def test_200_requests_at_once_outlast_a_restart(
    pipeline: str, transport: str, child: Server, asker: Asker
) -> None:
    with ThreadPoolExecutor(200) as pool:
        numbers = [np.array([float(number)]) for number in range(200)]
        calls = [pool.submit(asker.ask, pipeline, f"double_{transport}", x) for x in numbers]
        child.restart()
        assert [call.result() for call in calls] == [Told(200, "", x * 2) for x in numbers]


def _says(child: Server, model: str) -> int:
    try:
        return httpx.get(f"{child.url}/v2/models/{model}/ready", trust_env=False).status_code
    except httpx.TransportError:
        return 0
