"""Clients of other makers call served pipelines, unmodified."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tempo_runtime.testing import Server
from tests.helpers.value_strategies import same
from tests.interop.foreign import run

ARRAYS: dict[str, Any] = {
    "float64": np.array([[1.5, 2.0], [3.0, 4.0]]),
    "float32 column": np.ones((2, 1), np.float32),
    "float16": np.array([1.5, 65504.0], np.float16),
    "int64": np.arange(3),
    "large uint64": np.array([2**64 - 1], np.uint64),
    "uint8 of rank 3": np.array([[[0, 255]]], np.uint8),
    "booleans": np.array([True, False]),
    "rank 0": np.array(2.5),
    "empty": np.zeros((0, 4)),
    "text": np.array([["a", "käse"], ["", "it's"]], object),
    "no text": np.zeros((0,), object),
}
NOT_FINITE = np.array([np.nan, np.inf, -np.inf])
BAD_INPUT = "tensor 'y' is unknown; expected: x"


def as_texts(array: Any) -> Any:
    """Text as text: clients of gRPC, or of binary data, are given its bytes."""
    if array.dtype != object:
        return array
    texts = [each.decode() if isinstance(each, bytes) else each for each in array.ravel()]
    return np.array(texts, object).reshape(array.shape)


# -- tritonclient over HTTP ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[Any]:
    client = triton_http.InferenceServerClient(server.url.removeprefix("http://"))
    yield client
    client.close()


def http_input(name: str, value: Any, *, binary: bool = False) -> Any:
    given = triton_http.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
    given.set_data_from_numpy(value, binary_data=binary)
    return given


@pytest.mark.parametrize("binary_output", [False, True])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("case", ARRAYS)
def test_triton_http_has_an_array_back(
    case: str, binary: bool, binary_output: bool, http: Any
) -> None:
    asked = [triton_http.InferRequestedOutput("output-0", binary_data=binary_output)]
    answer = http.infer("echo", [http_input("x", ARRAYS[case], binary=binary)], outputs=asked)
    assert same(as_texts(answer.as_numpy("output-0")), ARRAYS[case])


def test_triton_http_has_an_array_back_with_its_defaults(http: Any) -> None:
    given = triton_http.InferInput("x", [3], "FP64")
    given.set_data_from_numpy(NOT_FINITE)
    answer = http.infer("echo", [given])
    assert answer.as_numpy("output-0").tobytes() == NOT_FINITE.tobytes()
    assert answer.get_output("output-0")["parameters"]["binary_data_size"] == 24


def test_triton_http_may_ask_for_compressed_answers(http: Any) -> None:
    value = np.zeros(1000)
    given = http_input("x", value, binary=True)
    answer = http.infer("echo", [given], response_compression_algorithm="gzip")
    assert same(answer.as_numpy("output-0"), value)


def test_triton_http_is_answered_without_naming_outputs(http: Any) -> None:
    answer = http.infer("double", [http_input("x", np.arange(3))])
    assert answer.as_numpy("output-0").tolist() == [0, 2, 4]


def test_triton_http_reads_numbers_that_json_has_no_word_for(http: Any) -> None:
    count = http_input("count", np.array([3]))
    assert same(http.infer("non-finite", [count]).as_numpy("output-0"), NOT_FINITE)


def test_triton_http_has_several_outputs_by_name(http: Any) -> None:
    answer = http.infer("shapes", [http_input("x", np.ones((1, 2), np.float32))])
    found = [answer.as_numpy(f"output-{position}").tolist() for position in range(3)]
    assert found == [[[1.0, 1.0]], [b"float32"], [2]]


def test_triton_http_may_give_small_arguments_as_parameters(http: Any) -> None:
    parameters = {"orders": json.dumps([{"item": "tea", "amount": 2}]), "price": 1.5}
    [bill] = http.infer("bill", [], parameters=parameters).as_numpy("output-0")
    assert json.loads(bill) == {"orders": [{"item": "tea", "amount": 2}], "total": 3.0}


def test_triton_http_reads_health_and_metadata(http: Any) -> None:
    assert http.is_server_live()
    assert http.is_server_ready()
    assert http.is_model_ready("shapes")
    said = http.get_model_metadata("shapes")
    assert (said["name"], said["platform"]) == ("shapes", "tempo")
    tensors = [(each["name"], each["datatype"], each["shape"]) for each in said["outputs"]]
    assert tensors[1:] == [("output-1", "BYTES", [1]), ("output-2", "INT64", [1])]


def test_triton_http_shows_what_is_wrong_with_an_input(http: Any) -> None:
    with pytest.raises(InferenceServerException) as caught:
        http.infer("echo", [http_input("y", np.ones(1))])
    assert (caught.value.status(), caught.value.message()) == ("422", BAD_INPUT)


def test_requests_of_triton_over_http_that_mlserver_cannot_read_are_422(http: Any) -> None:
    # MLServer takes no bare NaN in JSON.
    with pytest.raises(InferenceServerException, match="JSON decode error") as caught:
        http.infer("echo", [http_input("x", NOT_FINITE)])
    assert caught.value.status() == "422"


# -- tritonclient over gRPC ------------------------------------------------------------------------

SENT = {**ARRAYS, "not finite": NOT_FINITE}
ORDERS = {"orders": json.dumps([{"item": "tea", "amount": 2}]), "price": "1.5"}
ROW = np.ones((1, 2), np.float32)
GRPC_JOBS: dict[str, dict[str, Any]] = {
    **{case: {"do": "infer", "model": "echo", "inputs": {"x": SENT[case]}} for case in SENT},
    "several": {"do": "infer", "model": "shapes", "inputs": {"x": ROW}},
    "parameters": {"do": "infer", "model": "bill", "inputs": {}, "parameters": ORDERS},
    "metadata": {"do": "describe", "model": "shapes"},
    "bad input": {"do": "infer", "model": "echo", "inputs": {"y": ROW}},
    "stream": {"do": "stream", "model": "count-up", "inputs": {"to": np.array([2])}},
}


@pytest.fixture(scope="module")
def grpc(server: Server) -> dict[str, Any]:
    """The client's result of each job."""
    jobs = list(GRPC_JOBS.values())
    answers = run(sys.executable, "triton_grpc_client.py", jobs, server.grpc)
    return dict(zip(GRPC_JOBS, answers))


