"""The current request, as the author's code sees it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from tempo_runtime import CurrentRequest, RequestError, current_request, model, save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.clients.batching import _common
from tempo_runtime.request.context import Origin, entered, serving
from tempo_runtime.request.current import is_credential
from tempo_runtime.testing import Server, serve
from tests.helpers import request_pipelines

HEADERS = {
    "content-type": "application/json",
    "X-Request-Id": "trace-1",
    "x-user": "ada",
    "x-user-token": "s3cret",
    "authorization": "Bearer s3cret",
    "cookie": "session=s3cret",
}


@pytest.fixture(scope="module", params=[0, 1], ids=["no workers", "a worker"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("looking")
    for target in request_pipelines.ALL:
        folder = root / describe(target).details.name
        save(target, str(folder))
        settings = json.loads((folder / "model-settings.json").read_text())
        settings["parameters"]["version"] = "v7"
        (folder / "model-settings.json").write_text(json.dumps(settings))
    env = {
        "TEMPO_RUNTIME_REQUEST_HEADERS": "x-*",
        "TEMPO_RUNTIME_MODELS__INNER__URI": "../looks",
        "TEMPO_RUNTIME_TIMEOUT": "20",
    }
    with serve(root, settings={"parallel_workers": request.param}, env=env) as server:
        yield server


def ask(server: Server, name: str, way: str = "here", id_: str | None = "request-7") -> Any:
    tensor = {"name": "way", "datatype": "BYTES", "shape": [1], "data": [way]}
    body: dict[str, Any] = {"inputs": [tensor], "parameters": {"tempo_timeout": 5}}
    if id_ is not None:
        body["id"] = id_
    url = f"/v2/models/{name}/infer"
    return server.http.post(url, content=json.dumps(body), headers=HEADERS)


def result(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["outputs"][0]["data"][0])


@pytest.mark.parametrize("name", ["looks", "looks-async"])
def test_a_predict_method_sees_its_request_over_http(server: Server, name: str) -> None:
    request = result(ask(server, name))
    assert 0 < request.pop("remaining") <= 5
    assert request == {
        "id": "request-7",
        "headers": {"x-request-id": "trace-1", "x-user": "ada"},
        "pipeline": name,
        "version": "v7",
    }


def test_a_predict_method_sees_its_request_over_grpc(server: Server) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="way",
        datatype="BYTES",
        shape=[1],
        contents=pb.InferTensorContents(bytes_contents=[b"here"]),
    )
    message = pb.ModelInferRequest(model_name="looks", id="request-8", inputs=[tensor])
    metadata = (("x-user", "ada"), ("authorization", "Bearer s3cret"), ("x-raw-bin", b"\x01"))
    with grpc.insecure_channel(server.grpc) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(message, metadata=metadata)
    request = json.loads(answer.outputs[0].contents.bytes_contents[0])
    assert (request["id"], request["headers"]) == ("request-8", {"x-user": "ada"})


def test_a_request_without_an_id_gets_that_of_its_answer(server: Server) -> None:
    answer = ask(server, "looks", id_=None)
    assert result(answer)["id"] == answer.json()["id"]


@pytest.mark.parametrize("way", ["passed", "copied"])
def test_a_thread_of_the_author_sees_the_request_that_was_handed_to_it(
    server: Server, way: str
) -> None:
    assert result(ask(server, "looks", way))["id"] == "request-7"


def test_a_thread_that_does_not_belong_to_a_request_says_what_to_do(server: Server) -> None:
    answer = ask(server, "looks", "lost")
    assert answer.status_code == 500
    assert "pass its result to the thread" in answer.json()["error"]
    assert answer.json()["tempo"]["kind"] == "RequestError"


def test_a_pipeline_inside_another_sees_itself_and_what_its_caller_forwards(
    server: Server,
) -> None:
    request = result(ask(server, "looks-inside"))
    assert (request["pipeline"], request["version"]) == ("looks", None)
    assert (request["id"], request["headers"]) == ("request-7", {"x-request-id": "trace-1"})


def test_a_stream_without_an_id_has_one(server: Server) -> None:
    answer = server.http.post(
        "/v2/models/looks-stream/infer_stream",
        content=json.dumps(
            {"inputs": [{"name": "way", "datatype": "BYTES", "shape": [1], "data": ["here"]}]}
        ),
        headers=HEADERS,
    )
    event = json.loads(answer.text.removeprefix("data:"))
    assert len(json.loads(event["outputs"][0]["data"][0])["id"]) == 36


def test_a_call_in_a_notebook_has_an_id_and_no_headers() -> None:
    request = request_pipelines.looks("here")
    assert len(request["id"]) == 36
    assert (request["headers"], request["remaining"]) == ({}, None)
    assert (request["pipeline"], request["version"]) == ("looks", None)
    assert request["id"] != request_pipelines.looks("here")["id"]


def test_an_async_call_in_a_notebook_has_an_id() -> None:
    async def call() -> Any:
        return await request_pipelines.looks_async("here")

    assert len(asyncio.run(call())["id"]) == 36


def test_outside_of_a_request_the_error_says_what_to_do() -> None:
    with pytest.raises(RequestError, match="call it in the predict method") as caught:
        current_request()
    assert caught.value.status == 500


def test_a_call_for_several_requests_does_not_have_one() -> None:
    contexts = [
        serving(None, {}, id=str(number), origin=Origin("shop")).request for number in range(2)
    ]
    with entered(_common(contexts)), pytest.raises(RequestError, match="`batching`"):
        current_request()


def test_the_time_that_remains_never_falls_below_zero() -> None:
    with serving(1e-9, {}, id="1", origin=Origin("shop")):
        assert current_request().remaining() == 0.0


def test_the_deadline_is_the_callers_if_it_is_earlier() -> None:
    @model("nested")
    def nested() -> float:
        remaining = current_request().remaining()
        assert remaining is not None
        return remaining

    with serving(5, {}, id="1", origin=Origin("shop")):
        assert 0 < nested() <= 5


def test_the_request_can_be_used_in_any_thread() -> None:
    request = CurrentRequest("7", {}, "shop")
    ids: list[str] = []
    thread = threading.Thread(target=lambda: ids.append(request.id))
    thread.start()
    thread.join()
    assert ids == ["7"]


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ((), {}),
        (("x-user",), {"x-user": "ada"}),
        (("x-*",), {"x-user": "ada"}),
        (("*",), {"x-user": "ada", "host": "here"}),
        (("authorization",), {"authorization": "Bearer s3cret"}),
        (("x-*", "x-api-key"), {"x-user": "ada", "x-api-key": "s3cret"}),
    ],
)
def test_headers_are_those_allowed_and_credentials_only_by_name(
    allowed: tuple[str, ...], expected: dict[str, str]
) -> None:
    headers = {
        "X-User": "ada",
        "host": "here",
        "authorization": "Bearer s3cret",
        "cookie": "session=s3cret",
        "x-api-key": "s3cret",
        "x-raw-bin": "AQ==",
    }
    with serving(None, headers, id="1", origin=Origin("shop", None, headers, allowed)):
        assert dict(current_request().headers) == expected


@pytest.mark.parametrize(
    "name",
    ["authorization", "proxy-authorization", "cookie", "x-auth-request-user", "x-csrf-token"],
)
def test_names_of_credentials_are_known(name: str) -> None:
    assert is_credential(name)
