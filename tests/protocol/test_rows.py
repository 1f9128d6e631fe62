"""Requests that are put together by their rows, and answers that are split again."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tempo_runtime.protocol import messages
from tempo_runtime.protocol.binding import encode_arguments
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.rows import NotRowWise, Rows, have_rows, join, rows_of, split
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.protocol.tensor import BYTES, DATATYPES, Tensor
from tests.helpers.value_strategies import same

MATRIX = np.arange(6.0).reshape(3, 2)
_ROWS = st.lists(st.integers(0, 4), min_size=1, max_size=4)


def _numbers(dtype: np.dtype[Any]) -> st.SearchStrategy[list[Tensor]]:
    def tensors(drawn: tuple[list[int], tuple[int, ...]]) -> st.SearchStrategy[list[Tensor]]:
        rows, trailing = drawn
        arrays = [hnp.arrays(dtype, (count, *trailing)) for count in rows]
        name = next(name for name, known in DATATYPES.items() if known == dtype)
        return st.tuples(*arrays).map(
            lambda parts: [Tensor("x", name, list(part.shape), part) for part in parts]
        )

    trailing = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
    return st.tuples(_ROWS, st.one_of(st.just(()), trailing)).flatmap(tensors)


def _texts() -> st.SearchStrategy[list[Tensor]]:
    def tensors(drawn: tuple[list[int], int, bool]) -> st.SearchStrategy[list[Tensor]]:
        rows, width, column = drawn
        trailing = [width] if column else []
        width = width if column else 1
        element = st.one_of(st.text(max_size=4), st.binary(max_size=4))
        lists = [st.lists(element, min_size=n * width, max_size=n * width) for n in rows]
        return st.tuples(*lists).map(
            lambda parts: [Tensor("x", BYTES, [n, *trailing], p) for n, p in zip(rows, parts)]
        )

    return st.tuples(_ROWS, st.integers(0, 3), st.booleans()).flatmap(tensors)


numbers = st.sampled_from(list(DATATYPES.values())).flatmap(_numbers)
calls = st.one_of(_texts(), numbers)


@given(calls)
@settings(deadline=None, max_examples=150)
def test_the_parts_of_an_answer_are_the_calls_that_were_joined(tensors: list[Tensor]) -> None:
    joined = join([Request([tensor]) for tensor in tensors], [True])
    assert joined.tensors[0].shape[0] == sum(tensor.shape[0] for tensor in tensors)
    counts = [tensor.shape[0] for tensor in tensors]
    for tensor, part in zip(tensors, split(Response(joined.tensors), counts)):
        [back] = part.tensors
        assert (back.shape, back.datatype) == (tensor.shape, tensor.datatype)
        if isinstance(tensor.data, np.ndarray):
            assert same(back.data, tensor.data)
        else:
            assert back.data == tensor.data


@given(numbers)
@settings(deadline=None, max_examples=50)
def test_an_answer_in_json_is_split_like_the_arrays_it_holds(tensors: list[Tensor]) -> None:
    joined = join([Request([tensor]) for tensor in tensors], [True])
    body = messages.response_to_json(Response(joined.tensors), "m")
    counts = [tensor.shape[0] for tensor in tensors]
    for tensor, part in zip(tensors, split(messages.response_from_json(body), counts)):
        assert same(part.tensors[0].numbers(), tensor.data)


def test_nested_lists_are_split_by_rows() -> None:
    whole = Response([Tensor("y", "INT64", [3, 2], [[1, 2], [3, 4], [5, 6]])])
    first, second = split(whole, [1, 2])
    assert (first.tensors[0].shape, first.tensors[0].data) == ([1, 2], [[1, 2]])
    assert (second.tensors[0].shape, second.tensors[0].data) == ([2, 2], [[3, 4], [5, 6]])


def test_each_part_keeps_the_parameters_and_the_address_of_the_answer() -> None:
    tensor = Tensor("y", "INT64", [2], [1, 2], {"content_type": "np"})
    parts = split(Response([tensor], {"content_type": "pd", "k": [1]}, "http://here"), [1, 1])
    for part in parts:
        assert part.parameters == {"content_type": "pd", "k": [1]}
        assert part.tensors[0].parameters == {"content_type": "np"}
        assert part.url == "http://here"


def test_a_part_does_not_keep_the_rows_of_the_others_in_memory() -> None:
    tensor = Tensor("y", "FP64", [3, 2], MATRIX)
    assert split(Response([tensor]), [1, 2])[0].tensors[0].data.base is None


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ([], "has no outputs"),
        ([Tensor("y", "INT64", [2], [1, 2])], "'y' has shape \\[2\\] for 3 rows"),
        ([Tensor("y", "FP64", [], np.array(1.0))], "'y' has shape \\[\\]"),
        ([Tensor("y", BYTES, [1], ['{"a": 1}'], {"content_type": "json"})], "shape \\[1\\]"),
        ([Tensor("y", "INT64", [3], [1, 2])], "has 2 elements"),
        ([Tensor("y", "INT64", [3], None)], "elements"),
        ([Tensor("y", "INT64", [3], [1, 2, 3]), Tensor("z", "INT64", [1], [1])], "'z'"),
        ([Tensor("y", BYTES, [3, 1], ["a"] * 3, {"pandas": "{}"})], "DataFrame"),
    ],
)
def test_an_answer_without_a_row_for_each_row_is_not_split(
    outputs: list[Tensor], reason: str
) -> None:
    with pytest.raises(NotRowWise, match=reason):
        split(Response(outputs), [1, 2])


def of(*args: Any, signature: Signature | None = None, **kwargs: Any) -> Rows | None:
    tensors = encode_arguments(signature, args, kwargs, tagged=signature is not None)
    return rows_of(Request(tensors), have_rows(signature))


@pytest.mark.parametrize(
    "value",
    [
        MATRIX,
        MATRIX[0],
        np.array(["a", "b"]),
        np.array([[True]]),
        np.zeros((2, 3, 4), np.float16),
        ["a", "b"],
        [b"a", b"\xff"],
        [dt.datetime(2026, 1, 31)],
        "a text",
    ],
)
def test_arrays_and_lists_have_rows(value: Any) -> None:
    rows = of(value)
    assert rows is not None
    assert rows.count == (len(value) if not isinstance(value, str) else 1)
    assert rows.inputs == (True,)


@pytest.mark.parametrize(
    "value", [{"a": 1}, [1, "a"], None, np.float64(1), np.array(1.0), MATRIX[:0], []]
)
def test_a_call_without_rows_is_made_alone(value: Any) -> None:
    assert of(value) is None


def test_texts_whose_declared_shape_is_their_length_are_sent_alone() -> None:
    assert rows_of(Request([Tensor("x", BYTES, [5], [b"hello"])]), {}) is None


def test_inputs_with_different_numbers_of_rows_are_sent_alone() -> None:
    assert of(MATRIX, np.arange(2.0)) is None


def test_rows_of_a_frame_are_those_of_its_columns() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    parameters = {"content_type": "pd"}
    rows = rows_of(Request(encode_arguments(None, (frame,), {}), parameters=parameters), {})
    assert rows is not None
    assert rows.count == 2
    one = Request(encode_arguments(None, (frame[:1],), {}), parameters=parameters)
    found = rows_of(one, {})
    assert found is not None
    assert found.form == rows.form


def test_a_frame_with_a_description_is_sent_alone_because_that_has_its_index() -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    request = Request(encode_arguments(None, (frame,), {}, tagged=True))
    assert rows_of(request, {}) is None


def _request(**changes: Any) -> Request:
    given = {"tensors": [Tensor("x", "FP64", [3, 2], MATRIX, {"content_type": "np"})]} | changes
    return Request(**given)


@pytest.mark.parametrize(
    "other",
    [
        _request(tensors=[Tensor("z", "FP64", [3, 2], MATRIX, {"content_type": "np"})]),
        _request(tensors=[Tensor("x", "FP64", [3, 2], MATRIX)]),
        _request(tensors=[Tensor("x", "FP64", [3, 2], MATRIX, {"content_type": "pd"})]),
        _request(tensors=[Tensor("x", "FP64", [2, 3], MATRIX.T, {"content_type": "np"})]),
        _request(
            tensors=[Tensor("x", "FP32", [3, 2], MATRIX.astype(np.float32), {"content_type": "np"})]
        ),
        _request(
            tensors=[Tensor("x", "FP64", [3, 2], MATRIX.astype(">f8"), {"content_type": "np"})]
        ),
        _request(outputs=["predict_proba"]),
        _request(parameters={"threshold": 1}),
        _request(parameters={"threshold": True}),
    ],
)
def test_calls_that_differ_in_more_than_rows_have_different_forms(other: Request) -> None:
    one, two = rows_of(_request(), {}), rows_of(other, {})
    assert one is not None
    assert two is not None
    assert one.form != two.form


def test_true_and_one_are_different_parameters() -> None:
    forms = {
        getattr(rows_of(_request(parameters={"k": value}), {}), "form", None)
        for value in (1, True, 1.0, "1")
    }
    assert len(forms) == 4


def test_the_id_does_not_matter() -> None:
    assert rows_of(_request(id="1"), {}) == rows_of(_request(id="2"), {})


def test_parameters_that_are_not_json_are_sent_alone() -> None:
    assert rows_of(_request(parameters={"k": object()}), {}) is None


def predict(
    x: np.ndarray, threshold: float = 0.5, options: dict[str, int] | None = None
) -> Any: ...


SIGNED = Signature.of(predict)


def test_arguments_without_rows_go_along_if_their_values_are_the_same() -> None:
    calls = [of(MATRIX[: i + 1], 0.1, {"k": 1}, signature=SIGNED) for i in range(3)]
    others = [of(MATRIX, 0.2, {"k": 1}, signature=SIGNED), of(MATRIX, 0.1, signature=SIGNED)]
    forms = {call.form for call in calls if call}
    assert len(forms) == 1
    assert all(other is not None and other.form not in forms for other in others)
    assert calls[0] is not None
    assert calls[0].inputs == (True, False, False)
    requests = [
        Request(encode_arguments(SIGNED, (MATRIX[: i + 1], 0.1, {"k": 1}), {}, tagged=True))
        for i in range(3)
    ]
    joined = join(requests, calls[0].inputs)
    assert [tensor.shape for tensor in joined.tensors] == [[6, 2], [1], [1]]


def test_a_number_beside_an_array_is_not_taken_for_a_row_without_a_signature() -> None:
    one, two = of(MATRIX[:1], 0.1), of(MATRIX[:1], 0.2)
    assert one is not None
    assert two is not None
    assert one.inputs == (True, False)
    assert one.form != two.form


def test_single_values_alone_do_not_have_rows_without_a_signature() -> None:
    assert of("a question", "a context") is None


def test_nan_in_an_argument_without_rows_is_the_same_value() -> None:
    one, two = (of(MATRIX, float("nan"), signature=SIGNED) for _ in range(2))
    assert one is not None
    assert one == two