@pytest.mark.parametrize("case", SENT)
def test_triton_grpc_has_an_array_back(case: str, grpc: dict[str, Any]) -> None:
    assert same(as_texts(grpc[case]["output-0"]), SENT[case])


def test_triton_grpc_has_several_outputs_by_name(grpc: dict[str, Any]) -> None:
    found = {name: value.tolist() for name, value in grpc["several"].items()}
    assert found == {"output-0": [[1.0, 1.0]], "output-1": [b"float32"], "output-2": [2]}


def test_triton_grpc_may_give_small_arguments_as_parameters(grpc: dict[str, Any]) -> None:
    [bill] = grpc["parameters"]["output-0"]
    assert json.loads(bill) == {"orders": [{"item": "tea", "amount": 2}], "total": 3.0}


def test_triton_grpc_reads_health_and_metadata(grpc: dict[str, Any]) -> None:
    name, platform, outputs = grpc["metadata"]
    assert (name, platform) == ("shapes", "tempo")
    assert outputs[1:] == [("output-1", "BYTES", [1]), ("output-2", "INT64", [1])]


def test_triton_grpc_shows_what_is_wrong_with_an_input(grpc: dict[str, Any]) -> None:
    assert "[StatusCode.FAILED_PRECONDITION]" in grpc["bad input"]
    assert BAD_INPUT in grpc["bad input"]


def test_triton_grpc_takes_a_streams_items_for_errors(grpc: dict[str, Any]) -> None:
    # Its messages of a stream are not MLServer's: the model's name is where it looks for an error.
    assert grpc["stream"] == "count-up"


# -- mlserver infer --------------------------------------------------------------------------------


