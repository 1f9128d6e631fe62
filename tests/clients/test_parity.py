"""The same call means the same over each transport."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.clients.child import Children
from tempo_runtime.errors import ChildFailed
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import Server, serve
from tests.helpers import pipelines

ROWS = load_iris().data[::25]
VALUES: dict[str, Any] = {
    "rank 0": np.float64(2.5),
    "rank 1": np.arange(3),
    "one column": np.ones((3, 1)),
    "rank 4": np.zeros((2, 1, 2, 1), np.float32),
    "empty": np.zeros((0, 4), np.int16),
    "not finite": np.array([np.inf, -np.inf, np.nan]),
    "booleans": np.array([[True], [False]]),
    "float16": np.array([1.5, 65504.0], np.float16),
    "large": np.array([2**64 - 1, 0], np.uint64),
    "small": np.array([-128, 127], np.int8),
    "big endian": np.arange(3, dtype=">i4"),
    "not contiguous": np.arange(12).reshape(3, 4)[:, ::2],
    "text array": np.array([["a", "ü"], ["", "käse"]]),
    "bytes array": np.array([b"\xff", b"a"]),
    "object array": np.array(["a", "bc"], object),
    "text": "käse",
    "texts": ["a", "", "ü"],
    "bytes": b"\xff\x00",
    "bytes list": [b"\xff\x00", b""],
    "a list": [1, "a", None, [2.5]],
    "a dict": {"a": [1.5, float("inf")], "b": 2**70, "c": {"d": True}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for target in (pipelines.echo, pipelines.shapes, pipelines.bill, pipelines.frames):
        save(target, str(root / describe(target).details.name))
    iris = root / "iris"
    iris.mkdir()
    joblib.dump(
        LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)), iris / "m.joblib"
    )
    settings = {
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "m.joblib"},
    }
    (iris / "model-settings.json").write_text(json.dumps({"name": "iris", **settings}))
    named = root / "named-iris"
    named.mkdir()
    features, labels = load_iris(return_X_y=True, as_frame=True)
    joblib.dump(LogisticRegression(max_iter=500).fit(features, labels), named / "m.joblib")
    (named / "model-settings.json").write_text(json.dumps({"name": "named-iris", **settings}))
    return root


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serve(folder, settings={"grpc_max_message_length": 64 << 20}) as server:
        yield server


@pytest.fixture(scope="module", params=["in_process", "http", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def connect(transport: str, server: Server, folder: Path) -> Iterator[Callable[..., Children]]:
    """Connects the children of a pipeline over the transport, once for the same options."""
    connectors = []

    @functools.cache
    def connected(*, awaited: bool = False, **options: str) -> Children:
        base = {"http": server.url, "grpc": f"grpc://{server.grpc}"}.get(transport)
        settings = PipelineSettings(base_url=base, models={"iris": options})
        connectors.append(ChildResolver(settings, background()))
        return connectors[-1].connect(describe(made(folder, awaited)))

    yield connected
    for connector in connectors:
        background().run(connector.close())


def made(folder: Path, awaited: bool) -> Any:
    """A pipeline, sync or async."""
    models = PipelineModels(
        echo=Model("echo", platform=ModelFramework.Custom, local_folder=str(folder / "echo")),
        shapes=Model("shapes", platform=ModelFramework.Custom, local_folder=str(folder / "shapes")),
        bill=pipelines.bill,
        frames=pipelines.frames,
        iris=Model("iris", platform=ModelFramework.SKLearn, local_folder=str(folder / "iris")),
        named=Model(
            "named-iris", platform=ModelFramework.SKLearn, local_folder=str(folder / "named-iris")
        ),
    )

    @pipeline("sync", models=models)
    def sync(x: int) -> int:
        return x

    @pipeline("awaited", models=models)
    async def is_awaited(x: int) -> int:
        return x

    return is_awaited if awaited else sync


@pytest.mark.parametrize("case", VALUES)
def test_a_value_arrives_with_its_type_and_shape(
    case: str, connect: Callable[..., Children]
) -> None:
    value = VALUES[case]
    found = connect().echo(value)
    if isinstance(value, np.ndarray | np.generic):
        assert found.dtype == value.dtype
        assert found.shape == value.shape
        np.testing.assert_array_equal(found, value)
    else:
        assert (type(found), found) == (type(value), value)


def test_several_outputs_are_a_tuple(connect: Callable[..., Children]) -> None:
    found = connect().shapes(np.ones((1, 2), np.float32))
    assert isinstance(found, tuple)
    assert (found[0].shape, found[1]) == ((1, 2), "float32")


def test_a_signature_gives_python_types(connect: Callable[..., Children]) -> None:
    found = connect().bill([pipelines.Order(item="tea")], price=3)
    assert found == pipelines.Bill(orders=[pipelines.Order(item="tea")], total=3.0)


def test_a_data_frame_travels(connect: Callable[..., Children]) -> None:
    frame = pd.DataFrame({"n": [1, 2], "who": ["a", "b"]})
    found = connect().frames(frame, factor=3)
    pd.testing.assert_frame_equal(found, frame.assign(n=[3, 6]))


def test_a_scikit_learn_model_gives_labels_of_rank_one(connect: Callable[..., Children]) -> None:
    found = connect().iris(ROWS)
    assert (found.dtype, found.shape) == (np.int64, (len(ROWS),))


def test_a_scikit_learn_model_takes_a_data_frame(connect: Callable[..., Children]) -> None:
    frame, _ = load_iris(return_X_y=True, as_frame=True)
    assert connect().named(frame[::25]).tolist() == [0, 0, 1, 1, 2, 2]


def test_an_output_can_be_chosen(connect: Callable[..., Children]) -> None:
    found = connect(output="predict_proba").iris(ROWS)
    assert found.shape == (len(ROWS), 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_an_async_pipeline_awaits_and_gathers(connect: Callable[..., Children]) -> None:
    children = connect(awaited=True)

    async def both() -> Any:
        return await asyncio.gather(children.echo(np.arange(3)), children.iris(ROWS))

    echoed, labels = asyncio.run(both())
    assert (echoed.tolist(), labels.shape) == ([0, 1, 2], (len(ROWS),))


def test_large_tensors_pass(connect: Callable[..., Children]) -> None:
    value = np.random.RandomState(0).rand(100_000, 11)  # 8.8 MB; gRPC's own limit is 4
    np.testing.assert_array_equal(connect().echo(value), value)


def test_a_server_that_takes_no_large_messages_is_told_apart(folder: Path) -> None:
    with serve(folder / "echo") as server:
        settings = PipelineSettings(base_url=f"grpc://{server.grpc}")
        connector = ChildResolver(settings, background())
        echo = connector.connect(describe(made(folder, False))).echo
        with pytest.raises(ChildFailed, match="raise its `grpc_max_message_length`"):
            echo(np.zeros((100_000, 11)))
        background().run(connector.close())


def test_the_error_of_a_scikit_learn_model_names_the_reason(
    connect: Callable[..., Children],
) -> None:
    with pytest.raises(ChildFailed, match="X has 2 features"):
        connect().iris(np.ones((1, 2)))
