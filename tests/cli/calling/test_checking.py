"""How two answers are compared."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime.cli.calling.checking import difference
from tempo_runtime.protocol.binding import encode_results
from tempo_runtime.protocol.messages import Response
from tempo_runtime.protocol.signature import Signature

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def answer(value: Any) -> Response:
    tensors, content_type = encode_results(Signature(()), value)
    return Response(tensors, {"content_type": content_type} if content_type else {})


@given(VALUES)
def test_an_answer_does_not_differ_from_itself(value: Any) -> None:
    assert difference(answer({"value": value}), answer({"value": value})) is None


@pytest.mark.parametrize(
    ("recorded", "found"),
    [
        (1.0, 1.0 + 1e-8),
        (math.nan, math.nan),
        (np.array([1.0, math.inf]), np.array([1.0 + 1e-9, math.inf])),
        (json.dumps({"precision": 0.3}), json.dumps({"precision": 0.1 + 0.2})),
        ({"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 2.0 + 1e-9}]}),
    ],
)
def test_the_last_digits_of_numbers_may_differ(recorded: Any, found: Any) -> None:
    assert difference(answer(recorded), answer(found)) is None


@pytest.mark.parametrize(
    ("recorded", "found", "where"),
    [
        (1.0, 1.1, r"the answer\[0\] is 1.1, but was 1.0"),
        (np.array([1, 2]), np.array([1, 3]), r"the answer\[1\] is 3, but was 2"),
        (np.array([1, 2]), np.array([1.0, 2.0]), r"is float64 of shape \(2,\), but was int64"),
        (np.zeros((2, 1)), np.zeros((2, 2)), r"is float64 of shape \(2, 2\), but was"),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}, r"the answer\['a'\]\['b'\] is 'y', but was 'x'"),
        ([1, 2], [1, 2, 3], r"is \[1, 2, 3\], but was \[1, 2\]"),
        ('{"anchor": ["a"]}', '{"anchor": ["b"]}', r"the answer\['anchor'\]\[0\] is 'b'"),
        ("words", "other words", "is 'other words', but was 'words'"),
        ({"a": 1}, {"b": 1}, "is {'b': 1}"),
        ({"a": 1}, {"a": True}, r"the answer\['a'\] is True, but was 1"),
    ],
)
def test_a_difference_is_reported_with_its_path(recorded: Any, found: Any, where: str) -> None:

    told = difference(answer(recorded), answer(found))
    assert told is not None
    assert re.search(where, told), told
