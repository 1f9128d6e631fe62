"""Limits of a server: what one client sends takes nothing from the others, with and without workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from tempo_runtime import save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.testing import FakeModel, Server, serve
from tests.helpers import pipelines

pytestmark = pytest.mark.traced

TENSOR = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1.0]}
TEXT = {"name": "kind", "datatype": "BYTES", "shape": [1], "data": ["value"]}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeModel]:
    with FakeModel("double", lambda x: x * 2, grpc=True) as fake:
        yield fake


@pytest.fixture(scope="module", params=[0, 1], ids=["no workers", "a worker"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, fake: FakeModel
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    targets = (pipelines.async_parent, pipelines.broken, pipelines.echo, pipelines.frames)
    for target in targets:
        save(target, str(root / describe(target).details.name))
    env = {
        "TEMPO_RUNTIME_MODELS__DOUBLE__URL": fake.url,
        "TEMPO_RUNTIME_MODELS__OTHER__URL": fake.grpc_url,
        "TEMPO_RUNTIME_MAX_COLUMNS": "100",
        "TEMPO_RUNTIME_MAX_LITERAL_BYTES": "1000",
    }
    with serve(root, settings={"parallel_workers": request.param}, env=env, timeout=120) as server:
        yield server


def post(
    server: Server, model: str, body: Any, headers: dict[str, str] | None = None, how: str = "infer"
) -> httpx.Response:
    own = {"content-type": "application/json", **(headers or {})}
    content = json.dumps(body).encode()
    return server.http.post(f"/v2/models/{model}/{how}", content=content, headers=own)


ODD_IDS = ["☃", "a\nb", "a\r\nx-evil: 1", "\0", "\x1b[31m", "a" * 257, "a" * 100_000]


@pytest.mark.parametrize("id_", ODD_IDS, ids=range(len(ODD_IDS)))
@pytest.mark.parametrize("model", ["echo", "async-parent"])
def test_an_id_that_cannot_be_carried_is_refused_and_never_logged_raw(
    id_: str, model: str, server: Server, fake: FakeModel
) -> None:
    fake.clear()
    answer = post(server, model, {"id": id_, "inputs": [TENSOR]})
    assert (answer.status_code, fake.calls) == (422, [])
    assert "at most 256 printable ASCII characters" in answer.json()["error"]
    assert "x-evil" not in answer.headers
    assert not any(line.startswith("x-evil") for line in server.log().splitlines())
    assert "\x1b[31m" not in server.log()


def test_an_id_that_can_be_carried_is(server: Server, fake: FakeModel) -> None:
    fake.clear()
    answer = post(server, "async-parent", {"id": "order 7/a", "inputs": [TENSOR]})
    assert (answer.status_code, answer.json()["id"]) == (200, "order 7/a")
    assert [call.id for call in fake.calls] == ["order 7/a"] * 2


ODD_HEADERS = {
    "latin": {"x-request-id": b"caf\xe9"},
    "utf-8": {"traceparent": "☃".encode()},
    "long": {"baggage": b"a" * 9000},
    "long together": {"baggage": b"a" * 5000, "x-b3-a": b"b" * 5000},
    "name": {"x-b3-a!": b"1"},
    "tab": {"x-request-id": b"a\tb"},
}


@pytest.mark.parametrize("case", ODD_HEADERS)
def test_a_header_that_no_child_could_be_sent_is_refused(
    case: str, server: Server, fake: FakeModel
) -> None:
    fake.clear()
    headers: Any = {"content-type": b"application/json", **ODD_HEADERS[case]}
    content = json.dumps({"inputs": [TENSOR]}).encode()
    answer = server.http.post("/v2/models/async-parent/infer", content=content, headers=headers)
    assert (answer.status_code, fake.calls) == (422, [])
    expected = "headers to forward to models" if "long" in case else "cannot be forwarded to models"
    assert expected in answer.json()["error"]


def request(model: str, id_: str = "") -> pb.ModelInferRequest:
    asked = pb.ModelInferRequest(model_name=model, id=id_)
    part = asked.inputs.add(name="x", datatype="FP64", shape=[1])
    part.contents.fp64_contents.append(1.0)
    return asked


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[GRPCInferenceServiceStub]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


def test_binary_metadata_is_left_behind(stub: GRPCInferenceServiceStub, fake: FakeModel) -> None:
    fake.clear()
    metadata = [
        ("x-b3-traceid-bin", b"\xff\x00"),
        ("grpc-trace-bin", b"\x00"),
        ("x-b3-traceid", "7"),
    ]
    answer = stub.ModelInfer(request("async-parent"), metadata=metadata)
    assert len(answer.outputs) == 1
    for call in fake.calls:
        assert call.headers["x-b3-traceid"] == "7"
        assert not [name for name in call.headers if "trace" in name and name.endswith("-bin")]


@pytest.mark.parametrize("id_", ["☃", "a\nb", "a" * 100_000], ids=range(3))
def test_an_id_that_cannot_be_carried_is_refused_over_grpc(
    id_: str, stub: GRPCInferenceServiceStub
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request("echo", id_))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


# -- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"inputs": [TEXT]}, 500, "ValueError: this is wrong"),
        ({"inputs": [TENSOR]}, 422, "tensor 'x' is unknown"),
        ({"id": "☃", "inputs": [TEXT]}, 422, "printable ASCII"),
    ],
    ids=["the author's", "the client's", "an id"],
)
def test_an_error_of_a_stream_is_an_event_with_its_status(
    body: dict[str, Any], status: int, told: str, server: Server
) -> None:
    answer = post(server, "broken", body, how="infer_stream")
    assert answer.status_code == 200
    [event] = [line for line in answer.text.splitlines() if line.startswith("data:")]
    parameters = json.loads(event.removeprefix("data:"))["parameters"]
    assert parameters["status"] == status
    assert told in parameters["error"]
    assert not parameters["error"].startswith("mlserver.")


# -- sizes -----------------------------------------------------------------------------------------


def test_a_literal_over_the_setting_is_refused(server: Server) -> None:
    data = list(b"[" + b"1," * 1000 + b"]")
    tensor = {"name": "x", "datatype": "BYTES", "shape": [len(data)], "data": data}
    answer = post(server, "echo", {"inputs": [tensor]})
    assert answer.status_code == 422
    assert "raise the setting `max_literal_bytes`" in answer.json()["error"]


def test_more_columns_than_the_setting_are_refused(server: Server) -> None:
    columns = [
        {"name": f"c{i}", "datatype": "FP64", "shape": [1, 1], "data": [1]} for i in range(101)
    ]
    answer = post(server, "frames", {"inputs": columns})
    assert answer.status_code == 422
    assert "raise the setting `max_columns`" in answer.json()["error"]


def test_a_large_request_and_its_large_answer_are_what_small_ones_are(server: Server) -> None:
    rows = np.arange(60_000.0).reshape(-1, 2)
    texts = [f"text {i}" for i in range(30_000)]
    assert np.array_equal(server.infer("echo", x=rows), rows)
    assert server.infer("echo", x=texts) == texts
    assert np.array_equal(server.infer("async-parent", x=rows), rows * 4)
