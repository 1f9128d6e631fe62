"""TempoPipelineRuntime over gRPC, called with MLServer's own stubs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from mlserver.grpc import converters
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from tempo_runtime import save
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request, from_mlserver, to_mlserver_request
from tempo_runtime.testing import Server, serve
from tests.helpers import pipelines

# MLServer's own converters use what pydantic deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The `construct` method is deprecated")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("artifacts")
    for target in (pipelines.echo, pipelines.bill, pipelines.count_up, pipelines.broken):
        save(target, str(root / target.details.name))
    with serve(root) as server:
        yield server


@pytest.fixture
def stub(server: Server) -> Iterator[GRPCInferenceServiceStub]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


def request(model: str, *, raw: bool = False, **arguments: Any) -> pb.ModelInferRequest:
    tensors = encode_arguments(None, (), arguments)
    for tensor in tensors:
        if isinstance(tensor.data, np.ndarray):
            tensor.data = tensor.data.ravel().tolist()
    content = to_mlserver_request(Request(tensors))
    return converters.ModelInferRequestConverter.from_types(content, model, use_raw=raw)


def result(answer: pb.ModelInferResponse) -> Any:
    content = converters.ModelInferResponseConverter.to_types(answer)
    return decode_results(None, [from_mlserver(output) for output in content.outputs])


VALUES: dict[str, Any] = {
    "integers": np.arange(6).reshape(2, 3),
    "not finite": np.array([np.inf, -np.inf, np.nan]),
    "float32": np.ones((2, 1), np.float32),
    "booleans": np.array([True, False]),
    "text": "käse",
    "texts": ["a", "b"],
    "bytes": b"\xff\x00",
    "a dict": {"a": [1, None], "b": 2**70},
}


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
@pytest.mark.parametrize("case", VALUES)
def test_a_value_comes_back_as_it_went(
    case: str, raw: bool, stub: GRPCInferenceServiceStub
) -> None:
    value = VALUES[case]
    answer = stub.ModelInfer(request("echo", raw=raw, x=value))
    assert bool(answer.raw_output_contents) == raw
    found = result(answer)
    if isinstance(value, np.ndarray):
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found, value)
    else:
        assert (type(found), found) == (type(value), value)


def test_small_arguments_come_as_parameters_of_any_grpc_type(
    stub: GRPCInferenceServiceStub,
) -> None:
    asked = pb.ModelInferRequest(model_name="bill")
    asked.parameters["orders"].string_param = json.dumps([{"item": "tea", "amount": 2}])
    asked.parameters["price"].string_param = "1.5"
    assert result(stub.ModelInfer(asked))["total"] == 3.0


def test_a_generator_streams(stub: GRPCInferenceServiceStub) -> None:
    answers = stub.ModelStreamInfer(iter([request("count-up", to=3)]))
    assert [result(answer).item() for answer in answers] == [1, 2, 3]


@pytest.mark.parametrize(
    ("model", "arguments", "code", "told"),
    [
        ("echo", {}, grpc.StatusCode.FAILED_PRECONDITION, "tensor 'x' is missing"),
        ("broken", {"kind": "value"}, grpc.StatusCode.INTERNAL, "ValueError: this is wrong"),
    ],
)
def test_an_error_has_its_code_and_its_words(
    model: str,
    arguments: dict[str, Any],
    code: grpc.StatusCode,
    told: str,
    stub: GRPCInferenceServiceStub,
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request(model, **arguments))
    assert caught.value.code() == code
    assert told in caught.value.details()


def test_a_stream_that_fails_has_its_code(stub: GRPCInferenceServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ModelStreamInfer(iter([request("count-up")])))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_a_parameter_whose_type_grpc_has_no_word_for_is_refused_by_name(
    stub: GRPCInferenceServiceStub,
) -> None:
    asked = request("bill", orders=[{"item": "tea"}])
    asked.parameters["price"].Clear()  # the form of a float
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(asked)
    assert "parameter 'price' arrived without a value" in caught.value.details()
