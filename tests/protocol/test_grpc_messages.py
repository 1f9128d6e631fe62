"""Tensors and the V2 protocol's protobuf messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mlserver.grpc import dataplane_pb2 as pb

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.grpc_messages import request_to_proto, response_from_proto
from tempo_runtime.protocol.messages import Request
from tempo_runtime.protocol.tensor import BYTES, DATATYPES, Tensor

SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def answered(tensor: Tensor) -> Tensor:
    """Return the answer of a server that returns its inputs."""
    asked = request_to_proto(Request([tensor]), "echo", None)
    answer = pb.ModelInferResponse(raw_output_contents=asked.raw_input_contents)
    for part in asked.inputs:
        answer.outputs.add().MergeFromString(part.SerializeToString())
    [found] = response_from_proto(answer).tensors
    return found


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_numbers_come_back_bit_by_bit(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays.arrays(DATATYPES[datatype], SHAPES))
    found = answered(Tensor("x", datatype, list(array.shape), array, {"content_type": "np"}))
    assert (found.name, found.datatype, found.parameters) == ("x", datatype, {"content_type": "np"})
    numbers = found.numbers()
    assert (numbers.dtype, numbers.shape) == (array.dtype, array.shape)
    assert numbers.tobytes() == array.tobytes()
    assert numbers.flags.writeable


@settings(deadline=None, max_examples=50)
@given(elements=st.lists(st.binary()))
def test_bytes_come_back(elements: list[bytes]) -> None:
    assert answered(Tensor("x", BYTES, [len(elements)], elements)).elements() == elements


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("INT64", "int64_contents", [1, -2]),
        ("UINT8", "uint_contents", [1, 2]),
        ("FP64", "fp64_contents", [0.5, float("inf")]),
        ("FP32", "fp32_contents", [0.5, 1.0]),
        ("BOOL", "bool_contents", [True, False]),
    ],
)
def test_typed_contents_are_read_too(datatype: str, field: str, values: list[Any]) -> None:
    answer = pb.ModelInferResponse()
    part = answer.outputs.add(name="y", datatype=datatype, shape=[2])
    getattr(part.contents, field).extend(values)
    [found] = response_from_proto(answer).tensors
    np.testing.assert_array_equal(found.numbers(), values)


@pytest.mark.parametrize(
    ("datatype", "shape", "content"),
    [
        ("INT64", [2], b"\0" * 15),
        ("FP32", [1], b""),
        (BYTES, [1], b"\0"),
        (BYTES, [1], b"\5\0\0\0abc"),
    ],
)
def test_raw_contents_that_do_not_fit_are_refused(
    datatype: str, shape: list[int], content: bytes
) -> None:
    answer = pb.ModelInferResponse(raw_output_contents=[content])
    answer.outputs.add(name="y", datatype=datatype, shape=shape)
    with pytest.raises(PayloadError, match="output 'y'"):
        response_from_proto(answer)


def test_an_output_without_raw_contents_of_its_own_is_refused() -> None:
    answer = pb.ModelInferResponse(raw_output_contents=[b"\1"])
    for name in ("x", "y"):
        answer.outputs.add(name=name, datatype="UINT8", shape=[1])
    with pytest.raises(PayloadError, match="output 'y' has no raw contents"):
        response_from_proto(answer)


def test_parameters_keep_the_types_that_grpc_has() -> None:
    sent = {"flag": True, "number": 3, "text": "a"}
    message = request_to_proto(Request([], ["predict"], sent, "7"), "m", "v1")
    assert (message.model_name, message.model_version, message.id) == ("m", "v1", "7")
    assert [output.name for output in message.outputs] == ["predict"]
    answer = pb.ModelInferResponse()
    for name, value in message.parameters.items():
        answer.parameters[name].CopyFrom(value)
    assert response_from_proto(answer).parameters == sent


def test_raw_contents_of_an_unknown_datatype_are_refused_once_they_are_used() -> None:
    answer = pb.ModelInferResponse(raw_output_contents=[b"\0\0"])
    answer.outputs.add(name="y", datatype="BF16", shape=[1])
    [found] = response_from_proto(answer).tensors
    with pytest.raises(PayloadError, match="'y' has datatype 'BF16'"):
        found.numbers()
