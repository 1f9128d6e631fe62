"""Calls that hang, in real servers: readiness, and the end of the process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tempo_runtime import save
from tempo_runtime.testing import Server, serve
from tests.helpers import hanging_pipelines

pytestmark = pytest.mark.traced

LIMITS = {
    "TEMPO_RUNTIME_TIMEOUT": "0.5",
    "TEMPO_RUNTIME_MAX_CONCURRENCY": "2",
    "TEMPO_RUNTIME_SPARE_THREADS": "1",
    "TEMPO_RUNTIME_DRAIN_TIMEOUT": "2",
}


def ask(server: Server, model: str, path: str) -> httpx.Response:
    tensor = {"name": "path", "datatype": "BYTES", "shape": [1], "data": [path]}
    return server.post(model, {"inputs": [tensor]})


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def hung(server: Server) -> float:
    lines = server.http.get(server.metrics).text.splitlines()
    return sum(float(x.split()[-1]) for x in lines if x.startswith("tempo_pipeline_threads_hung{"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pipeline_whose_threads_hang_is_not_ready_until_they_return_and_its_server_ends(
    workers: int, tmp_path: Path
) -> None:
    save(hanging_pipelines.hang, str(tmp_path / "hang"))
    gate = tmp_path / "gate"
    settings = {"parallel_workers": workers}
    with serve(tmp_path / "hang", settings=settings, env=LIMITS, timeout=120) as server:

        def ready() -> bool:
            answers = [server.http.get(f"/v2/{of}/ready") for of in ("models/hang", "health")]
            return all(answer.status_code == 200 for answer in answers)

        def hang(times: int) -> None:
            with ThreadPoolExecutor(times) as pool:
                list(pool.map(lambda _: ask(server, "hang", str(gate)), range(times)))

        until(ready)
        hang(1)
        # It is replaced.
        assert hung(server) == 1
        assert ready()
        assert ask(server, "hang", "").status_code == 200
        until(lambda: hang(4) or not ready())  # type: ignore[func-returns-value]
        assert hung(server) >= 3
        log = server.log()
        assert "pipeline 'hang' is not ready: 3 calls hang after their requests have ended" in log
        assert "one is at " in log
        assert "hanging_pipelines.py:" in log
        gate.touch()
        until(ready)
        assert "pipeline 'hang' is ready again" in server.log()
        until(lambda: hung(server) == 0)
        assert ask(server, "hang", str(gate)).status_code == 200
        gate.unlink()
        hang(2)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)
        assert time.monotonic() - begin < 30


def test_a_server_whose_loop_hangs_ends_in_time(tmp_path: Path) -> None:
    save(hanging_pipelines.block, str(tmp_path / "block"))
    gate = tmp_path / "gate"
    with serve(tmp_path / "block", env=LIMITS) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(ask, server, "block", str(gate))
        until(Path(f"{gate}.called").exists)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 128 + signal.SIGTERM
        assert "the server did not end within 2 s after the signal" in server.log()
