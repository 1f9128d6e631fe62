"""KServe's own Python clients call served pipelines, unmodified."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tempo_runtime.testing import Server
from tests.helpers.value_strategies import same
from tests.interop.foreign import python_with, run

ARRAYS: dict[str, Any] = {
    "float64": np.array([[1.5, 2.0], [3.0, 4.0]]),
    "float32 column": np.ones((2, 1), np.float32),
    "int64": np.arange(3),
    "uint8 of rank 3": np.array([[[0, 255]]], np.uint8),
    "booleans": np.array([True, False]),
    "rank 0": np.array(2.5),
    "empty": np.zeros((0, 4)),
    "text": np.array([["a", "käse"], ["", "it's"]]),
}
ORDERS = json.dumps([{"item": "tea", "amount": 2}])
ROW = np.ones((1, 2), np.float32)


def job(url: str, model: str, *, binary: bool = False, **given: Any) -> dict[str, Any]:
    parameters = {name: value for name, value in given.items() if not isinstance(value, np.ndarray)}
    inputs = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
    return {
        "url": url,
        "model": model,
        "binary": binary,
        "inputs": inputs,
        "parameters": parameters,
    }


@pytest.fixture(scope="module", params=["http", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def found(
    transport: str, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The client's result of each job. Over gRPC, it sends arrays as bytes."""
    url, binary = (server.url, False) if transport == "http" else (server.grpc, True)
    jobs = {case: job(url, "echo", x=value, binary=binary) for case, value in ARRAYS.items()}
    jobs["several"] = job(url, "shapes", x=ROW, binary=binary)
    jobs["parameters"] = job(url, "bill", orders=ORDERS, price="1.5")
    jobs["not finite"] = job(url, "non-finite", count=3)
    jobs["bad input"] = job(url, "echo", y=ROW, binary=binary)
    jobs["binary"] = job(url, "echo", x=ROW, binary=True)
    python = python_with("kserve", tmp_path_factory.getbasetemp())
    return dict(zip(jobs, run(python, "kserve_client.py", list(jobs.values()))))


@pytest.mark.parametrize("case", ARRAYS)
def test_it_has_an_array_back(case: str, found: dict[str, Any]) -> None:
    assert same(found[case]["output-0"], ARRAYS[case]), found[case]


def test_it_has_several_outputs_by_name(found: dict[str, Any]) -> None:
    several = {name: value.tolist() for name, value in found["several"].items()}
    assert several == {"output-0": [[1.0, 1.0]], "output-1": ["float32"], "output-2": [2]}


def test_it_may_give_small_arguments_as_parameters(found: dict[str, Any]) -> None:
    [bill] = found["parameters"]["output-0"]
    assert json.loads(bill) == {"orders": [{"item": "tea", "amount": 2}], "total": 3.0}


def test_it_reads_numbers_that_json_has_no_word_for(found: dict[str, Any]) -> None:
    assert same(found["not finite"]["output-0"], np.array([np.nan, np.inf, -np.inf]))


def test_it_shows_what_is_wrong_with_an_input(found: dict[str, Any], transport: str) -> None:
    assert "tensor 'y' is unknown; expected: x" in found["bad input"]


def test_it_may_send_an_array_as_bytes(found: dict[str, Any]) -> None:
    assert same(found["binary"]["output-0"], ROW)
