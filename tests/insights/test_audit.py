"""An audited request is answered only when the sink has its events; and what happens at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.errors import SettingsError
from tempo_runtime.insights.request_log import RequestLog
from tempo_runtime.protocol.binding import encode_arguments
from tempo_runtime.protocol.messages import Request, request_to_json
from tempo_runtime.settings import InsightsSettings
from tempo_runtime.testing import Server, serve
from tests.helpers import logged_pipelines
from tests.helpers.sink import Sink
from tests.helpers.waiting import wait_until

ROWS = np.array([[1.0, 2.0]])


@pytest.fixture(scope="module")
def shared() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def sink(shared: Sink) -> Iterator[Sink]:
    shared.clear()
    yield shared
    shared.status = 204
    shared.go_on.set()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("audited")
    for target in (logged_pipelines.logged, logged_pipelines.doubles):
        save(target, str(root / describe(target).details.name))
    return root / "logged"


def environment(sink: Sink, **options: str) -> dict[str, str]:
    env = {f"TEMPO_RUNTIME_INSIGHTS__{name}": value for name, value in options.items()}
    return {
        "TEMPO_RUNTIME_INSIGHTS__SINK": sink.url,
        "TEMPO_RUNTIME_MODELS__DOUBLES__URI": "../doubles",
        **env,
    }


@pytest.fixture(scope="module")
def server(shared: Sink, folder: Path) -> Iterator[Server]:
    with serve(folder, env=environment(shared, AUDIT="true")) as server:
        yield server


def ask(server: Server, seconds: float = 20, id_: str = "r-1", **arguments: Any) -> Any:
    tensors = encode_arguments(None, (), arguments)
    body = request_to_json(Request(tensors, parameters={"tempo_timeout": seconds}, id=id_))
    headers = {"content-type": "application/json", "seldon-skip-logging": "true"}
    return server.http.post("/v2/models/logged/infer", content=body, headers=headers)


def test_an_answer_comes_after_the_sink_has_it_and_cannot_be_declined(
    server: Server, sink: Sink
) -> None:
    assert ask(server, rows=ROWS).status_code == 200
    assert len(sink.events) == 4


def test_a_failure_comes_after_the_sink_has_it(server: Server, sink: Sink) -> None:
    assert ask(server, rows=ROWS, note="fail").status_code == 500
    assert [event["status"] for event in sink.of("response")] == [500]
    assert ask(server, other=ROWS).status_code == 422
    assert [event["status"] for event in sink.of("response")] == [500, 422]


@pytest.mark.parametrize("note", ["", "fail"])
def test_a_request_that_the_sink_refuses_is_refused(server: Server, sink: Sink, note: str) -> None:
    sink.status = 400
    answer = ask(server, rows=ROWS, note=note)
    assert answer.status_code == 503
    assert answer.json()["tempo"]["kind"] == "RequestNotLogged"
    assert answer.json()["tempo"]["retryable"] is True


def test_a_request_does_not_wait_beyond_its_deadline(server: Server, sink: Sink) -> None:
    sink.go_on.clear()
    answer = ask(server, seconds=0.3, rows=ROWS)
    assert answer.status_code == 503
    assert "within the request's time" in answer.json()["error"]


def test_a_request_without_time_is_answered_at_once_and_logged(server: Server, sink: Sink) -> None:
    assert ask(server, seconds=0.05, id_="late", rows=ROWS, note="sleep").status_code == 504
    wait_until(lambda: ("late", "DeadlineExceeded") in outcomes(sink))


def test_a_stream_is_not_audited(sink: Sink) -> None:
    with pytest.raises(SettingsError, match=r"streams.*remove insights.audit"):
        RequestLog("s", None, InsightsSettings(sink=sink.url, audit=True), streams=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_waiting_events_are_sent_when_the_server_ends(
    sink: Sink, folder: Path, workers: int
) -> None:
    env = environment(sink, MAX_DELAY="600")
    id_ = f"ends-{workers}"
    with serve(folder, settings={"parallel_workers": workers}, env=env) as server:
        assert ask_plain(server, id_).status_code == 200
        assert id_ not in dict(outcomes(sink))
    wait_until(lambda: (id_, "ok") in outcomes(sink))


def test_a_sink_that_hangs_does_not_keep_the_server_from_ending(sink: Sink, folder: Path) -> None:
    sink.go_on.clear()
    with serve(folder, env=environment(sink, FLUSH_TIMEOUT="0.1")) as server:
        assert ask_plain(server, "hangs").status_code == 200
        server.stop()
        log = server.log()
    assert "4 events of the request logs of pipeline 'logged' are lost" in log


def outcomes(sink: Sink) -> list[tuple[str, str]]:
    return [(event["requestid"], event["outcome"]) for event in sink.of("response")]


def ask_plain(server: Server, id_: str) -> Any:
    body = request_to_json(Request(encode_arguments(None, (), {"rows": ROWS}), id=id_))
    headers = {"content-type": "application/json"}
    return server.http.post("/v2/models/logged/infer", content=body, headers=headers)


@pytest.mark.parametrize("route", ["predict_stream", "infer_stream"])
def test_a_request_by_a_streaming_route_waits_for_the_sink_too(
    server: Server, sink: Sink, route: str
) -> None:
    sink.status = 400
    body = (
        b'{"rows": [[1.0, 2.0]]}'
        if route == "predict_stream"
        else request_to_json(Request(encode_arguments(None, (), {"rows": ROWS}), id="r-5"))
    )
    answer = server.http.post(
        f"/v2/models/logged/{route}", content=body, headers={"content-type": "application/json"}
    )
    assert "RequestNotLogged" in answer.text
    assert "2.0" not in answer.text


def test_a_request_that_is_refused_early_does_not_wait_forever(sink: Sink, folder: Path) -> None:
    sink.go_on.clear()
    env = {**environment(sink, AUDIT="true"), "TEMPO_RUNTIME_TIMEOUT": "0.5"}
    with serve(folder, env=env) as server:
        assert ask(server, seconds=0, rows=ROWS).status_code == 503
