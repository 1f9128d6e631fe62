"""A child may be any V2 server: every legal answer is understood, and one that is not says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from mlserver.grpc import dataplane_pb2 as pb

from tempo_runtime.clients.child import Child
from tempo_runtime.errors import ChildFailed
from tests.helpers.byte_faults import FaultyModel, Raw
from tests.helpers.value_strategies import same

Connect = Callable[..., Child]


@pytest.fixture(scope="module")
def fake() -> Iterator[FaultyModel]:
    with FaultyModel("model", grpc=True) as fake:
        yield fake


# -- over HTTP -------------------------------------------------------------------------------------


def over_http(connect: Connect, fake: FaultyModel, body: str | bytes, outputs: Any = None) -> Any:
    """Return the value of a child with this answer."""
    fake.script(Raw(body.encode() if isinstance(body, str) else body))
    return connect(fake.url, "model", outputs, flatten_single_column=False)(1)


def outputs_of(*tensors: str) -> str:
    return f'{{"model_name": "model", "outputs": [{", ".join(f"{{{t}}}" for t in tensors)}]}}'


def floats(*elements: float) -> Any:
    return np.array(elements, np.float64)


BOOLEANS = np.array([True, False])
# An output but for its name, and what it holds.
LEGAL: dict[str, tuple[str, Any]] = {
    "flat": ('"datatype": "FP64", "shape": [1, 2], "data": [1.5, 2]', np.array([[1.5, 2.0]])),
    "nested": ('"datatype": "FP32", "shape": [1, 2], "data": [[1, 2]]', np.array([[1, 2]], "f4")),
    "a column": ('"datatype": "INT8", "shape": [2, 1], "data": [1, 2]', np.array([[1], [2]], "i1")),
    "rank 0": ('"datatype": "FP64", "shape": [], "data": [2.5]', np.array(2.5)),
    "rank 0 without a list": ('"datatype": "FP64", "shape": [], "data": 2.5', np.array(2.5)),
    "empty": ('"datatype": "INT64", "shape": [0, 3], "data": []', np.zeros((0, 3), int)),
    "empty rows": ('"datatype": "FP64", "shape": [2, 0], "data": [[], []]', np.zeros((2, 0))),
    "integers for floats": ('"datatype": "FP64", "shape": [2], "data": [1, 2]', floats(1, 2)),
    "exponents": ('"datatype": "FP64", "shape": [2], "data": [1E3, 2.5e-1]', floats(1e3, 0.25)),
    "float16": ('"datatype": "FP16", "shape": [1], "data": [0.1]', np.array([0.1], "f2")),
    "true and false": ('"datatype": "BOOL", "shape": [2], "data": [true, false]', BOOLEANS),
    "1 and 0": ('"datatype": "BOOL", "shape": [2], "data": [1, 0]', BOOLEANS),
    "largest": (
        '"datatype": "UINT64", "shape": [1], "data": [18446744073709551615]',
        np.array([2**64 - 1], np.uint64),
    ),
    "smallest": (
        '"datatype": "INT64", "shape": [1], "data": [-9223372036854775808]',
        np.array([-(2**63)]),
    ),
    "bare NaN": (
        '"datatype": "FP64", "shape": [3], "data": [NaN, Infinity, -Infinity]',
        floats(np.nan, np.inf, -np.inf),
    ),
    "null and words": (
        '"datatype": "FP32", "shape": [3], "data": [null, "NaN", "Infinity"]',
        np.array([np.nan, np.nan, np.inf], "f4"),
    ),
    "text": ('"datatype": "BYTES", "shape": [2], "data": ["a", "\\u00fc"]', np.array(["a", "ü"])),
    "nested text": ('"datatype": "BYTES", "shape": [1, 1], "data": [["a"]]', np.array([["a"]])),
    "null parameters": (
        '"datatype": "FP64", "shape": [1], "data": [1], "parameters": null',
        floats(1),
    ),
    "other parameters": (
        '"datatype": "FP64", "shape": [1], "data": [1], "parameters": {"classification": 3}',
        floats(1),
    ),
}


@pytest.mark.parametrize("case", LEGAL)
def test_a_legal_output_is_read(case: str, fake: FaultyModel, connect: Connect) -> None:
    tensor, expected = LEGAL[case]
    found = over_http(connect, fake, outputs_of(f'"name": "y", {tensor}'))
    assert same(found, expected), found


ONE = '{"name": "y", "datatype": "FP64", "shape": [1], "data": [1]}'


@pytest.mark.parametrize(
    "body",
    [
        f'{{"outputs": [{ONE}]}}',
        f'{{"id": null, "model_version": null, "parameters": null, "outputs": [{ONE}]}}',
        f'{{"model_name": "other", "id": "7", "parameters": {{"a": 1}}, "outputs": [{ONE}]}}',
        f'\n {{ "outputs" :\t[ {ONE} ] ,\r\n "more": {{}} }}\n',
        f'\ufeff{{"outputs": [{ONE}]}}',
    ],
    ids=["outputs only", "nulls", "all", "white space", "byte order mark"],
)
def test_fields_of_an_answer_may_be_there_or_not(
    body: str, fake: FaultyModel, connect: Connect
) -> None:
    assert same(over_http(connect, fake, body), floats(1))


NOT_LEGAL: dict[str, tuple[str, str]] = {
    "lower case": ('"datatype": "fp64", "shape": [1], "data": [1]', "datatype 'fp64'"),
    "bfloat16": ('"datatype": "BF16", "shape": [1], "data": [1]', "datatype 'BF16'"),
    "any length": (
        '"datatype": "FP64", "shape": [-1], "data": [1]',
        r"shape \[-1\].*cannot be negative",
    ),
    "too few": ('"datatype": "FP64", "shape": [2], "data": [1]', "2 values, but its data has 1"),
    "ragged": ('"datatype": "FP64", "shape": [2], "data": [[1], [1, 2]]', "ragged"),
    "a fraction": ('"datatype": "INT64", "shape": [1], "data": [1.5]', "cannot hold 1.5"),
    "a float": ('"datatype": "INT64", "shape": [1], "data": [1e3]', r"cannot hold 1000\.0"),
    "too large": ('"datatype": "INT8", "shape": [1], "data": [300]', "cannot hold 300"),
    "NaN for integers": ('"datatype": "INT64", "shape": [1], "data": [NaN]', "cannot hold nan"),
    "no shape": ('"datatype": "FP64", "data": [1]', "'shape' must be a JSON list"),
    "no data": (
        '"datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}',
        "'data' must be a JSON value",
    ),
}


@pytest.mark.parametrize("case", NOT_LEGAL)
def test_an_output_that_is_not_legal_is_named(
    case: str, fake: FaultyModel, connect: Connect
) -> None:
    tensor, told = NOT_LEGAL[case]
    with pytest.raises(ChildFailed, match=f"child 'model'.*'y'.*{told}|child 'model'.*{told}.*'y'"):
        over_http(connect, fake, outputs_of(f'"name": "y", {tensor}'))


# -- several outputs -------------------------------------------------------------------------------

LABEL = '"name": "label", "datatype": "INT64", "shape": [2], "data": [0, 1]'
SCORE = '"name": "score", "datatype": "FP32", "shape": [2], "data": [0.25, 0.5]'
ODD = '"name": "odd", "datatype": "BF16", "shape": [1], "data": [0]'
LABELS, SCORES = np.array([0, 1]), np.array([0.25, 0.5], np.float32)


class Scored(NamedTuple):
    label: np.ndarray
    score: np.ndarray


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (None, {"score": SCORES, "label": LABELS}),
        (Scored, Scored(LABELS, SCORES)),
        ({"label": np.ndarray}, {"label": LABELS}),
        (tuple[np.ndarray, np.ndarray], (SCORES, LABELS)),
        (dict[str, np.ndarray], {"score": SCORES, "label": LABELS}),
    ],
    ids=["undeclared", "named", "one of them", "in order", "all of them"],
)
def test_several_outputs_are_found_by_name(
    outputs: Any, expected: Any, fake: FaultyModel, connect: Connect
) -> None:
    assert same(over_http(connect, fake, outputs_of(SCORE, LABEL), outputs), expected)


def test_an_output_that_is_not_declared_is_not_looked_at(
    fake: FaultyModel, connect: Connect
) -> None:
    found = over_http(connect, fake, outputs_of(ODD, SCORE, LABEL), Scored)
    assert same(found, Scored(LABELS, SCORES))


def test_one_of_several_outputs_has_to_be_chosen(fake: FaultyModel, connect: Connect) -> None:
    with pytest.raises(ChildFailed, match=r"\['label', 'score'\]; name one .* setting `output`"):
        over_http(connect, fake, outputs_of(LABEL, SCORE), np.ndarray)


def test_one_output_may_have_any_name(fake: FaultyModel, connect: Connect) -> None:
    assert same(over_http(connect, fake, outputs_of(LABEL), np.ndarray), LABELS)


# -- over gRPC -------------------------------------------------------------------------------------


def over_grpc(connect: Connect, fake: FaultyModel, message: Any, outputs: Any = None) -> Any:
    fake.script(Raw(message.SerializeToString()))
    return connect(fake.grpc_url, "model", outputs, flatten_single_column=False)(1)


def answer(
    datatype: str, shape: list[int], raw: bytes | None = None, **contents: list[Any]
) -> pb.ModelInferResponse:
    message = pb.ModelInferResponse(model_name="model")
    output = message.outputs.add(name="y", datatype=datatype, shape=shape)
    if raw is not None:
        message.raw_output_contents.append(raw)
    for field, elements in contents.items():
        getattr(output.contents, field).extend(elements)
    return message


MESSAGES: dict[str, tuple[Any, Any]] = {
    "raw": (answer("FP64", [1, 2], np.array([1.5, np.nan]).tobytes()), np.array([[1.5, np.nan]])),
    "typed": (answer("FP64", [2], fp64_contents=[1.5, np.inf]), floats(1.5, np.inf)),
    "float32": (answer("FP32", [1], fp32_contents=[0.1]), np.array([0.1], "f4")),
    "float16": (answer("FP16", [1], np.array([0.5], "f2").tobytes()), np.array([0.5], "f2")),
    "int8": (answer("INT8", [2], int_contents=[-128, 127]), np.array([-128, 127], "i1")),
    "smallest": (answer("INT64", [1], int64_contents=[-(2**63)]), np.array([-(2**63)])),
    "uint16": (answer("UINT16", [1], uint_contents=[65535]), np.array([65535], "u2")),
    "largest": (answer("UINT64", [1], uint64_contents=[2**64 - 1]), np.array([2**64 - 1], "u8")),
    "raw booleans": (answer("BOOL", [2], b"\x01\x00"), BOOLEANS),
    "typed booleans": (answer("BOOL", [2], bool_contents=[True, False]), BOOLEANS),
    "raw text": (answer("BYTES", [2], b"\2\0\0\0\xc3\xbc\0\0\0\0"), np.array(["ü", ""])),
    "typed text": (answer("BYTES", [1, 1], bytes_contents=["ü".encode()]), np.array([["ü"]])),
    "rank 0": (answer("FP64", [], fp64_contents=[2.5]), np.array(2.5)),
    "raw and empty": (answer("FP64", [0, 3], b""), np.zeros((0, 3))),
    "typed and empty": (answer("INT64", [0]), np.zeros(0, np.int64)),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_legal_message_is_read(case: str, fake: FaultyModel, connect: Connect) -> None:
    message, expected = MESSAGES[case]
    assert same(over_grpc(connect, fake, message), expected)


BAD_MESSAGES: dict[str, tuple[Any, str]] = {
    "bfloat16": (answer("BF16", [1], b"\0\0"), "'y' has datatype 'BF16'"),
    "lower case": (answer("fp64", [1], b"\0" * 8), "'y' has datatype 'fp64'"),
    "any length": (answer("FP64", [-1], b"\0" * 8), r"'y'.*shape \[-1\]"),
    "too few raw": (
        answer("FP64", [2], b"\0" * 8),
        "'y' has 8 bytes, which is not the size of FP64",
    ),
    "too few typed": (answer("FP64", [2], fp64_contents=[1]), "'y'.*2 values, but its data has 1"),
    "nothing": (answer("FP64", [1]), "'y'.*1 values, but its data has 0"),
    "cut text": (answer("BYTES", [1], b"\5\0\0\0ab"), "'y' ends within an element"),
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_a_message_that_is_not_legal_is_named(
    case: str, fake: FaultyModel, connect: Connect
) -> None:
    message, told = BAD_MESSAGES[case]
    with pytest.raises(ChildFailed, match=f"child 'model'.*{told}"):
        over_grpc(connect, fake, message)


def test_an_output_of_a_message_that_is_not_declared_is_not_looked_at(
    fake: FaultyModel, connect: Connect
) -> None:
    message = answer("BF16", [1], b"\0\0")
    message.outputs.add(name="label", datatype="INT64", shape=[2])
    message.raw_output_contents.append(LABELS.tobytes())
    found = over_grpc(connect, fake, message, {"label": np.ndarray})
    assert same(found, {"label": LABELS})
