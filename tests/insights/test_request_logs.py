"""Requests of served pipelines arrive at a sink, as CloudEvents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from tempo_runtime import save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.protocol.binding import encode_arguments
from tempo_runtime.protocol.messages import Request, request_to_json
from tempo_runtime.testing import Server, serve
from tests.helpers import logged_pipelines
from tests.helpers.sink import Sink

ROWS = np.array([[1.0, 2.0]])


@pytest.fixture(scope="module")
def shared() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def sink(shared: Sink) -> Sink:
    shared.clear()
    return shared


@pytest.fixture(scope="module", params=[0, 1], ids=["no workers", "a worker"])
def server(
    request: pytest.FixtureRequest, shared: Sink, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("logged")
    for target in (*logged_pipelines.ALL, *logged_pipelines.CHILDREN):
        save(target, str(root / describe(target).details.name))
    env = {
        "TEMPO_RUNTIME_INSIGHTS__SINK": shared.url,
        "TEMPO_RUNTIME_INSIGHTS__TOKEN": "s3cret-token",
        "TEMPO_RUNTIME_INSIGHTS__REDACT": "User,ssn",
        "TEMPO_RUNTIME_INSIGHTS__MAX_DELAY": "0.01",
        "TEMPO_RUNTIME_MODELS__DOUBLES__URI": "../doubles",
        "TEMPO_RUNTIME_MODELS__ECHO__URI": "../logged-echo",
        "TEMPO_RUNTIME_MODELS__INNER__URI": "../logged-inner",
    }
    with serve(root, settings={"parallel_workers": request.param}, env=env) as server:
        yield server


def ask(server: Server, name: str, headers: Any = None, id_: str = "r-1", **arguments: Any) -> Any:
    limits = {key: arguments.pop(key) for key in list(arguments) if key.startswith("tempo_")}
    request = Request(encode_arguments(None, (), arguments), parameters=limits, id=id_)
    headers = {"content-type": "application/json", **(headers or {})}
    url = f"/v2/models/{name}/infer"
    return server.http.post(url, content=request_to_json(request), headers=headers)


def test_a_request_its_answer_and_its_calls_are_events(server: Server, sink: Sink) -> None:
    assert ask(server, "logged", rows=ROWS, user="ada").status_code == 200
    events = {event["type"].rpartition(".")[2]: event for event in sink.wait(4)}
    for event in events.values():
        assert event["specversion"] == "1.0"
        assert event["source"] == "urn:tempo-runtime:pipeline:logged"
        assert event["type"].startswith("io.seldon.serving.inference.")
        assert event["datacontenttype"] == "application/json"
        assert event["time"].endswith("Z")
        assert (event["requestid"], event["modelid"]) == ("r-1", "logged")
    assert len({event["id"] for event in events.values()}) == 4
    assert events["request"]["data"] == {"arguments": {"rows": [[1.0, 2.0]], "user": "[redacted]"}}
    response = events["response"]
    assert (response["status"], response["outcome"]) == (200, "ok")
    assert response["data"]["result"] == [[2.0, 4.0]]
    assert response["data"]["child_calls"] == 1
    assert response["data"]["milliseconds"] > 0
    child = events["child"]
    assert (child["child"], child["outcome"]) == ("doubles", "ok")
    assert child["data"]["arguments"] == {"rows": [[1.0, 2.0]], "secret": "[redacted]"}
    assert child["data"]["result"] == [[2.0, 4.0]]
    assert events["custom"]["data"] == {"value": {"total": 6.0, "user": "[redacted]"}}


def test_events_come_in_the_batched_mode_with_the_token(server: Server, sink: Sink) -> None:
    ask(server, "logged", rows=ROWS)
    sink.wait(4)
    for headers, _ in sink.requests:
        assert headers["content-type"] == "application/cloudevents-batch+json"
        assert headers["authorization"] == "Bearer s3cret-token"
    assert "s3cret" not in json.dumps(sink.events)


def test_values_are_those_at_the_time(server: Server, sink: Sink) -> None:
    frame = pd.DataFrame({"amount": [1.0, 2.0], "ssn": ["1-2", "3-4"]})
    for factor in (1, 10):
        ask(server, "logged-frame", people=frame * {"amount": factor, "ssn": 1})
    sink.wait(4)
    assert [event["data"]["result"] for event in sink.of("response")] == [[3.0] * 3, [30.0] * 3]
    assert sink.of("request")[0]["data"]["arguments"] == {
        "people": {"amount": [1.0, 2.0], "ssn": "[redacted]"}
    }


def test_calls_of_an_async_pipeline_are_events(server: Server, sink: Sink) -> None:
    assert ask(server, "logged-async", rows=ROWS).status_code == 200
    sink.wait(4)
    results = [event["data"]["result"] for event in sink.of("child")]
    assert sorted(results) == [[[2.0, 4.0]], [[4.0, 6.0]]]


def test_names_that_an_inner_pipeline_redacts_are_redacted_in_its_logs(
    server: Server, sink: Sink
) -> None:
    assert ask(server, "logged-outer").status_code == 200
    sink.wait(6)
    assert "s3cret" not in json.dumps(sink.events)
    hidden = {"iban": "[redacted]", "name": "ada"}
    calls = {event["child"]: event["data"] for event in sink.of("child")}
    assert calls["echo"]["arguments"] == {"person": hidden}
    assert calls["echo"]["result"] == hidden
    values = [event["data"]["value"] for event in sink.of("custom")]
    assert values == [hidden, {"iban": "of the outer"}]


def test_a_failure_has_its_status_and_class_and_no_values(server: Server, sink: Sink) -> None:
    assert ask(server, "logged", rows=ROWS, note="fail").status_code == 500
    sink.wait(2)
    [response] = sink.of("response")
    assert (response["status"], response["outcome"]) == (500, "PipelineFailed")
    assert "s3cret" not in json.dumps(sink.events)


@pytest.mark.parametrize(
    ("parameters", "status"), [({"tempo_timeout": 0}, 422), ({"tempo_seed": -1}, 422)]
)
def test_a_request_that_is_refused_before_it_begins_is_a_response_alone(
    server: Server, sink: Sink, parameters: dict[str, Any], status: int
) -> None:
    assert ask(server, "logged", rows=ROWS, **parameters).status_code == status
    [event] = sink.wait(1)
    assert (event["status"], event["outcome"]) == (status, "PayloadError")


def test_a_request_over_grpc_is_logged(server: Server, sink: Sink) -> None:
    contents = pb.InferTensorContents(fp64_contents=[1.0, 2.0])
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="rows", datatype="FP64", shape=[1, 2], contents=contents
    )
    message = pb.ModelInferRequest(model_name="logged", id="r-2", inputs=[tensor])
    with grpc.insecure_channel(server.grpc) as channel:
        GRPCInferenceServiceStub(channel).ModelInfer(message)
    assert {event["requestid"] for event in sink.wait(4)} == {"r-2"}


def test_a_client_may_decline(server: Server, sink: Sink) -> None:
    assert ask(server, "logged", {"Seldon-Skip-Logging": "true"}, rows=ROWS).status_code == 200
    ask(server, "logged", {"Seldon-Skip-Logging": "false"}, id_="r-9", rows=ROWS)
    assert {event["requestid"] for event in sink.wait(4)} == {"r-9"}


def stream(server: Server, count: int) -> str:
    body = request_to_json(Request(encode_arguments(None, (), {"count": count}), id="r-3"))
    headers = {"content-type": "application/json"}
    answer = server.http.post(
        "/v2/models/logged-stream/infer_stream", content=body, headers=headers
    )
    return answer.text


def test_a_stream_is_logged_with_its_items(server: Server, sink: Sink) -> None:
    stream(server, 2)
    sink.wait(2)
    assert sink.of("response")[0]["data"]["result"] == [0, 1]


def test_a_stream_that_fails_is_logged_as_a_failure(server: Server, sink: Sink) -> None:
    assert "seven" in stream(server, 9)
    sink.wait(2)
    assert sink.of("response")[0]["outcome"] == "PipelineFailed"


def test_a_call_in_plain_json_is_logged_as_a_v2_request_is(server: Server, sink: Sink) -> None:
    answer = server.http.post(
        "/v2/models/logged/predict",
        json={"rows": [[1.0, 2.0]], "user": "ada"},
        headers={"x-request-id": "r-4"},
    )
    assert answer.json() == [[2.0, 4.0]]
    assert {event["requestid"] for event in sink.wait(4)} == {"r-4"}
    [request], [response] = sink.of("request"), sink.of("response")
    assert request["data"] == {"arguments": {"rows": [[1.0, 2.0]], "user": "[redacted]"}}
    assert response["data"]["result"] == [[2.0, 4.0]]


def test_a_stream_in_plain_json_is_logged_with_its_items(server: Server, sink: Sink) -> None:
    server.http.post("/v2/models/logged-stream/predict_stream", json={"count": 2})
    sink.wait(2)
    assert sink.of("response")[0]["data"]["result"] in ([0, 1], 1)
