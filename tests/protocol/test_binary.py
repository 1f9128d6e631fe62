"""Bodies with binary tensor data: what is written is read, and what does not fit is refused by name."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.binary import (
    AskedOutputs,
    attach_inputs,
    request_to_body,
    response_from_body,
    response_to_body,
    split_body,
)
from tempo_runtime.protocol.messages import Request, response_from_json
from tempo_runtime.protocol.tensor import BYTES, DATATYPES, Tensor

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
ALL = AskedOutputs(by_default=True)
# Every bit pattern: NaNs with payloads, -0.0, and integers beyond 2**53.
arrays = st.sampled_from(list(DATATYPES.values())).flatmap(
    lambda dtype: (
        hnp.arrays(dtype, SHAPES)
        if dtype.kind == "b"
        else hnp.arrays(f"u{dtype.itemsize}", SHAPES).map(lambda bits: bits.view(dtype))
    )
)
NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def request_from_body(content: bytes, lengths: list[str]) -> dict[str, Any]:
    head, raw = split_body(content, lengths)
    attach_inputs(head, raw)
    return head


def of(name: str, array: Any) -> Tensor:
    return Tensor(name, NAMES[array.dtype], list(array.shape), array, {"content_type": "np"})


def body(inputs: Any, raw: bytes = b"", **fields: Any) -> tuple[bytes, list[str]]:
    head = json.dumps({"inputs": inputs, **fields}).encode()
    return head + raw, [str(len(head))]


def raw_tensor(**fields: Any) -> dict[str, Any]:
    parameters = {"binary_data_size": fields.pop("size", 16)}
    return {"name": "x", "datatype": "FP64", "shape": [2], "parameters": parameters, **fields}


@settings(deadline=None, max_examples=100)
@given(st.lists(arrays, max_size=3))
def test_a_request_arrives_bit_by_bit(given_arrays: list[Any]) -> None:
    tensors = [of(f"x{i}", array) for i, array in enumerate(given_arrays)]
    content, length = request_to_body(Request(tensors, ["y"], {"a": 1}, "7"))
    found = request_from_body(content, [str(length)])
    assert (found["id"], found["outputs"]) == ("7", [{"name": "y"}])
    assert found["parameters"] == {"a": 1, "binary_data_output": True}
    for tensor, item in zip(tensors, found["inputs"]):
        data = item.pop("data")
        assert (data.dtype, data.tobytes()) == (tensor.data.dtype, tensor.data.tobytes())
        assert data.flags.writeable
        assert item == {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": tensor.shape,
            "parameters": {"content_type": "np"},
        }


@settings(deadline=None, max_examples=100)
@given(st.lists(arrays | st.lists(st.binary()), max_size=3))
def test_an_answer_arrives_bit_by_bit(values: list[Any]) -> None:
    tensors = [
        Tensor(f"y{i}", BYTES, [len(value)], value)
        if isinstance(value, list)
        else of(f"y{i}", value)
        for i, value in enumerate(values)
    ]
    content, length = response_to_body({"model_name": "m", "parameters": {"a": 1}}, tensors, ALL)
    if not values:
        assert length is None
        return
    found = response_from_body(content, [str(length)])
    assert found.parameters == {"a": 1}
    for tensor, answered in zip(tensors, found.tensors):
        if tensor.datatype == BYTES:
            assert answered.elements() == tensor.data
        else:
            assert answered.numbers().tobytes() == tensor.data.tobytes()
        assert (answered.name, answered.parameters) == (tensor.name, tensor.parameters)


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.text(max_size=4) | st.integers(-1, 300).map(str)))
def test_any_body_is_read_or_refused(content: bytes, lengths: list[str]) -> None:
    for read in (request_from_body, response_from_body):
        with suppress(PayloadError):
            read(content, lengths)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 20) | st.sampled_from(["x", BYTES, *DATATYPES]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("a"), inner),
    max_leaves=4,
)
items = st.fixed_dictionaries(
    {"name": anything, "datatype": anything, "shape": st.lists(st.integers(-2, 3)) | anything},
    optional={"data": anything, "parameters": st.just({"binary_data_size": 8}) | anything},
)


@settings(deadline=None)
@given(anything | st.lists(items | anything, max_size=3), st.binary(max_size=24))
def test_any_tensors_are_read_or_refused(inputs: Any, raw: bytes) -> None:
    content, lengths = body(inputs, raw)
    with suppress(PayloadError):
        request_from_body(content, lengths)


REFUSED: dict[str, tuple[tuple[bytes, list[str]], str]] = {
    "too few bytes": (
        body([raw_tensor()], b"\0" * 15),
        "input 'x' has binary_data_size 16, but the body has only 15 more bytes; correct the size",
    ),
    "too many bytes": (
        body([raw_tensor()], b"\0" * 17),
        "1 bytes follow input 'x', and no input states them as its binary_data_size",
    ),
    "bytes of nobody": (body([], b"\0"), "1 bytes follow the JSON, and no input states them"),
    "not the shape's": (
        body([raw_tensor(size=8)], b"\0" * 8),
        "input 'x' has 8 bytes, which is not the size of FP64 in shape [2]",
    ),
    "negative dimensions": (
        body([raw_tensor(shape=[-1, -2])], b"\0" * 16),
        "'x' has shape [-1, -2], but dimensions cannot be negative",
    ),
    "too many dimensions": (
        body([raw_tensor(shape=[2**62] * 65)], b"\0" * 16),
        "'x' has 65 dimensions, but an array has at most 64; send the actual shape",
    ),
    "empty rows": (
        body([raw_tensor(shape=[2**40, 0], size=0)]),
        "'x' has shape [1099511627776, 0], which is too many empty rows",
    ),
    "data as well": (
        body([raw_tensor(data=[1, 2])], b"\0" * 16),
        "input 'x' has both data and the parameter binary_data_size; send one of them",
    ),
    "negative size": (
        body([raw_tensor(size=-16)], b"\0" * 16),
        "input 'x' has binary_data_size -16; it must be its number of bytes",
    ),
    "size as text": (body([raw_tensor(size="16")], b"\0" * 16), "has binary_data_size '16'; it"),
    "size as boolean": (body([raw_tensor(size=True)], b"\0"), "has binary_data_size True; it"),
    "size null": (body([raw_tensor(size=None)]), "has binary_data_size None; it must be"),
    "BF16": (
        body([raw_tensor(datatype="BF16", size=4)], b"\0" * 4),
        "input 'x' has datatype 'BF16', which is not supported as binary data; convert it to one of",
    ),
    "boolean": (
        body([raw_tensor(datatype="BOOL", size=2)], b"\1\2"),
        "input 'x' has datatype BOOL, but one of its bytes is neither 0 nor 1",
    ),
    "cut text": (
        body([raw_tensor(datatype=BYTES, shape=[1], size=6)], b"\5\0\0\0ab"),
        "input 'x' ends within an element",
    ),
    "text of another shape": (
        body([raw_tensor(datatype=BYTES, shape=[2], size=5)], b"\1\0\0\0a"),
        "'x' has shape [2], which is 2 values, but its data has 1",
    ),
    "no shape": (body([raw_tensor(shape=None)], b"\0" * 16), "'shape' must be a JSON list"),
    "length not a number": ((b"{}", ["two"]), "is 'two'; it must be the number of bytes"),
    "length negative": ((b"{}", ["-2"]), "is '-2'; it must be the number of bytes"),
    "length of other digits": ((b"{}", ["\u0662"]), "it must be the number of bytes"),
    "length too long": ((b"{}", ["1" * 5000]), "it must be the number of bytes of the body's JSON"),
    "length beyond the body": ((b"{}", ["3"]), "is 3, but the body has 2 bytes"),
    "no JSON": ((b"\0" * 16, ["0"]), "is 0, but the body has 16 bytes"),
    "other than JSON": ((b"\0" * 16, ["16"]), "the first 16 bytes of the body, which are its JSON"),
    "not an object": ((b"[1]", ["3"]), "a V2 body, which must be a JSON object"),
    "length given twice": ((b"{}", ["2", "2"]), "is given 2 times; send it once"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_does_not_fit_is_refused_by_name(case: str) -> None:
    (content, lengths), told = REFUSED[case]
    with pytest.raises(PayloadError) as caught:
        request_from_body(content, lengths)
    assert told in str(caught.value)


def test_outputs_are_asked_for_together_or_one_by_one() -> None:
    outputs = [{"name": name, "parameters": {"binary_data": name == "a"}} for name in "ab"]
    content = {"outputs": [*outputs, {"name": "c"}], "parameters": {"binary_data_output": True}}
    asked = AskedOutputs.take(content)
    assert [name in asked for name in "abcd"] == [True, False, True, True]
    assert content == {"outputs": [{"name": n, **p} for n, p in NOTHING_LEFT], "parameters": {}}


NOTHING_LEFT: list[tuple[str, dict[str, Any]]] = [
    ("a", {"parameters": {}}),
    ("b", {"parameters": {}}),
    ("c", {}),
]


def test_an_output_is_asked_for_with_true_or_false() -> None:
    content = {"outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}]}
    with pytest.raises(PayloadError, match="output 'y' has the parameter 'binary_data' 'yes'"):
        AskedOutputs.take(content)


def test_outputs_that_are_not_asked_for_stay_in_the_json() -> None:
    tensors = [of(name, np.array([1.5, np.inf])) for name in "ab"]
    content, length = response_to_body(
        {"model_name": "m"}, tensors, AskedOutputs(named={"b": True})
    )
    assert length == len(content) - 16
    head = json.loads(content[:length])
    assert [output.get("data") for output in head["outputs"]] == [[1.5, "Infinity"], None]


@pytest.mark.parametrize(
    "tensor",
    [Tensor("y", "FP64", [3], [1.0]), Tensor("y", BYTES, [2], ["a", None])],
    ids=["another shape", "null"],
)
def test_an_output_that_cannot_be_binary_stays_in_the_json(tensor: Tensor) -> None:
    content, length = response_to_body({"model_name": "m"}, [tensor], ALL)
    assert length is None
    assert response_from_json(content).tensors == [tensor]


def test_an_output_of_an_unknown_datatype_is_refused_once_it_is_used() -> None:
    output = {"name": "y", "datatype": "BF16", "shape": [1], "parameters": {"binary_data_size": 2}}
    head = json.dumps({"outputs": [output]}).encode()
    [found] = response_from_body(head + b"\0\0", [str(len(head))]).tensors
    with pytest.raises(PayloadError, match="'y' has datatype 'BF16'"):
        found.numbers()
