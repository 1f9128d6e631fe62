"""Arguments of a call come back as they were, or are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.binding import decode_arguments, encode_arguments
from tempo_runtime.protocol.signature import Signature, TensorSpec
from tempo_runtime.protocol.tensor import Tensor
from tests.fidelity.frames import same as same_frame
from tests.helpers.value_strategies import WAYS, Point, frames, same

ROWS = np.array([[1.0, 2.0], [3.0, 4.0]])
FRAME = pd.DataFrame({"age": [1, 2], "job": ["a", "b"]})
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def explain(
    payload: npt.NDArray[np.float64],
    threshold: float = 0.9,
    names: list[str] | None = None,
    limit: Optional[int] = 5,  # noqa: UP045
) -> str: ...


def of_frame(frame: pd.DataFrame, k: int = 1) -> str: ...


def of_optional_frame(frame: pd.DataFrame | None, k: int = 1) -> str: ...


def of_default_frame(k: int = 1, frame: pd.DataFrame = None) -> str: ...


EXPLAIN = Signature.of(explain)


def call(function: Callable[..., Any], way: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    signature = Signature.of(function)
    return decode_arguments(
        signature, way(encode_arguments(signature, args, kwargs, tagged=True)), {}
    )


@ways
@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((ROWS,), {}, {"payload": ROWS}),
        ((ROWS, 0.5), {}, {"payload": ROWS, "threshold": 0.5}),
        ((), {"payload": ROWS, "names": ["a"]}, {"payload": ROWS, "names": ["a"]}),
        ((ROWS,), {"limit": None}, {"payload": ROWS, "limit": None}),
        ((ROWS, 1, None, 2), {}, {"payload": ROWS, "threshold": 1.0, "names": None, "limit": 2}),
    ],
)
def test_call_arrives_as_it_was_made(way: Any, args: Any, kwargs: Any, expected: Any) -> None:
    got = call(explain, way, *args, **kwargs)
    assert same({name: got[name] for name in sorted(got)}, dict(sorted(expected.items())))


@ways
def test_positional_values_of_an_unknown_signature_are_bound_by_place(way: Any) -> None:
    tensors = way(encode_arguments(None, (ROWS, 0.5), {"limit": 3}))
    assert [tensor.name for tensor in tensors] == ["input-0", "input-1", "limit"]
    got = decode_arguments(EXPLAIN, tensors[::-1], {})
    assert same(got, {"limit": 3, "threshold": 0.5, "payload": ROWS})


def test_small_arguments_may_come_in_the_requests_parameters() -> None:
    tensors = encode_arguments(EXPLAIN, (ROWS,), {})
    got = decode_arguments(EXPLAIN, tensors, {"threshold": "0.5", "names": '["a"]', "limit": None})
    assert (got["threshold"], got["names"], got["limit"]) == (0.5, ["a"], None)


def test_tensor_wins_over_a_parameter() -> None:
    tensors = encode_arguments(EXPLAIN, (ROWS, 0.1), {})
    assert decode_arguments(EXPLAIN, tensors, {"threshold": 0.9})["threshold"] == 0.1


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (dict, '{"a": 1}', {"a": 1}),
        (dict, {"a": 1}, {"a": 1}),
        (Point, '{"x": 1}', Point(x=1)),
        (str | list[int], "a", "a"),
        (bytes, "a", b"a"),
        (bool, True, True),
        (Any, "a", "a"),
        (npt.NDArray[np.float64], [1, 2], np.array([1.0, 2.0])),
        (Optional[int], None, None),  # noqa: UP045
    ],
)
def test_parameter_is_read_as_the_argument(hint: Any, value: Any, expected: Any) -> None:
    signature = Signature((TensorSpec.of("x", hint),))
    assert same(decode_arguments(signature, [], {"x": value})["x"], expected)


@ways
@settings(deadline=None, max_examples=25)
@given(frame=frames())
def test_frame_arrives_as_it_was(way: Any, frame: pd.DataFrame) -> None:
    got = call(of_frame, way, frame, 3)
    assert same(got["frame"], frame)
    assert got["k"] == 3


CLASHES = pd.DataFrame(
    [[70, 50, 1, 2, 3]], columns=["amount", "k", "frame", "input-0", "k"], index=["one"]
)


@ways
@pytest.mark.parametrize("kwargs", [{}, {"k": 5}], ids=str)
def test_a_column_named_as_an_argument_stays_a_column(way: Any, kwargs: Any) -> None:
    got = call(of_frame, way, CLASHES, **kwargs)
    same_frame(got.pop("frame"), CLASHES)
    assert got == kwargs


@ways
def test_a_column_named_as_an_argument_stays_one_where_no_signature_is_known(way: Any) -> None:
    tensors = way(encode_arguments(None, (CLASHES, 7), {}, tagged=True))
    got = decode_arguments(Signature.of(of_frame), tensors, {})
    same_frame(got.pop("frame"), CLASHES)
    assert got == {"k": 7}


def test_a_column_named_as_a_parameter_of_the_request_stays_a_column() -> None:
    signature = Signature.of(of_frame)
    got = decode_arguments(
        signature, encode_arguments(signature, (CLASHES,), {}, tagged=True), {"k": 9}
    )
    same_frame(got["frame"], CLASHES)
    assert got["k"] == 9


def test_of_a_foreign_client_a_tensor_named_as_an_argument_is_the_argument() -> None:
    tensors = [Tensor("amount", "INT64", [1], [70]), Tensor("k", "INT64", [1], [50])]
    got = decode_arguments(Signature.of(of_frame), tensors, {})
    assert (got["frame"].to_dict("list"), got["k"]) == ({"amount": [70]}, 50)


def of_anything(one: Any, two: Any = None) -> str: ...


@ways
def test_frames_arrive_in_arguments_of_any_type(way: Any) -> None:
    got = call(of_anything, way, CLASHES, FRAME)
    same_frame(got["one"], CLASHES)
    same_frame(got["two"], FRAME)


def test_a_frame_for_an_argument_of_another_type_is_refused() -> None:
    tensors = encode_arguments(None, (FRAME,), {}, tagged=True)
    with pytest.raises(PayloadError, match="'payload' must be array, but a DataFrame was given"):
        decode_arguments(EXPLAIN, tensors, {})


def test_a_value_that_is_not_a_dataframe_is_refused_with_the_name_of_its_argument() -> None:
    def join(left: int, right: pd.DataFrame) -> None: ...

    with pytest.raises(PayloadError, match="'right': a DataFrame is expected, but a list was"):
        encode_arguments(Signature.of(join), (1, [1]), {}, tagged=True)


def test_a_server_of_others_gets_the_columns_alone() -> None:
    frame = FRAME.set_axis(["x", "y"])
    tensors = encode_arguments(None, (frame,), {})
    assert [(tensor.name, tensor.parameters) for tensor in tensors] == [
        ("age", {"content_type": "np"}),
        ("job", {"content_type": "str"}),
    ]


@pytest.mark.parametrize(
    ("frame", "match"),
    [
        (pd.DataFrame({"a": [(1, 2)]}), "column 'a' of dtype object cannot be sent: the server"),
        (pd.DataFrame({"a": [pd.Timedelta(1)]}), "column 'a' of dtype timedelta64.*the server"),
        (pd.DataFrame({"a": [1j]}), "column 'a' of dtype complex128 cannot be sent: the server"),
        (pd.DataFrame({"a": pd.cut([1, 2], 2)}), "column 'a' of dtype category cannot be sent"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' is given twice"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "'1' is given twice"),
        (pd.DataFrame([[1]], columns=["k"]), "'k' is given twice"),
        (pd.DataFrame(index=[1]), "the DataFrame has no columns"),
    ],
)
def test_a_server_of_others_is_not_sent_what_it_cannot_read(frame: Any, match: str) -> None:
    with pytest.raises(PayloadError, match=match):
        encode_arguments(Signature.of(of_frame), (frame, 3), {})


def test_an_omitted_optional_argument_becomes_none() -> None:
    signature = Signature((TensorSpec.of("k", int | None),))
    assert decode_arguments(signature, encode_arguments(signature, (None,), {}), {}) == {"k": None}


def test_optional_frame_may_be_left_out() -> None:
    assert call(of_optional_frame, WAYS[0], None)["frame"] is None
    assert call(of_default_frame, WAYS[0], 2) == {"k": 2}
    assert call(of_default_frame, WAYS[0], 2, None) == {"k": 2, "frame": None}


def test_frame_of_an_unknown_signature_is_sent_by_column() -> None:
    tensors = encode_arguments(None, (FRAME,), {}, tagged=True)
    assert same(decode_arguments(Signature.of(of_frame), tensors, {})["frame"], FRAME)


@pytest.mark.parametrize(
    ("args", "kwargs", "match"),
    [
        ((), {}, "'payload' is missing; expected: payload, threshold, names, limit"),
        ((ROWS, 1, None, 2, 3), {}, "5 values were given, but 4 are expected"),
        ((ROWS,), {"treshold": 1}, "'treshold' is unknown; .*did you mean 'threshold'"),
        ((ROWS,), {"payload": ROWS}, "'payload' is given twice"),
        ((ROWS,), {"threshold": None}, "'threshold'.*number"),
        ((ROWS,), {"threshold": "high"}, "'threshold'.*number"),
        (([[1], [2, 3]],), {}, "'payload' is not an array"),
    ],
)
def test_wrong_call_is_not_sent(args: Any, kwargs: Any, match: str) -> None:
    with pytest.raises(PayloadError, match=match):
        encode_arguments(EXPLAIN, args, kwargs)


PAYLOAD = Tensor("payload", "FP64", [1, 1], [1.0])


@pytest.mark.parametrize(
    ("tensors", "parameters", "match"),
    [
        ([], {}, "'payload' is missing .given: none.; send it in inputs$"),
        ([PAYLOAD, PAYLOAD], {}, "'payload' is given twice"),
        ([PAYLOAD, Tensor("input-0", "FP64", [1], [1.0])], {}, "'payload' is given twice"),
        ([PAYLOAD, Tensor("input-9", "FP64", [1], [1.0])], {}, "'input-9' is unknown"),
        ([PAYLOAD, Tensor("pay_load", "FP64", [1], [1.0])], {}, "did you mean 'payload'"),
        ([Tensor("payload", "FP64", [2], [[1], [2, 3]])], {}, "'payload' is ragged"),
        ([PAYLOAD], {"threshold": "high"}, "'threshold'.*number"),
        ([PAYLOAD], {"threshold": None}, "'threshold'.*number"),
        ([PAYLOAD], {"limit": 1.5}, "'limit'.*integer"),
        ([PAYLOAD], {"names": "a"}, "'names'.*Invalid JSON"),
        ([PAYLOAD], {"names": [1]}, r"'names\.0'.*string"),
        ([], {"payload": [[1], [2, 3]]}, "'payload' is not an array"),
        ([], {"payload": "x"}, "'payload' must be float64"),
    ],
)
def test_wrong_request_is_refused_by_name(
    tensors: list[Tensor], parameters: dict[str, Any], match: str
) -> None:
    with pytest.raises(PayloadError, match=match) as caught:
        decode_arguments(EXPLAIN, tensors, parameters)
    assert caught.value.status == 422


def test_missing_small_argument_may_be_sent_in_the_parameters() -> None:
    signature = Signature((TensorSpec.of("k", int),))
    with pytest.raises(PayloadError, match=r"'k' is missing .*, or in the request's parameters"):
        decode_arguments(signature, [], {})
