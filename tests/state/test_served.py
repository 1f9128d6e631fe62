"""The state of pipelines that a server serves: shared by its workers, and away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import load, save
from tempo_runtime.testing import Server, ServerFailed, serve
from tests.helpers.redis_server import RedisServer, needs_redis
from tests.helpers.stateful_pipelines import AsyncLedger, Branch, Ledger, counted
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.traced, needs_redis]
PASSWORD = "correct-horse-7"
MODELS = ("ledger", "async-ledger")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stateful")
    for target, name in ((Ledger, "ledger"), (AsyncLedger, "async-ledger"), (counted, "counted")):
        save(target, str(root / name))
    return root


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(folder, "--requirepass", PASSWORD)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def server(models: Path, redis: RedisServer) -> Iterator[Server]:
    env = {"TEMPO_RUNTIME_STATE__URL": redis.url, "TEMPO_RUNTIME_STATE__PASSWORD": PASSWORD}
    with serve(models, settings={"parallel_workers": 2}, env=env, timeout=120) as server:
        yield server


def ask(server: Server, model: str, timeout: float | None = None, **values: Any) -> Any:
    parameters: dict[str, Any] = {} if timeout is None else {"tempo_timeout": timeout}
    inputs = [
        {
            "name": name,
            "shape": [1],
            "datatype": "BYTES" if isinstance(value, str) else "FP64",
            "data": [value],
        }
        for name, value in values.items()
    ]
    return server.post(model, {"inputs": inputs, "parameters": parameters})


def status_of(server: Server, path: str) -> int:
    return server.http.get(f"/v2/{path}").status_code


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("step", ["count", "append"])
def test_two_workers_lose_no_update(server: Server, model: str, step: str) -> None:
    key = f"{step}-{model}"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.infer(model, step, key), range(100)))
    assert sorted(answers) == list(range(1, 101))


def test_a_state_outlives_the_server_and_has_the_namespace_of_its_pipeline(
    server: Server, redis: RedisServer
) -> None:
    server.infer("ledger", "count", "kept", 7.0)
    server.restart()
    assert server.infer("ledger", "get", "kept") == 7
    assert server.infer("async-ledger", "get", "kept") is None


@pytest.mark.parametrize(("away", "back"), [("hang", "go_on"), ("kill", "start")])
def test_a_request_is_refused_within_its_deadline_while_redis_is_away(
    server: Server, redis: RedisServer, away: str, back: str
) -> None:
    getattr(redis, away)()
    try:
        for model in MODELS:
            for timeout in (0.5, None):
                answer = ask(server, model, timeout, step="count")
                assert answer.status_code == 503
                assert answer.headers["retry-after"]
                error = answer.json()["error"]
                assert f"the state at {redis.url} is not available" in error
                assert "start that Redis, or correct TEMPO_RUNTIME_STATE__URL" in error
                assert PASSWORD not in answer.text
        assert status_of(server, "health/live") == 200
        assert status_of(server, "models/ledger/ready") == 200
        wait_until(lambda: status_of(server, "models/counted/ready") != 200)
        assert status_of(server, "health/ready") != 200
        assert ask(server, "counted", by=1.0).status_code == 503
    finally:
        getattr(redis, back)()
    wait_until(lambda: status_of(server, "models/counted/ready") == 200)
    wait_until(lambda: ask(server, "ledger", step="get").status_code == 200)


def test_a_call_waits_for_a_redis_that_comes_back_in_time(
    server: Server, redis: RedisServer
) -> None:
    before = server.infer("ledger", "count", "restarted", 1.0)
    redis.kill()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, server, "ledger", 30.0, step="get", key="restarted")
        redis.start()
        assert answer.result().status_code in (200, 503)
    wait_until(lambda: ask(server, "ledger", step="get").status_code == 200)
    assert server.infer("ledger", "get", "restarted") == before


def test_the_password_is_nowhere(server: Server, models: Path) -> None:
    assert PASSWORD not in server.log()
    files = [file for file in models.rglob("*") if file.is_file()]
    assert not [file for file in files if PASSWORD.encode() in file.read_bytes()]


def test_calls_are_counted_in_the_metrics(server: Server) -> None:
    server.infer("ledger", "count", "measured")
    text = server.http.get(server.metrics).text
    pattern = r'tempo_state_calls_total\{[^}]*operation="incr"[^}]*outcome="ok"[^}]*\} [1-9]'
    assert re.search(pattern, text)
    assert 'tempo_state_calls_seconds_count{operation="incr",pipeline="ledger"}' in text


def test_a_call_that_is_not_awaited_in_an_async_pipeline_is_refused(server: Server) -> None:
    answer = ask(server, "async-ledger", step="not awaited")
    assert answer.status_code == 500
    assert "write `await self.state.aio.get(...)`" in answer.json()["error"]


def test_a_wrong_password_is_named(models: Path, redis: RedisServer) -> None:
    env = {
        "TEMPO_RUNTIME_STATE__URL": redis.url.replace("://", "://:wrong-secret@"),
    }
    with serve(models / "ledger", env=env) as server:
        answer = ask(server, "ledger", step="get")
        assert answer.status_code == 503
        assert "Redis refused the user or the password" in answer.json()["error"]
        assert "TEMPO_RUNTIME_STATE__PASSWORD" in answer.json()["error"]
        assert "wrong-secret" not in answer.text + server.log()


def test_a_state_in_memory_serves_one_process_and_is_refused_in_two_workers(models: Path) -> None:
    with serve(models / "ledger", settings={"parallel_workers": 1}) as server:
        assert [server.infer("ledger", "count") for _ in range(3)] == [1, 2, 3]
    with (
        pytest.raises(
            ServerFailed, match=r"the state of pipeline 'ledger' is in the memory of one"
        ),
        serve(models / "ledger", settings={"parallel_workers": 2}),
    ):
        pass


def test_a_state_in_the_memory_of_a_child_is_refused_in_two_workers(tmp_path: Path) -> None:
    save(Ledger, str(tmp_path / "ledger"))
    save(Branch, str(tmp_path / "branch"))
    env = {"TEMPO_RUNTIME_MODELS__LEDGER__URI": str(tmp_path / "ledger")}
    with serve(tmp_path / "branch", env=env) as server:
        assert [server.infer("branch", "count") for _ in range(2)] == [1, 2]
    with (
        pytest.raises(ServerFailed, match="the state of pipeline 'ledger' is in the memory of one"),
        serve(tmp_path / "branch", settings={"parallel_workers": 2}, env=env),
    ):
        pass


def test_a_loaded_artifact_has_a_state_of_its_own(models: Path) -> None:
    first, second = load(str(models / "ledger")), load(str(models / "ledger"))
    assert first.do("count") == 1
    assert first.do("count") == 2
    assert second.do("count") == 1
