"""Parallel workers: the one with the fewest open requests gets the next."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from mlserver.parallel.dispatcher import AsyncResponses, Dispatcher

from tempo_runtime import save
from tempo_runtime.runtime import dispatch
from tempo_runtime.testing import Server, serve
from tests.helpers import meeting_pipelines
from tests.helpers.waiting import wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("dispatch") / "meet"
    save(meeting_pipelines.meet, str(folder))
    with serve(folder, settings={"parallel_workers": 2}, timeout=120) as running:
        yield running


def ask(server: Server, here: Path | str, other: Path | str) -> httpx.Response:
    texts = {"here": str(here), "other": str(other)}
    inputs = [
        {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]}
        for name, text in texts.items()
    ]
    return server.post("meet", {"inputs": inputs})


def test_requests_that_wait_for_each_other_run_in_two_workers(
    server: Server, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with ThreadPoolExecutor(2) as pool:
        try:
            first = pool.submit(ask, server, one, two)
            wait_until(one.exists)
            # In turn, the worker of the first, which is blocked, would get the request after this one.
            assert ask(server, "", "").status_code == 200
            second = pool.submit(ask, server, two, one)
            answers = [meeting.result(60) for meeting in (first, second)]
        finally:
            one.touch()
            two.touch()
    pids = [answer.json()["outputs"][0]["data"] for answer in answers]
    assert pids[0] != pids[1]


def test_short_requests_are_answered_while_a_long_one_runs(server: Server, tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        try:
            long = pool.submit(ask, server, started, gate)
            wait_until(started.exists)
            answers = [ask(server, "", "") for _ in range(5)]
        finally:
            gate.touch()
        assert long.result(60).status_code == 200
    assert {answer.status_code for answer in answers} == {200}
    pids = {answer.json()["outputs"][0]["data"][0] for answer in answers}
    assert pids.isdisjoint(long.result().json()["outputs"][0]["data"])
    assert len(pids) == 1


def test_both_workers_get_requests_when_none_is_open(server: Server) -> None:
    pids = [ask(server, "", "").json()["outputs"][0]["data"][0] for _ in range(4)]
    assert len(set(pids[:2])) == 2
    assert pids[:2] == pids[2:]


def _dispatcher(ready: list[int], counts: dict[int, int], known: tuple[int, ...]) -> Any:
    responses = SimpleNamespace(_workers_map={pid: range(count) for pid, count in counts.items()})
    workers = {pid: f"worker {pid}" for pid in known}
    return SimpleNamespace(
        _workers=workers, _workers_round_robin=cycle(ready), _async_responses=responses
    )


@pytest.mark.parametrize(
    ("ready", "counts", "expected"),
    [
        ([1, 2, 3], {}, [1, 2, 3, 1]),
        ([1, 2, 3], {1: 1, 2: 1}, [3, 3, 3, 3]),
        ([1, 2, 3], {1: 2, 2: 1, 3: 1}, [2, 2, 3, 2]),
        ([2, 3], {1: 0, 2: 5, 3: 6}, [2, 2]),  # the first is being started
        ([1], {1: 9}, [1, 1]),
    ],
)
def test_workers_with_equally_few_open_requests_take_turns(
    ready: list[int], counts: dict[int, int], expected: list[int]
) -> None:
    dispatcher = _dispatcher(ready, counts, (1, 2, 3) if len(ready) > 1 else (1,))
    assert [dispatch._with_fewest_open(dispatcher)[1] for _ in expected] == expected


@pytest.mark.parametrize("missing", ["method", "record"])
def test_an_unknown_release_of_mlserver_keeps_its_own_choice(
    missing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if missing == "method":
        monkeypatch.delattr(Dispatcher, "_get_worker")
    else:
        monkeypatch.setattr(Dispatcher, "_get_worker", choice := lambda self: None)
        monkeypatch.setattr(AsyncResponses, "__init__", lambda self: None)
    dispatch.install.cache_clear()
    try:
        dispatch.install()
        dispatch.install()
        [message] = caplog.messages
        assert "they take turns" in message
        assert getattr(Dispatcher, "_get_worker", None) is (choice if missing == "record" else None)
    finally:
        dispatch.install.cache_clear()