def test_mlserver_infer_answers_a_file_of_requests(server: Server, tmp_path: Path) -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [2, 1]}
    requests = [{"inputs": [{**tensor, "data": [k, 0.5]}]} for k in range(3)]
    requests.append({"inputs": [{**tensor, "name": "y", "data": [1, 2]}]})
    given, found = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text("".join(json.dumps(request) + "\n" for request in requests))
    options = ["-u", server.url.removeprefix("http://"), "-m", "double", "-r", "1"]
    command = [sys.executable, "-c", "from mlserver.cli import main; main()", "infer", *options]
    done = subprocess.run(
        [*command, "-i", str(given), "-o", str(found)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = {}
    for line in found.read_text().splitlines():
        answer = json.loads(line)
        answers[answer["parameters"]["batch_index"]] = answer
    assert [answers[k]["outputs"][0]["data"] for k in range(3)] == [
        [2.0 * k, 1.0] for k in range(3)
    ]
    assert answers[3]["error"]["msg"] == BAD_INPUT


# -- curl ------------------------------------------------------------------------------------------


def curl(*arguments: str) -> tuple[int, str]:
    """Status and body."""
    command = ["curl", "--silent", "--show-error", "--max-time", "30", "--noproxy", "*"]
    done = subprocess.run(
        [*command, "--write-out", "\n%{http_code}", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


JSON = ("--header", "content-type: application/json")
BILL = '{"inputs": [], "parameters": {"orders": [{"item": "tea", "amount": 2}], "price": 1.5}}'


def test_curl_is_answered_in_json(server: Server) -> None:
    status, body = curl(*JSON, "--data", BILL, f"{server.url}/v2/models/bill/infer")
    [output] = json.loads(body)["outputs"]
    assert (status, output["datatype"], output["shape"]) == (200, "BYTES", [1])
    assert json.loads(output["data"][0])["total"] == 3.0


def test_curl_is_streamed_to(server: Server, tmp_path: Path) -> None:
    request = '{"inputs": [{"name": "to", "datatype": "INT64", "shape": [1], "data": [3]}]}'
    status, body = curl(
        *JSON, "--no-buffer", "--data", request, f"{server.url}/v2/models/count-up/infer_stream"
    )
    events = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line]
    assert (status, [event["outputs"][0]["data"] for event in events]) == (200, [[1], [2], [3]])


def test_curl_is_told_what_is_wrong(server: Server) -> None:
    request = '{"inputs": [{"name": "y", "datatype": "FP64", "shape": [1], "data": [3]}]}'
    found = curl(*JSON, "--data", request, f"{server.url}/v2/models/echo/infer")
    body = json.loads(found[1])
    assert (found[0], body["error"], body["tempo"]["fault"]) == (422, BAD_INPUT, "client")


# -- JSON by hand ----------------------------------------------------------------------------------

SPELLINGS: dict[str, tuple[str, Any]] = {
    "flat": ('"datatype": "FP64", "shape": [2, 2], "data": [1, 2, 3, 4]', [1.0, 2.0, 3.0, 4.0]),
    "nested": ('"datatype": "FP64", "shape": [2, 2], "data": [[1, 2], [3, 4]]', [1.0, 2, 3, 4]),
    "one number": ('"datatype": "FP64", "shape": [1], "data": 3', [3.0]),
    "exponents": ('"datatype": "FP32", "shape": [2], "data": [1e3, -2.5E-1]', [1000.0, -0.25]),
    "null": ('"datatype": "FP64", "shape": [1], "data": [null]', [None]),
    "words": (
        '"datatype": "FP64", "shape": [2], "data": ["NaN", "-Infinity"]',
        [None, "-Infinity"],
    ),
    "booleans as numbers": ('"datatype": "BOOL", "shape": [2], "data": [1, 0]', [True, False]),
    "large": ('"datatype": "UINT64", "shape": [1], "data": [18446744073709551615]', [2**64 - 1]),
    "one text": ('"datatype": "BYTES", "shape": [1], "data": "a"', ["a"]),
    "escapes": ('"datatype": "BYTES", "shape": [1], "data": ["\\u00fc\\n"]', ["ü\n"]),
    "null parameters": (
        '"datatype": "INT8", "shape": [1], "data": [1], "parameters": null',
        [1],
    ),
    "unknown fields": ('"datatype": "INT8", "shape": [1], "data": [1], "more": {"a": 1}', [1]),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_json_is_read_however_it_is_spelled(case: str, server: Server) -> None:
    tensor, expected = SPELLINGS[case]
    answer = server.post("echo", f'\n{{"inputs" : [ {{"name": "x", {tensor}}} ]}} '.encode())
    assert (answer.status_code, answer.json()["outputs"][0]["data"]) == (200, expected)


def test_fields_of_a_request_may_be_null(server: Server) -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1], "parameters": None}
    answer = server.post(
        "echo", {"id": None, "inputs": [tensor], "outputs": None, "parameters": None}
    )
    assert answer.json()["outputs"][0]["data"] == [1.0]


def test_the_id_of_a_request_is_the_answers(server: Server) -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1]}
    assert server.post("echo", {"id": "7", "inputs": [tensor]}).json()["id"] == "7"


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        ('"datatype": "FP64", "shape": [-1], "data": [1]', "tensor 'x' has shape [-1]"),
        ('"datatype": "FP64", "shape": [3], "data": [1]', "which is 3 values, but its data has 1"),
        ('"datatype": "FP64", "shape": [2], "data": [[1], [1, 2]]', "tensor 'x' is ragged"),
        ('"datatype": "INT64", "shape": [1], "data": [1.5]', "INT64, which cannot hold 1.5"),
        ('"datatype": "fp64", "shape": [1], "data": [1]', "'FP64' or 'BYTES'"),
        ('"datatype": "BF16", "shape": [1], "data": [1]', "'FP64' or 'BYTES'"),
        ('"datatype": "FP64", "shape": [1]', '"inputs",0,"data"],"msg":"Field required"'),
    ],
)
def test_json_that_is_not_legal_is_refused_by_name(tensor: str, told: str, server: Server) -> None:
    answer = server.post("echo", f'{{"inputs": [{{"name": "x", {tensor}}}]}}'.encode())
    assert (answer.status_code, told in answer.text) == (422, True), answer.text
