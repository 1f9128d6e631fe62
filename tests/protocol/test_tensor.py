"""Numbers and elements of a tensor, as a client wrote them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.tensor import BYTES, Tensor, datatype_of, json_numbers, plain_numbers
from tests.helpers.value_strategies import numbers, same


def refuses(tensor: Tensor, match: str, read: str = "numbers") -> None:
    with pytest.raises(PayloadError, match=match) as caught:
        getattr(tensor, read)()
    assert "'x'" in str(caught.value)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "expected"),
    [
        ("FP64", [2, 2], [1, 2, 3, 4], np.array([[1.0, 2.0], [3.0, 4.0]])),
        ("FP64", [2, 2], [[1, 2], [3, 4]], np.array([[1.0, 2.0], [3.0, 4.0]])),
        ("FP32", [2], [None, "NaN"], np.array([math.nan, math.nan], np.float32)),
        ("FP16", [2], ["Infinity", "-Infinity"], np.array([math.inf, -math.inf], np.float16)),
        ("FP64", [1, 2], [[1, None]], np.array([[1.0, math.nan]])),
        ("FP64", [1], [2**70], np.array([2.0**70])),
        ("FP64", [], 1.5, np.array(1.5)),
        ("BOOL", [3], [True, False, True], np.array([True, False, True])),
        ("BOOL", [2], [1, 0], np.array([True, False])),
        ("UINT64", [2], [2**64 - 1, 0], np.array([2**64 - 1, 0], np.uint64)),
        ("INT64", [2], [-(2**63), 2**63 - 1], np.array([-(2**63), 2**63 - 1])),
        ("INT8", [0, 3], [], np.zeros((0, 3), np.int8)),
        ("FP32", [2], np.array([1, 2], np.float64), np.array([1, 2], np.float32)),
    ],
)
def test_numbers_are_read_in_datatype_and_shape(
    datatype: str, shape: list[int], data: Any, expected: Any
) -> None:
    assert same(expected, Tensor("x", datatype, shape, data).numbers())


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "match"),
    [
        ("FP64", [3], [[1, 2], [3]], "ragged"),
        ("FP64", [3], [1, [2, 3]], "ragged"),
        ("FP64", [3], [1, 2], r"shape \[3\], which is 3 values, but its data has 2"),
        ("FP64", [0], [1], "0 values, but its data has 1"),
        ("FP64", [4], [[1, 2], [3, 4]], r"nested as \[2, 2\]"),
        ("FP64", [4], [[1, None], [3, 4]], r"nested as \[2, 2\]"),
        ("FP64", [3, 2], [[1, 2, 3], [4, 5, 6]], r"nested as \[2, 3\]"),
        ("FP64", [-1], [1], "cannot be negative"),
        ("FP64", [-1, -2], [1, 2], "cannot be negative"),
        ("FP64", [2**70, 0], [], "shape"),
        ("INT64", [1], [1.5], "INT64, which cannot hold 1.5"),
        ("INT64", [1], [1.0], "cannot hold 1.0"),
        ("INT64", [2], [1, None], "cannot hold None"),
        ("INT64", [1], [True], "cannot hold True"),
        ("INT64", [1], ["1"], "cannot hold '1'"),
        ("INT8", [2], [1, 128], "cannot hold 128"),
        ("UINT8", [1], [-1], "cannot hold -1"),
        ("UINT64", [2], [1, 2**64], "cannot hold 18446744073709551616"),
        ("INT64", [2], [2**63, -1], "cannot hold 9223372036854775808"),
        ("INT64", [1], [-(2**70)], "cannot hold -1180591620717411303424"),
        ("FP16", [1], [1e9], "cannot hold 1000000000.0"),
        ("FP32", [2], [None, 1e300], "cannot hold 1e"),
        ("FP64", [1], [10**400], "cannot hold 1000"),
        ("FP64", [2], [10**400, 1.5], "cannot hold"),
        ("FP64", [1], ["1.0"], "cannot hold '1.0'"),
        ("FP64", [2], [None, True], "cannot hold True"),
        ("FP64", [1], [True], "cannot hold True"),
        ("FP64", [1], [{"a": 1}], "cannot hold {'a': 1}"),
        ("BOOL", [1], [2], "cannot hold 2"),
        ("BOOL", [2], [True, None], "cannot hold None"),
        ("BOOL", [1], ["true"], "cannot hold 'true'"),
        ("FP128", [1], [1], "datatype 'FP128', which is not numeric"),
        (BYTES, [1], ["a"], "which is not numeric"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    datatype: str, shape: list[int], data: Any, match: str
) -> None:
    refuses(Tensor("x", datatype, shape, data), match)


def test_bytes_are_one_flat_list_however_they_are_nested() -> None:
    assert Tensor("x", BYTES, [2, 1], [["a"], ["b"]]).elements() == ["a", "b"]
    assert Tensor("x", BYTES, [1], "a").elements() == ["a"]
    assert Tensor("x", BYTES, [2], np.array(["a", "b"])).elements() == ["a", "b"]


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (Tensor("x", "FP64", [1], [1.0]), "FP64, not BYTES"),
        (Tensor("x", BYTES, [2], ["a"]), "2 values, but its data has 1"),
        (Tensor("x", BYTES, [2], np.array(["a"])), "2 values, but its data has 1"),
        (Tensor("x", BYTES, [-1, -1], ["a"]), "cannot be negative"),
    ],
)
def test_elements_that_do_not_fit_are_refused(tensor: Tensor, match: str) -> None:
    refuses(tensor, match, "elements")


@settings(deadline=None, max_examples=50)
@given(array=numbers)
def test_plain_numbers_are_what_json_numbers_are(array: Any) -> None:
    datatype, shape = datatype_of(array.dtype), list(array.shape)
    assert same(array, Tensor("x", datatype, shape, plain_numbers(array)).numbers())
    written = json_numbers(array)
    read = written.tolist() if isinstance(written, np.ndarray) else written
    assert same(array, Tensor("x", datatype, shape, read).numbers())


@pytest.mark.parametrize("dtype", ["c16", "M8[s]", "m8[s]", "V4"])
def test_dtype_that_v2_lacks_is_refused(dtype: str) -> None:
    with pytest.raises(PayloadError, match="V2 has no datatype for numpy's"):
        datatype_of(np.dtype(dtype))
