"""A child on Triton: its dtypes, shapes, outputs and errors, over HTTP and gRPC.

The server is the stand-in of an example, which refuses what Triton refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton_http
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from examples.language_model.stand_in import DTYPES, Tensor, Triton, TritonModel
from tempo_runtime import Model, ModelFramework
from tempo_runtime.clients.child import Child
from tempo_runtime.errors import ChildFailed, ChildNotFound, ChildRefused, ChildUnavailable
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import Fail, FakeModel
from tests.helpers.value_strategies import same

KINDS = sorted(DTYPES)
ANY = (-1,)


def echoes() -> list[TritonModel]:
    """One model for each datatype, which returns what it gets."""
    return [
        TritonModel(
            f"echo-{kind.lower()}",
            (Tensor("X", kind, ANY),),
            (Tensor("Y", kind, ANY),),
            lambda given: {"Y": given["X"]},
        )
        for kind in KINDS
    ]


def to_bfloat16() -> TritonModel:
    """A model whose output has a type that numpy does not have."""
    return TritonModel(
        "to-bf16",
        (Tensor("X", "FP32", ANY),),
        (Tensor("Y", "BF16", ANY),),
        lambda given: {"Y": (given["X"].view(np.uint32) >> 16).astype(np.uint16)},
    )


def net() -> TritonModel:
    """A model of batches, with two outputs."""
    return TritonModel(
        "net",
        (Tensor("ROWS", "FP32", (2,)), Tensor("SCALE", "INT64", (1,))),
        (Tensor("SUM", "FP32", (1,)), Tensor("LABEL", "BYTES", (1,))),
        lambda given: {
            "SUM": given["ROWS"].sum(1, keepdims=True) * given["SCALE"].astype(np.float32),
            "LABEL": np.array([[b"yes"]] * len(given["ROWS"]), object),
        },
        max_batch_size=4,
    )


@pytest.fixture(scope="module")
def loading() -> TritonModel:
    return TritonModel(
        "late",
        (Tensor("X", "FP32", ANY),),
        (Tensor("Y", "FP32", ANY),),
        lambda given: {"Y": given["X"]},
    )


@pytest.fixture(scope="module")
def triton(loading: TritonModel) -> Iterator[Triton]:
    with Triton(net(), loading, to_bfloat16(), *echoes()) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def connect(request: pytest.FixtureRequest, triton: Triton) -> Iterator[Callable[..., Child]]:
    resolvers = []
    url = triton.url if request.param == "http" else triton.grpc_url

    def connected(name: str, *, inputs: Any = None, outputs: Any = None, **options: Any) -> Child:
        options = {"url": url, "unavailable_timeout": 0, **options}
        settings = PipelineSettings.read({"models": {"child": options}}, {})
        resolvers.append(ChildResolver(settings, background(), inside=["pipeline"]))
        model = Model(name, platform=ModelFramework.ONNX, inputs=inputs, outputs=outputs)
        return resolvers[-1].child("child", model)

    yield connected
    for resolver in resolvers:
        background().run(resolver.close())


VALUES: dict[str, Any] = {
    **{kind: np.array([0, 1, 100], DTYPES[kind]) for kind in KINDS if "INT" in kind},
    "BOOL": np.array([True, False]),
    "BYTES": np.array(["", "käse"]),
    "FP16": np.array([1.5, np.nan, 65504.0], np.float16),
    "FP32": np.array([0.1, np.inf, -0.0], np.float32),
    "FP64": np.array([0.1, np.nan, -np.inf]),
    "INT64": np.array([2**63 - 1, -(2**63)]),
    "UINT64": np.array([2**64 - 1], np.uint64),
}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"BF16"}))
def test_every_datatype_arrives_and_comes_back(kind: str, connect: Callable[..., Child]) -> None:
    value = VALUES[kind]
    assert same(connect(f"echo-{kind.lower()}")(X=value), value)


@pytest.mark.parametrize(
    "value", [np.array([b"\x00\xff", b""], object), np.array([b"ab", b"\xff"])], ids=["O", "S"]
)
def test_bytes_arrive_as_they_are(
    value: Any, connect: Callable[..., Child], triton: Triton
) -> None:
    echo = triton.model("echo-bytes")
    with pytest.raises(ChildFailed, match=r"'Y'.*UTF-8"):  # it is read as text
        connect("echo-bytes")(X=value)
    assert echo.requests[-1]["X"].tolist() == list(value)


def test_bfloat16_is_refused_by_name(connect: Callable[..., Child], triton: Triton) -> None:
    with pytest.raises(
        ChildRefused, match=r"inference input 'X' data-type is 'FP32'.*expects 'BF16'"
    ):
        connect("echo-bf16")(X=np.ones(1, np.float32))
    with pytest.raises(ChildFailed, match="'Y' has datatype 'BF16'"):
        connect("to-bf16")(X=np.ones(1, np.float32))
    assert triton.model("to-bf16").requests


@pytest.mark.parametrize("rows", [1, 4])
def test_a_batch_has_an_answer_for_each_row_and_all_outputs(
    rows: int, connect: Callable[..., Child]
) -> None:
    given = np.ones((rows, 2), np.float32)
    found = connect("net")(ROWS=given, SCALE=np.full((rows, 1), 3))
    assert found.keys() == {"SUM", "LABEL"}
    assert same(found["SUM"], np.full((rows, 1), 6, np.float32))
    assert same(found["LABEL"], np.array([["yes"]] * rows))


def test_an_output_can_be_chosen(connect: Callable[..., Child]) -> None:
    call = connect("net", output="SUM")
    found = call(ROWS=np.ones((1, 2), np.float32), SCALE=np.array([[2]]))
    assert same(found, np.array([[4]], np.float32))


def test_declared_inputs_convert_lists_and_numbers_and_are_found_by_position(
    connect: Callable[..., Child],
) -> None:
    inputs = {"ROWS": NDArray[np.float32], "SCALE": NDArray[np.int64]}
    call = connect("net", inputs=inputs, outputs={"SUM": NDArray[np.float32]})
    assert same(call([[1, 2.5]], [[2]]), {"SUM": np.array([[7]], np.float32)})


def test_a_list_of_numbers_is_an_array(connect: Callable[..., Child]) -> None:
    assert same(connect("echo-fp64")(X=[1.0, 2.0]), np.array([1.0, 2.0]))


ONES = np.ones((1, 2), np.float32)
SCALE = np.array([[1]])
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "datatype": (
        {"ROWS": ONES.astype(float), "SCALE": SCALE},
        "data-type is 'FP64', but model 'net'",
    ),
    "shape": (
        {"ROWS": np.ones((1, 3), np.float32), "SCALE": SCALE},
        r"Expected \[-1, 2\], got \[1, 3\]",
    ),
    "batch": ({"ROWS": np.ones((5, 2), np.float32), "SCALE": SCALE}, "batch-size must be <= 4"),
    "no batch": (
        {"ROWS": np.ones(2, np.float32), "SCALE": SCALE},
        r"unexpected shape for input 'ROWS'",
    ),
    "missing": ({"ROWS": ONES}, r"Missing required input\(s\) \['SCALE'\]"),
    "unknown": ({"rows": ONES, "SCALE": SCALE}, "unexpected inference input 'rows'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_triton_refuses_is_reported_in_its_words(
    case: str, connect: Callable[..., Child]
) -> None:
    given, text = REFUSED[case]
    with pytest.raises(ChildRefused, match=text):
        connect("net")(**given)


def test_a_refused_request_is_made_once(connect: Callable[..., Child], triton: Triton) -> None:
    # As JSON it would be refused for being float16, which says nothing about the mistake.
    with pytest.raises(ChildRefused, match="unexpected shape for input 'X'"):
        connect("echo-fp16")(X=np.ones((1, 1), np.float16))


def test_an_unknown_output_is_reported(connect: Callable[..., Child]) -> None:
    with pytest.raises(ChildRefused, match="unexpected inference output 'sum'"):
        connect("net", output="sum")(ROWS=ONES, SCALE=SCALE)


def test_an_unknown_model_or_version_is_not_retried(connect: Callable[..., Child]) -> None:
    for name, options in (("nothing", {}), ("net", {"version": "7"})):
        with pytest.raises(ChildNotFound, match=f"Request for unknown model: '{name}'"):
            connect(name, unavailable_timeout=600, **options)(X=ONES)


def test_a_version_can_be_chosen(connect: Callable[..., Child]) -> None:
    assert same(connect("echo-fp32", version="1")(X=ONES[0]), ONES[0])


def test_a_model_that_loads_is_waited_for(
    connect: Callable[..., Child], loading: TritonModel
) -> None:
    loading.ready = False
    try:
        with pytest.raises(ChildUnavailable, match="is not at ready state"):
            connect("late")(X=ONES[0])
        answer = connect("late", unavailable_timeout=60).submit(X=ONES[0])
        loading.ready = True
        assert same(answer.result(), ONES[0])
    finally:
        loading.ready = True


def test_a_large_answer_that_is_too_long_is_refused(connect: Callable[..., Child]) -> None:
    with pytest.raises(ChildFailed, match="max_answer_bytes"):
        connect("echo-fp32", max_answer_bytes=1000)(X=np.zeros(1000, np.float32))


# -- servers that take JSON only -------------------------------------------------------------------


@pytest.fixture
def json_only(connect: Callable[..., Child]) -> Iterator[Callable[[], Child]]:
    """A child behind a proxy that refuses binary data once."""
    with FakeModel("net", 1) as fake:
        fake.script(Fail(415))
        yield lambda: connect("net", url=fake.url)


def test_numbers_are_sent_as_json_where_binary_data_is_refused(
    json_only: Callable[[], Child],
) -> None:
    assert json_only()(X=ONES) == 1


def test_bytes_are_not_sent_as_anything_else_where_binary_data_is_refused(
    json_only: Callable[[], Child],
) -> None:
    with pytest.raises(ChildFailed, match="JSON cannot hold bytes that are not text"):
        json_only()(X=np.array([b"\xff"], object))


# -- the stand-in, by Triton's own client ----------------------------------------------------------


@pytest.fixture
def client(triton: Triton) -> Iterator[Any]:
    client = triton_http.InferenceServerClient(triton.url.removeprefix("http://"))
    yield client
    client.close()


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
def test_tritons_own_client_is_answered_by_the_stand_in(binary: bool, client: Any) -> None:
    given = triton_http.InferInput("X", [2], "FP32")
    given.set_data_from_numpy(np.array([1, 2], np.float32), binary_data=binary)
    asked = None if binary else [triton_http.InferRequestedOutput("Y", binary_data=False)]
    answer = client.infer("echo-fp32", [given], outputs=asked)
    assert same(answer.as_numpy("Y"), np.array([1, 2], np.float32))


def test_tritons_own_client_reads_metadata_and_errors_of_the_stand_in(client: Any) -> None:
    assert client.is_server_ready()
    assert client.is_model_ready("net")
    assert not client.is_model_ready("nothing")
    inputs = client.get_model_metadata("net")["inputs"]
    assert [each["shape"] for each in inputs] == [[-1, 2], [-1, 1]]
    with pytest.raises(InferenceServerException, match="Request for unknown model") as caught:
        client.infer("nothing", [])
    assert caught.value.status() == "400"
