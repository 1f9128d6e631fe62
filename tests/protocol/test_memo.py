"""The JSON of a large array is written once for all children, and is always the array's own."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime.protocol.memo import EncodedJsonCache
from tempo_runtime.protocol.messages import Request, request_to_json
from tempo_runtime.protocol.tensor import Tensor

LARGE = 2000
DTYPES = ["float64", "float32", "int64", "int8", "uint64", "bool"]


def written(memo: EncodedJsonCache | None, array: np.ndarray) -> bytes:
    return request_to_json(Request([Tensor("x", "FP64", [array.size], array)], memo=memo))


@given(arrays=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(DTYPES)), max_size=8))
def test_with_a_memo_the_same_is_written_as_without(arrays: list[tuple[int, str]]) -> None:
    memo = EncodedJsonCache()
    for number, dtype in arrays:
        array = np.full(LARGE, number).astype(dtype)
        assert written(memo, array) == written(None, array)


def test_the_same_array_is_written_once() -> None:
    memo, array = EncodedJsonCache(), np.arange(LARGE)
    assert memo.json(array) is memo.json(array.copy())


def test_an_array_that_was_changed_is_written_again() -> None:
    memo, array = EncodedJsonCache(), np.arange(LARGE)
    memo.json(array)
    array[7] = -1
    assert written(memo, array) == written(None, array)


@pytest.mark.parametrize(("before", "after"), [(0.0, -0.0), (np.nan, 1.0), (1.0, np.nan)])
def test_numbers_that_compare_oddly_are_told_apart(before: float, after: float) -> None:
    memo = EncodedJsonCache()
    memo.json(np.full(LARGE, before))
    array = np.full(LARGE, after)
    assert written(memo, array) == written(None, array)


def test_small_arrays_are_left_to_the_writer() -> None:
    array = np.arange(10)
    assert EncodedJsonCache().json(array) is array
    assert orjson.loads(written(EncodedJsonCache(), array))["inputs"][0]["data"] == list(range(10))
