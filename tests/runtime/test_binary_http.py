"""Binary tensor data in a real MLServer: for pipelines and other models, with and without workers."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tempo_runtime import save
from tempo_runtime.protocol.binary import HEADER, response_from_body
from tempo_runtime.protocol.tensor import DATATYPES, Tensor
from tempo_runtime.testing import Server, serve
from tests.clients.connected_child import Connect, connect
from tests.helpers import pipelines

__all__ = ["connect"]
ROWS = np.array([[0.0, 1.0], [1.0, 0.0], [0.2, 0.9]])
FOREIGN = """
from mlserver import MLModel
from mlserver.types import InferenceResponse


class Types(MLModel):
    async def predict(self, payload):
        names = [type(tensor.data.root).__name__ for tensor in payload.inputs]
        parts = [type(part).__name__ for tensor in payload.inputs for part in tensor.data]
        output = {"name": "y", "datatype": "BYTES", "shape": [len(names + parts)], "data": names + parts}
        return InferenceResponse(model_name=self.name, outputs=[output])
"""


def _write(folder: Path, implementation: str, **settings: Any) -> None:
    folder.mkdir()
    content = {"name": folder.name, "implementation": implementation, **settings}
    (folder / "model-settings.json").write_text(json.dumps(content))


def _sklearn(folder: Path, **settings: Any) -> None:
    uri = {"parameters": {"uri": "model.joblib"}}
    _write(folder, "mlserver_sklearn.SKLearnModel", **uri, **settings)
    joblib.dump(LogisticRegression().fit(ROWS, [0, 1, 0]), folder / "model.joblib")


@pytest.fixture(scope="module", params=[0, 1], ids=["no workers", "a worker"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    for target in (pipelines.echo, pipelines.shapes):
        save(target, str(root / target.details.name))
    _sklearn(root / "classifier")
    _sklearn(root / "batched", max_batch_size=4, max_batch_time=0.01)
    _write(root / "foreign", "foreign.Types")
    (root / "foreign" / "foreign.py").write_text(FOREIGN)
    with serve(root, settings={"parallel_workers": request.param}, timeout=120) as server:
        yield server


def tensor(array: Any, name: str = "x") -> tuple[dict[str, Any], bytes]:
    """An input, and its raw contents."""
    datatype = next(name for name, dtype in DATATYPES.items() if dtype == array.dtype)
    return raw_tensor(name, datatype, array.shape, array.tobytes()), array.tobytes()


def raw_tensor(name: str, datatype: str, shape: Any, raw: bytes) -> dict[str, Any]:
    parameters = {"binary_data_size": len(raw)}
    return {"name": name, "datatype": datatype, "shape": list(shape), "parameters": parameters}


def post(
    server: Server, model: str, request: dict[str, Any], raw: bytes = b"", **headers: str
) -> httpx.Response:
    head = json.dumps(request).encode()
    sent = {HEADER: str(len(head)), **{name.replace("_", "-"): headers[name] for name in headers}}
    return server.http.post(f"/v2/models/{model}/infer", content=head + raw, headers=sent)


def outputs(answer: httpx.Response) -> dict[str, Tensor]:
    assert answer.status_code == 200, answer.text
    lengths = answer.headers.get_list(HEADER)
    return {each.name: each for each in response_from_body(answer.content, lengths).tensors}


ASKING = {"parameters": {"binary_data_output": True}}
BITS = {
    "NaNs with payloads": np.array([0x7FF8_0000_DEAD_BEEF, 0xFFF0_0000_0000_0001], "u8").view("f8"),
    "FP32 NaN with payload": np.array([0x7FC0_BEEF, 0xFFC0_0001], "u4").view("f4"),
    "FP16": np.array([0x7E01, 0x8000, 0xFC00], "u2").view("f2"),
    "zeros and infinities": np.array([[-0.0, 0.0], [np.inf, -np.inf]]),
    "INT64 beyond 2**53": np.array([2**53 + 1, -(2**63)]),
    "UINT64": np.array([2**64 - 1], np.uint64),
    "BOOL": np.array([[True], [False]]),
    "no rows": np.zeros((0, 4), np.int8),
    "rank 0": np.array(2.5),
}


def test_the_server_announces_the_extension(server: Server) -> None:
    assert server.http.get("/v2").json()["extensions"] == ["binary_tensor_data"]


@pytest.mark.parametrize("case", BITS)
def test_an_array_arrives_bit_by_bit_and_comes_back(case: str, server: Server) -> None:
    item, raw = tensor(BITS[case])
    found = outputs(post(server, "echo", {"inputs": [item], **ASKING}, raw))["output-0"]
    assert (found.datatype, found.shape) == (item["datatype"], item["shape"])
    assert found.numbers().tobytes() == raw


def test_text_arrives_and_comes_back(server: Server) -> None:
    raw = b"\5\0\0\0k\xc3\xa4se" + b"\0\0\0\0"
    item = raw_tensor("x", "BYTES", [2], raw)
    found = outputs(post(server, "echo", {"inputs": [item], **ASKING}, raw))["output-0"]
    assert found.elements() == ["käse".encode(), b""]


def test_an_input_may_be_json_beside_a_binary_one(server: Server) -> None:
    first, raw = tensor(np.array([1, 2]), "x1")
    second = {"name": "x2", "datatype": "FP64", "shape": [2], "data": [0.5, 1]}
    answer = post(server, "foreign", {"inputs": [second, first], **ASKING}, raw)
    found = outputs(answer)["y"].elements()
    assert found == [b"list", b"list", b"float", b"int", b"int", b"int"]


def test_a_pipeline_calls_it_with_every_bit(server: Server, connect: Connect) -> None:
    sent = np.tile(BITS["NaNs with payloads"], 500)
    child = connect(server.url, model="echo")
    end = time.monotonic() + 30
    while child(sent).tobytes() != sent.tobytes():  # JSON, which loses the payloads of NaNs
        assert time.monotonic() < end
    assert child(sent).flags.writeable


def test_each_output_comes_as_it_is_asked_for(server: Server) -> None:
    item, raw = tensor(np.ones((1, 2), np.float32))
    asked = [{"name": "output-0"}, {"name": "output-2", "parameters": {"binary_data": False}}]
    answer = post(server, "shapes", {"id": "7", "inputs": [item], "outputs": asked, **ASKING}, raw)
    head = json.loads(answer.content[: int(answer.headers[HEADER])])
    assert (head["model_name"], head["id"]) == ("shapes", "7")
    assert [output.get("data") for output in head["outputs"]] == [None, None, [2]]
    assert outputs(answer)["output-0"].numbers().tolist() == [[1.0, 1.0]]


def test_a_request_that_asks_for_no_binary_output_is_answered_in_json(server: Server) -> None:
    item, raw = tensor(np.array([1.0, np.inf]))
    answer = post(server, "echo", {"inputs": [item]}, raw)
    assert HEADER not in answer.headers
    assert answer.json()["outputs"][0]["data"] == [1.0, "Infinity"]


def test_a_request_in_json_may_ask_for_binary_outputs(server: Server) -> None:
    item = {"name": "x", "datatype": "FP64", "shape": [2], "data": [None, "-Infinity"]}
    answer = server.post("echo", {"inputs": [item], **ASKING})
    assert outputs(answer)["output-0"].numbers().tobytes() == np.array([np.nan, -np.inf]).tobytes()


@pytest.mark.parametrize(
    "parameters", [{}, {"binary_data_output": False}, {"binary_data_arrays": True}]
)
def test_other_requests_are_answered_in_json(parameters: dict[str, Any], server: Server) -> None:
    item = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["binary_data"]}
    answer = server.post("echo", {"inputs": [item], "parameters": parameters})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["outputs"][0]["data"] == ["binary_data"]


@pytest.mark.parametrize("model", ["classifier", "batched"])
def test_a_model_of_another_runtime_answers_as_it_does_in_json(model: str, server: Server) -> None:
    item, raw = tensor(ROWS)
    asked = {"outputs": [{"name": "predict_proba"}, {"name": "predict"}]}
    found = outputs(post(server, model, {"inputs": [item], **asked, **ASKING}, raw))
    plain = {"name": "x", "datatype": "FP64", "shape": [3, 2], "data": ROWS.ravel().tolist()}
    for expected in server.post(model, {"inputs": [plain], **asked}).json()["outputs"]:
        output = found.pop(expected["name"])
        assert (output.datatype, output.shape) == (expected["datatype"], expected["shape"])
        assert output.numbers().ravel().tolist() == expected["data"]
    assert found == {}


def test_columns_of_a_dataframe_may_be_binary(server: Server) -> None:
    columns = {"a": ROWS[:, :1].copy(), "b": ROWS[:, 1:].copy()}
    tensors = [tensor(column, name) for name, column in columns.items()]
    asking = {
        "outputs": [{"name": "predict_proba"}],
        "parameters": {"content_type": "pd", "binary_data_output": False},
    }
    request = {"inputs": [item for item, _ in tensors], **asking}
    found = post(server, "classifier", request, b"".join(raw for _, raw in tensors))
    plain = [
        {"name": name, "datatype": "FP64", "shape": [3, 1], "data": column.ravel().tolist()}
        for name, column in columns.items()
    ]
    expected = server.post("classifier", {"inputs": plain, **asking}).json()
    assert found.json()["outputs"] == expected["outputs"]


def test_a_runtime_of_another_maker_is_given_lists_and_text(server: Server) -> None:
    numbers, raw = tensor(np.ones(1, np.float32), "x1")
    text, text_raw = raw_tensor("x2", "BYTES", [1], b"\1\0\0\0a"), b"\1\0\0\0a"
    answer = post(server, "foreign", {"inputs": [numbers, text]}, raw + text_raw)
    assert answer.json()["outputs"][0]["data"] == ["list", "list", "float", "str"]


@pytest.mark.parametrize("data", ["ab", {"a": 1}])
def test_data_other_than_a_list_arrives_as_in_a_request_for_json(data: Any, server: Server) -> None:
    text = {"name": "x", "datatype": "BYTES", "shape": [1], "data": data}
    plain = server.post("foreign", {"inputs": [text]}).json()
    found = server.post("foreign", {"inputs": [text], **ASKING})
    types = [element.decode() for element in outputs(found)["y"].elements()]
    assert types == plain["outputs"][0]["data"]


def test_text_other_than_unicode_is_refused_as_in_a_request_of_json(server: Server) -> None:
    text = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["\ud800"]}
    for request in ({"inputs": [text]}, {"inputs": [{**text, "data": ["a"]}], "id": "\ud800"}):
        assert server.post("foreign", request).status_code == 422
        answer = post(server, "foreign", request)
        assert (answer.status_code, answer.json()["tempo"]["fault"]) == (400, "client")


def test_errors_are_json(server: Server) -> None:
    item, raw = tensor(np.ones(1), "y")
    wrong = post(server, "echo", {"inputs": [item], **ASKING}, raw)
    assert (wrong.status_code, wrong.json()["error"]) == (422, "tensor 'y' is unknown; expected: x")
    missing = post(server, "nobody", {"inputs": [item], **ASKING}, raw)
    assert (missing.status_code, missing.json()["error"]) == (404, "Model nobody not found")
    invalid = post(server, "echo", {"inputs": [{**item, "name": None, "parameters": {}}]})
    assert invalid.status_code == 422
    fields = [error["loc"] for error in invalid.json()["detail"]]
    assert fields == [["body", "inputs", 0, "name"], ["body", "inputs", 0, "data"]]


def test_a_body_that_does_not_fit_is_400_with_details_for_programs(server: Server) -> None:
    item, raw = tensor(np.ones(2))
    answer = post(server, "echo", {"inputs": [item], **ASKING}, raw[:-1])
    told = "input 'x' has binary_data_size 16, but the body has only 15 more bytes"
    assert (answer.status_code, told in answer.json()["error"]) == (400, True)
    assert answer.json()["tempo"]["fault"] == "client"
    # A wrong request for outputs is one too.
    odd = server.post("echo", {"inputs": [], "parameters": {"binary_data_output": "yes"}})
    told = "the request has the parameter 'binary_data_output' 'yes'; it must be true or false"
    assert (odd.status_code, odd.json()["error"]) == (400, told)


def test_a_compressed_body_is_refused(server: Server) -> None:
    item, raw = tensor(np.ones(2))
    answer = post(server, "echo", {"inputs": [item]}, raw, content_encoding="gzip")
    assert (answer.status_code, "is compressed ('gzip')" in answer.json()["error"]) == (400, True)


def test_a_body_in_chunks_is_refused(server: Server) -> None:
    answer = server.http.post(
        "/v2/models/echo/infer", content=iter([b"{", b"}"]), headers={HEADER: "2"}
    )
    assert (answer.status_code, "no Content-Length" in answer.json()["error"]) == (400, True)


def test_a_length_that_is_given_twice_is_refused(server: Server) -> None:
    answer = server.http.post(
        "/v2/models/echo/infer", content=b"{}", headers=[(HEADER, "2"), (HEADER, "2")]
    )
    assert (answer.status_code, "is given 2 times" in answer.json()["error"]) == (400, True)


def test_a_client_that_leaves_within_its_body_disturbs_nobody(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as leaving:
        head = (
            f"POST /v2/models/echo/infer HTTP/1.1\r\nhost: a\r\n{HEADER}: 2\r\ncontent-length: 90"
        )
        leaving.sendall(f"{head}\r\n\r\n{{".encode())
    item, raw = tensor(np.ones(1))
    assert outputs(post(server, "echo", {"inputs": [item], **ASKING}, raw))


def test_a_server_that_caches_answers_does_not_announce_the_extension_and_refuses_it(
    tmp_path: Path,
) -> None:
    save(pipelines.echo, str(tmp_path / "echo"))
    with serve(tmp_path, settings={"cache_enabled": True}) as server:
        assert server.http.get("/v2").json()["extensions"] == []
        item, raw = tensor(np.ones(1))
        answer = post(server, "echo", {"inputs": [item], **ASKING}, raw)
        assert (answer.status_code, "this server caches" in answer.text) == (400, True)
        plain = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1.5]}
        answer = server.post("echo", {"inputs": [plain], **ASKING})
        assert answer.json()["outputs"][0]["data"] == [1.5]


def test_a_client_cannot_ask_for_arrays_that_json_does_not_have(server: Server) -> None:
    x = {"name": "x", "datatype": "FP64", "shape": [2], "data": [1.0, 2.0]}
    request = {"inputs": [x], "parameters": {"binary_data_arrays": True}}
    answer = server.http.post("/v2/models/echo/infer", json=request)
    assert answer.status_code == 200, answer.text


def test_a_page_of_another_site_cannot_call_a_model_by_asking_for_binary_data(
    server: Server,
) -> None:
    """A browser sends text without asking the server first, and JSON may be in it."""
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1.0]}
    body = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    answer = httpx.post(
        f"{server.url}/v2/models/echo/infer", content=body, headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 422
