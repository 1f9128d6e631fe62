"""A child that answers, and not with a result that can be used."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tempo_runtime.testing import Answer, Fail, Step
from tests.helpers.byte_faults import FaultyModel, NotHttp, Raw
from tests.integration.faults.asker import Asker, Told, X


def check_well(asker: Asker, pipeline: str, child: str) -> None:
    """The child's next answer is given on."""
    assert asker.ask(pipeline, child) == Told(200, "", X * 2)


ERRORS: list[tuple[Step, int, str]] = [
    (Fail(429, "too many rows"), 503, "is not ready: too many rows (status 429)"),
    (Fail(429, "slow down", retry_after=60), 503, "is not ready: slow down (status 429)"),
    (Fail(500, "singular matrix"), 502, "answered 500: singular matrix"),
    (Fail(502, "no upstream"), 502, "answered 502: no upstream"),
    (Fail(503, "draining"), 503, "is not ready: draining (status 503)"),
    (Fail(503, "draining", retry_after=60), 503, "is not ready: draining (status 503)"),
    (Fail(504, "took too long"), 504, "ran out of time: took too long"),
    (Fail(404, "Model iris not found"), 502, "was not found at"),
]


@pytest.mark.parametrize(("step", "status", "said"), ERRORS)
def test_an_error_names_its_child(
    step: Step, status: int, said: str, pipeline: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.answer = step
    told = asker.ask(pipeline, "http", seconds=1)
    assert told.status == status
    for words in (said, "child 'iris'", f"{fake.url}/v2/models/iris/infer"):
        assert words in told.text
    fake.answer = X * 2
    check_well(asker, pipeline, "http")


@pytest.mark.parametrize(
    "step",
    [Fail(429), Fail(429, retry_after=0.5), Fail(502), Fail(503), Fail(503, retry_after=0.5)],
)
def test_an_error_that_passes_is_not_seen(step: Step, fake: FaultyModel, asker: Asker) -> None:
    fake.script(step)
    check_well(asker, "ask", "http")
    assert len(fake.calls) == 2


GRPC_ERRORS: list[tuple[Step, int, str]] = [
    (Fail(429, "too many rows"), 503, "is not ready: too many rows"),
    (Fail(500, "singular matrix"), 502, "answered INTERNAL: singular matrix"),
    (Fail(503, "draining"), 503, "draining"),
    (Raw(b"\xff" * 9), 502, "returned an answer that cannot be used"),
]


@pytest.mark.parametrize(("step", "status", "said"), GRPC_ERRORS)
def test_an_error_over_grpc_names_its_child(
    step: Step, status: int, said: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.answer = step
    told = asker.ask("ask-async", "grpc", seconds=1)
    assert told.status == status
    for words in (said, "child 'iris'", fake.grpc_url):
        assert words in told.text
    fake.answer = X * 2
    check_well(asker, "ask-async", "grpc")


@pytest.mark.parametrize(
    ("step", "code", "said"),
    [
        (Fail(500, "bug"), "UNKNOWN", "(status 502)"),
        (Fail(503, "draining"), "UNKNOWN", "(status 503)"),
        (Raw(b"<html>"), "UNKNOWN", "(status 502)"),
    ],
)
def test_a_pipelines_own_client_over_grpc_receives_the_same(
    step: Step, code: str, said: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.answer = step
    told = asker.ask_over_grpc("ask-async", "http", seconds=1)
    assert told.status == code
    assert "child 'iris'" in told.text
    assert said in told.text
    fake.answer = X * 2
    assert asker.ask_over_grpc("ask-async", "http") == Told("OK", "", X * 2)


def tensor(**changes: Any) -> bytes:
    whole = {"name": "y", "shape": [2], "datatype": "INT64", "data": [1, 2], **changes}
    return json.dumps({"model_name": "iris", "outputs": [whole]}).encode()


GARBAGE: dict[str, Step] = {
    "a page": Raw(b"<html><body>Welcome to nginx!</body></html>"),
    "half of a body": Raw(tensor()[:50]),
    "no bytes": Raw(b""),
    "bytes": Raw(bytes(range(256))),
    "a list": Raw(b"[1, 2]"),
    "no outputs": Raw(b'{"model_name": "iris"}'),
    "a length that is not a number": Raw(tensor(), headers={"content-length": "many"}),
    "no HTTP": NotHttp(b"220 mail.example ESMTP\r\n"),
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_the_error_of_garbage_names_the_child(
    garbage: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.answer = GARBAGE[garbage]
    told = asker.ask("ask", "http", seconds=1)
    assert told.status == 502, told
    assert f"child 'iris' at {fake.url}/v2/models/iris/infer returned an answer" in told.text
    fake.answer = X * 2
    check_well(asker, "ask", "http")


WRONG: dict[str, Step] = {
    "a shape that is not the data's": Raw(tensor(shape=[5])),
    "ragged data": Raw(tensor(data=[[1], [2, 3]])),
    "an unknown datatype": Raw(tensor(datatype="INT65")),
    "text in an integer tensor": Raw(tensor(data=["one", "two"])),
    "a fraction in an integer tensor": Raw(tensor(data=[0.5, 1.5])),
    "text, and integers are declared": Answer(np.array(["one", "two"])),
    "fractions, and integers are declared": Answer(np.array([0.5, 1.5])),
    "NaN, and integers are declared": Answer(np.array([np.nan])),
    "more than the declared integers hold": Answer(np.array([2**63], np.uint64)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_error_of_a_wrong_tensor_names_the_child(
    wrong: str, fake: FaultyModel, asker: Asker
) -> None:
    fake.answer = WRONG[wrong]
    told = asker.ask("ask-async", "typed", seconds=1)
    assert told.status == 502, told
    assert f"child 'iris' at {fake.url}/v2/models/iris/infer returned an answer" in told.text
    fake.answer = np.array([4])
    assert asker.ask("ask-async", "typed") == Told(200, "", np.array([4]))


def test_an_answer_that_fits_the_declared_dtype_is_given_in_it(
    fake: FaultyModel, asker: Asker
) -> None:
    fake.script(Answer(np.array([4], np.int8)))
    assert asker.ask("ask", "typed").value.dtype == np.int64
