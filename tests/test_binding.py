"""Arguments of a call come back as they were, or are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings

from tempo_runtime.binding import decode_arguments, encode_arguments
from tempo_runtime.errors import PayloadError
from tempo_runtime.signature import Signature, TensorSpec
from tempo_runtime.tensor import Tensor
from tests.strategies import WAYS, Point, frames, same

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
    return decode_arguments(signature, way(encode_arguments(signature, args, kwargs)), {})


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
    if "k" in frame.columns:
        return
    got = call(of_frame, way, frame, 3)
    assert same(got["frame"], frame)
    assert got["k"] == 3


def test_optional_argument_that_is_left_out_is_none() -> None:
    signature = Signature((TensorSpec.of("k", int | None),))
    assert decode_arguments(signature, encode_arguments(signature, (None,), {}), {}) == {"k": None}


def test_optional_frame_may_be_left_out() -> None:
    assert call(of_optional_frame, WAYS[0], None)["frame"] is None
    assert call(of_default_frame, WAYS[0], 2) == {"k": 2}
    assert call(of_default_frame, WAYS[0], 2, None) == {"k": 2}


def test_frame_of_an_unknown_signature_is_sent_by_column() -> None:
    tensors = encode_arguments(None, (FRAME,), {})
    assert same(decode_arguments(Signature.of(of_frame), tensors, {})["frame"], FRAME)


@pytest.mark.parametrize(
    ("args", "kwargs", "match"),
    [
        ((), {}, "'payload' is missing; it takes payload, threshold, names, limit"),
        ((ROWS, 1, None, 2, 3), {}, "5 values were given, and it takes 4"),
        ((ROWS,), {"treshold": 1}, "'treshold' is unknown; .*did you mean 'threshold'"),
        ((ROWS,), {"payload": ROWS}, "'payload' is given twice"),
        ((ROWS,), {"threshold": None}, "'threshold'.*number"),
        ((ROWS,), {"threshold": "high"}, "'threshold'.*number"),
        (([[1], [2, 3]],), {}, "'payload' is no array"),
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
        ([], {"payload": [[1], [2, 3]]}, "'payload' is no array"),
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
