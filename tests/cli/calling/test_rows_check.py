"""Answers to rows together are compared with those to each row alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tempo_runtime.cli.calling.rows_check import of_model
from tempo_runtime.errors import ChildFailed
from tempo_runtime.protocol.codec import encode, spec_of
from tempo_runtime.protocol.messages import Request, Response, request_from_json
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.protocol.tensor import Tensor

ROWS = np.array([[1.0, 2.0], [np.nan, 4.0], [0.1, 0.2]])


def request(rows: np.ndarray = ROWS) -> Request:
    return Request([Tensor("x", "FP64", list(rows.shape), rows)])


def compared(function: Callable[[Any], Any], rows: np.ndarray = ROWS) -> str | None:
    calls = []

    def infer(asked: Request) -> Response:
        calls.append(asked.tensors[0].shape[0])
        return Response([encode(spec_of("y"), function(asked.tensors[0].numbers()))])

    found = of_model(infer, request(rows), None)
    assert calls[0] > 1
    return found


@pytest.mark.parametrize(
    "function",
    [lambda x: 2 * x, lambda x: x.sum(axis=1), lambda x: [f"{row}" for row in x.tolist()]],
)
def test_a_model_that_answers_each_row_on_its_own_answers_alike(
    function: Callable[[Any], Any],
) -> None:
    assert compared(function) is None
    assert compared(function, ROWS[:1]) is None  # asked twice


def wrong_rows(x: np.ndarray) -> np.ndarray:
    if len(x) > 1:
        raise ChildFailed("one row only", model="m")
    return x


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x - np.nanmean(x), "row 0: 'y' is "),
        (lambda x: x + (len(x) > 1) * 1e-16, "row 2: "),
        (lambda x: x[:1], r"has shape \[1, 2\] for 3 rows"),
        (lambda x: x.astype(np.float32 if len(x) > 1 else np.float64), "'y' is FP32 .* together"),
        (wrong_rows, "rows together are an error: one row only"),
    ],
)
def test_the_first_difference_of_a_model_that_looks_at_other_rows_is_reported(
    function: Callable[[Any], Any], reason: str
) -> None:
    with np.errstate(invalid="ignore"):
        found = compared(function)
    assert found is not None
    assert re.search(reason, found), found


def test_a_request_as_clients_write_it_is_compared_too() -> None:
    tensor = {"name": "x", "datatype": "INT64", "shape": [2], "data": [1, 2]}
    asked = request_from_json(json.dumps({"inputs": [tensor]}).encode())

    def infer(one: Request) -> Response:
        return Response([Tensor("y", "INT64", one.tensors[0].shape, 2 * one.tensors[0].data)])

    assert of_model(infer, asked, None) is None


def test_a_request_without_rows_is_not_compared() -> None:
    def scaled(factor: float) -> float: ...

    asked = Request([Tensor("factor", "FP64", [1], np.array([2.0]))])

    def infer(_: Request) -> Response:
        raise AssertionError

    assert of_model(infer, asked, Signature.of(scaled)) is None
