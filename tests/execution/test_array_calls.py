"""Models of MLServer's own runtimes, called with arrays: as the runtime itself answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

from tempo_runtime import ModelFramework
from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.errors import ChildFailed
from tempo_runtime.execution.in_process import RuntimeTransport
from tempo_runtime.protocol.binding import encode_arguments
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.tensor import DATATYPES
from tempo_runtime.request.portal import background

ROWS = np.arange(12.0).reshape(6, 2) % 5
LABELS = np.array([0, 1, 2, 0, 1, 2])
Made = Callable[..., RuntimeTransport]


def times_two(rows: Any) -> Any:
    rows *= 2  # in place, as models may do
    return rows


@pytest.fixture(scope="module", name="made")
def make_transports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Saves a model, and makes a transport to it."""
    transports = []

    def make(model: Any, **stated: Any) -> RuntimeTransport:
        folder = tmp_path_factory.mktemp("model")
        joblib.dump(model, folder / "model.joblib")
        (folder / "model-settings.json").write_text(json.dumps(stated))
        details = ModelDetails("child", ModelFramework.SKLearn)
        transports.append(RuntimeTransport(details, str(folder), None))
        return transports[-1]

    yield make
    for transport in transports:
        background().run(transport.close())


def asked(value: Any, *outputs: str) -> Request:
    return Request(encode_arguments(None, (value,), {}), list(outputs))


def from_runtime(transport: RuntimeTransport, request: Request) -> Response:
    transport._runtime.arrays._numeric.clear()
    return transport.infer_blocking(request)


def directly(transport: RuntimeTransport, request: Request) -> Response:
    assert transport._runtime.arrays.takes(request)
    return transport.infer_blocking(request)


def assert_same(one: Response, other: Response) -> None:
    assert one.parameters == other.parameters
    assert len(one.tensors) == len(other.tensors)
    for left, right in zip(one.tensors, other.tensors):
        fields = [(t.name, t.datatype, t.shape, t.parameters) for t in (left, right)]
        assert fields[0] == fields[1]
        assert left.data.dtype == right.data.dtype
        np.testing.assert_array_equal(left.data, right.data, strict=True)


@pytest.fixture(scope="module", name="identity")
def make_identity(made: Made) -> RuntimeTransport:
    transport = made(FunctionTransformer(), parameters={"extra": {"predict_fn": "transform"}})
    transport.infer_blocking(asked(ROWS))
    return transport


@settings(max_examples=60)
@given(
    rows=st.sampled_from(list(DATATYPES.values())).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0))
    ),
    fortran=st.booleans(),
    swapped=st.booleans(),
)
def test_any_array_is_answered_as_by_the_runtime(
    rows: Any, fortran: bool, swapped: bool, identity: RuntimeTransport
) -> None:
    rows = np.asfortranarray(rows) if fortran else rows
    rows = rows.astype(rows.dtype.newbyteorder("S")) if swapped else rows
    request = asked(rows)
    runtime = from_runtime(identity, request)
    assert_same(directly(identity, request), runtime)


@pytest.mark.parametrize("outputs", [(), ("predict",), ("predict_proba", "predict")])
def test_requested_outputs_are_answered_as_by_the_runtime(
    outputs: tuple[str, ...], made: Made
) -> None:
    transport, request = made(LogisticRegression().fit(ROWS, LABELS)), asked(ROWS, *outputs)
    runtime = from_runtime(transport, request)
    assert_same(directly(transport, request), runtime)


def test_an_output_that_was_never_answered_is_asked_of_the_runtime(made: Made) -> None:
    transport = made(LinearRegression().fit(ROWS, LABELS))
    transport.infer_blocking(asked(ROWS))
    for _ in range(2):
        request = asked(ROWS, "predict_proba")
        assert not transport._runtime.arrays.takes(request)
        with pytest.raises(ChildFailed, match="models do not support 'predict_proba"):
            transport.infer_blocking(request)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression().fit(ROWS, np.array(["a", "b", "c"])[LABELS]),
        MinMaxScaler().set_output(transform="pandas").fit(ROWS),
    ],
    ids=["text", "DataFrame"],
)
def test_answers_other_than_numbers_stay_with_the_runtime(model: Any, made: Made) -> None:
    method = "transform" if isinstance(model, MinMaxScaler) else "predict"
    transport = made(model, parameters={"extra": {"predict_fn": method}})
    first = transport.infer_blocking(asked(ROWS))
    assert not transport._runtime.arrays.takes(asked(ROWS))
    again = transport.infer_blocking(asked(ROWS))
    assert [(t.name, t.data) for t in again.tensors] == [(t.name, t.data) for t in first.tensors]


@pytest.mark.parametrize(
    "stated",
    [
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}]},
        {"outputs": [{"name": "predict", "datatype": "INT64", "shape": [-1]}]},
        {"parameters": {"content_type": "np"}},
    ],
    ids=["inputs", "outputs", "content type"],
)
def test_a_model_whose_settings_describe_tensors_stays_with_the_runtime(
    stated: dict[str, Any], made: Made
) -> None:
    transport = made(LogisticRegression().fit(ROWS, LABELS), **stated)
    transport.infer_blocking(asked(ROWS))
    assert not transport._runtime.arrays.takes(asked(ROWS))


def test_a_model_may_change_its_rows(made: Made) -> None:
    model = FunctionTransformer(times_two)
    transport = made(model, parameters={"extra": {"predict_fn": "transform"}})
    rows = ROWS.copy()
    transport.infer_blocking(asked(rows))
    response = directly(transport, asked(rows))
    assert np.array_equal(response.tensors[0].data, 2 * ROWS)
    assert np.array_equal(rows, ROWS)


def test_an_exception_of_the_model_names_the_child(made: Made) -> None:
    transport = made(LinearRegression().fit(ROWS, LABELS))
    transport.infer_blocking(asked(ROWS))
    request = asked(ROWS[:, :1])
    assert transport._runtime.arrays.takes(request)
    with pytest.raises(ChildFailed, match="child 'child' in this process raised ValueError: X has"):
        transport.infer_blocking(request)
