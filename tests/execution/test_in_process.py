"""A child in this process: loaded once, kept off the loop, ended in time, told apart when it fails."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.dummy import DummyRegressor

from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, save
from tempo_runtime.artifact import store
from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.errors import (
    ChildFailed,
    ChildUnavailable,
    DeadlineExceeded,
    SettingsError,
)
from tempo_runtime.execution import runtimes
from tempo_runtime.execution.in_process import RuntimeTransport
from tempo_runtime.execution.loading import LoadedPipeline
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.request import context
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import serve
from tests.execution import runtime_record

ROWS = np.arange(6.0).reshape(3, 2)
Made = Callable[..., RuntimeTransport]
_WAITS = """
import os
import time

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceResponse


class Waits(MLModel):
    async def predict(self, payload):
        [path] = self.decode(payload.inputs[0], default_codec=StringCodec)
        open(path + ".called", "w").close()
        while not os.path.exists(path):
            time.sleep(0.01)
        return InferenceResponse(model_name="waits", outputs=[StringCodec.encode_output("o", ["done"])])
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    runtime_record.reset()
    yield
    runtime_record.gate.set()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """Makes transports to a runtime of `custom.py`; closes them at the end."""
    transports = []

    def transport(name: str = "Custom", folder: Path = tmp_path, **options: Any) -> Any:
        details = ModelDetails("child", ModelFramework.Custom)
        implementation = f"tests.execution.custom_runtimes.{name}"
        transports.append(RuntimeTransport(details, str(folder), implementation, **options))
        return transports[-1]

    yield transport
    runtime_record.gate.set()
    for each in transports:
        asyncio.run(each.close())


@pytest.fixture(params=["called", "awaited"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Calls a child as a sync pipeline does, or as an async one."""
    awaited = request.param == "awaited"

    def called(transport: RuntimeTransport, value: Any = ROWS, **fields: Any) -> Any:
        asked = Request(encode_arguments(None, (value,), {}), **fields)
        if awaited:
            return answer(asyncio.run(transport.infer(asked)))
        return answer(transport.infer_blocking(asked))

    return called


def answer(response: Response) -> Any:
    return decode_results(None, response.tensors, response.content_type)


def iris(folder: Path, value: float = 1.5) -> RuntimeTransport:
    joblib.dump(
        DummyRegressor(strategy="constant", constant=value).fit(ROWS, [0, 1, 2]),
        folder / "model.joblib",
    )
    return RuntimeTransport(ModelDetails("iris", ModelFramework.SKLearn), str(folder), None)


# -- where it runs ---------------------------------------------------------------------------------


async def test_one_that_blocks_leaves_the_loop_free(made: Made) -> None:
    transport = made("Blocking")
    asked = Request(encode_arguments(None, (ROWS,), {}))
    calling = asyncio.create_task(transport.infer(asked))
    assert await asyncio.to_thread(runtime_record.called.wait, 30)
    assert not calling.done()
    runtime_record.gate.set()
    assert answer(await calling) == 1.0


def test_a_server_answers_while_one_blocks(tmp_path: Path) -> None:
    child = tmp_path / "child"
    child.mkdir()
    (child / "waits.py").write_text(_WAITS)
    settings = {"name": "waits", "implementation": "waits.Waits"}
    (child / "model-settings.json").write_text(json.dumps(settings))
    models = PipelineModels(
        waits=Model("waits", platform=ModelFramework.SKLearn, local_folder=str(child))
    )

    @pipeline("asks", models=models)
    async def asks(path: str) -> str:
        return str(await asks.models.waits(path))

    save(asks, str(tmp_path / "asks"))
    gate = tmp_path / "gate"
    with serve(tmp_path / "asks") as server, ThreadPoolExecutor(1) as thread:
        asking = thread.submit(server.infer, "asks", path=str(gate))
        while not os.path.exists(f"{gate}.called"):
            assert not asking.done(), asking.result()
        assert server.http.get("/v2/health/live").status_code == 200
        assert not asking.done()
        gate.touch()
        assert "done" in asking.result()


def test_it_is_loaded_called_and_unloaded_on_one_loop(made: Made, call: Callable[..., Any]) -> None:
    transport = made("Looped")
    assert call(transport) == 2.5
    asyncio.run(transport.close())
    steps = [step for step, _ in runtime_record.calls]
    assert steps == ["load", "predict", "unload"]
    [(thread, _)] = {where for _, where in runtime_record.calls}
    assert thread != threading.get_ident()


def test_an_explainer_that_was_given_up_is_not_called_before_it_is_done(
    made: Made, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "_ONE_AT_A_TIME", {"tests.execution.custom_runtimes.InThread"})
    transport = made("InThread")
    for _ in range(2):
        with context.serving(0.2, {}), pytest.raises(DeadlineExceeded):
            call(transport)
    assert len(runtime_record.of("began")) == 1
    runtime_record.gate.set()
    assert call(transport) == 1.0
    assert len(runtime_record.of("began")) == 2


def test_its_thread_ends_when_it_is_closed(made: Made) -> None:
    transport = made()
    assert "tempo-child" in {thread.name for thread in threading.enumerate()}
    asyncio.run(transport.close())
    assert "tempo-child" not in {thread.name for thread in threading.enumerate()}


def test_its_thread_ends_when_it_is_forgotten(made: Made, tmp_path: Path) -> None:
    details = ModelDetails("forgotten", ModelFramework.Custom)
    transport = RuntimeTransport(details, str(tmp_path), "tests.execution.custom_runtimes.Custom")
    [thread] = [each for each in threading.enumerate() if each.name == "tempo-forgotten"]
    del transport
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


# -- what it is given, and gives -------------------------------------------------------------------


def test_arrays_are_handed_over_as_copies(made: Made) -> None:
    response = made("Raw").infer_blocking(Request(encode_arguments(None, (ROWS,), {})))
    [given] = runtime_record.of("data")
    assert isinstance(given, np.ndarray)
    for one, other in ((given, ROWS), (answer(response), ROWS), (answer(response), given)):
        assert np.array_equal(one, other)
        assert not np.shares_memory(one, other)


def test_text_is_handed_over_as_json_would_bring_it(made: Made, call: Callable[..., Any]) -> None:
    call(made("Raw"), ["käse", "tee"])
    assert runtime_record.of("data") == [["käse", "tee"]]


def test_ranks_of_zero_and_one_become_columns_as_on_a_server(
    made: Made, call: Callable[..., Any]
) -> None:
    assert call(made(), np.arange(3)).shape == (3, 1)


def test_it_sees_the_headers_that_travel_and_the_id(made: Made, call: Callable[..., Any]) -> None:
    headers = {"X-Request-Id": "7", "Host": "pipeline"}
    transport = made("Told")
    with context.serving(None, headers):
        [told] = call(transport, id="call-1").ravel()
    assert json.loads(told) == {"id": "call-1", "headers": {"x-request-id": "7"}, "extra": {}}


def test_without_headers_it_sees_none(made: Made, call: Callable[..., Any]) -> None:
    [told] = call(made("Told")).ravel()
    assert json.loads(told)["headers"] is None


def test_variables_about_the_servers_own_model_are_not_about_it(
    made: Made, call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSERVER_MODEL_URI", "/mnt/models")
    monkeypatch.setenv("MLSERVER_MODEL_IMPLEMENTATION", "tempo_runtime.TempoPipelineRuntime")
    monkeypatch.setenv("MLSERVER_MODEL_EXTRA", '{"seed": 3}')
    (tmp_path / "model-settings.json").write_text("{}")
    transport = iris(tmp_path)
    assert call(transport).tolist() == [[1.5]] * 3
    asyncio.run(transport.close())
    [told] = call(made("Told")).ravel()
    assert json.loads(told)["extra"] == {}


# -- loaded once -----------------------------------------------------------------------------------


def test_two_children_of_one_folder_share_what_is_loaded(
    made: Made, call: Callable[..., Any]
) -> None:
    one, two = made(), made()
    asyncio.run(one.close())
    assert call(two).tolist() == ROWS.tolist()
    assert (len(runtime_record.of("load")), len(runtime_record.of("unload"))) == (1, 0)
    asyncio.run(two.close())
    assert len(runtime_record.of("unload")) == 1


def test_closing_twice_gives_back_one(made: Made, call: Callable[..., Any]) -> None:
    one, two = made(), made()
    for _ in range(2):
        asyncio.run(one.close())
    assert call(two).tolist() == ROWS.tolist()


def test_threads_that_load_at_once_load_once(made: Made) -> None:
    with ThreadPoolExecutor(4) as threads:
        loading = [threads.submit(made, "SlowToLoad") for _ in range(4)]
        assert runtime_record.called.wait(30)
        runtime_record.gate.set()
        transports = [each.result() for each in loading]
    assert len(runtime_record.of("load")) == 1
    for each in transports:
        asyncio.run(each.close())
    assert len(runtime_record.of("unload")) == 1


def test_a_file_that_changed_is_another_model(tmp_path: Path, call: Callable[..., Any]) -> None:
    old = iris(tmp_path, 1.5)
    new = iris(tmp_path, 2.5)
    assert (call(old)[0], call(new)[0]) == (1.5, 2.5)
    for each in (old, new):
        asyncio.run(each.close())


def test_a_model_that_could_not_be_loaded_is_tried_again(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    (tmp_path / "model.joblib").write_bytes(b"no pickle")
    details = ModelDetails("iris", ModelFramework.SKLearn)
    with pytest.raises(ChildUnavailable):
        RuntimeTransport(details, str(tmp_path), None)
    transport = iris(tmp_path)
    assert call(transport)[0] == 1.5
    asyncio.run(transport.close())


# -- when it fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Blocking", "Patient"])
def test_it_ends_with_the_requests_deadline(
    name: str, made: Made, call: Callable[..., Any], tmp_path: Path
) -> None:
    transport = made(name)
    told = f"child 'child' at {tmp_path} did not answer in time"
    with context.serving(0.2, {}), pytest.raises(DeadlineExceeded, match=told):
        call(transport)


def test_the_task_that_it_awaits_at_the_deadline_is_cancelled(
    made: Made, call: Callable[..., Any]
) -> None:
    transport = made("Patient")
    with context.serving(0.2, {}), pytest.raises(DeadlineExceeded):
        call(transport)
    assert runtime_record.ended.wait(30)


def test_it_may_be_given_less_time_than_the_request(made: Made, call: Callable[..., Any]) -> None:
    transport = made("Patient", timeout=0.2)
    told = r"did not answer within 0\.2 s, its `timeout`"
    with context.serving(20, {}), pytest.raises(ChildUnavailable, match=told):
        call(transport)


def test_no_call_begins_after_the_deadline(tmp_path: Path, call: Callable[..., Any]) -> None:
    transport = iris(tmp_path)
    with context.serving(1e-9, {}), pytest.raises(DeadlineExceeded):
        call(transport)
    asyncio.run(transport.close())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Refusing", "child 'child' in this process raised MLServerError: no such row"),
        ("TimedOut", "raised TimeoutError: the database is slow"),
    ],
)
def test_its_error_is_reported(name: str, told: str, made: Made, call: Callable[..., Any]) -> None:
    with context.serving(20, {}), pytest.raises(ChildFailed, match=told):
        call(made(name))


def test_one_that_is_not_ready_after_loading_is_unavailable(made: Made, tmp_path: Path) -> None:
    told = (
        rf"child 'child' cannot be loaded in this process from {tmp_path} .*load\(\) returned None"
    )
    with pytest.raises(ChildUnavailable, match=told):
        made("Unready")
    assert len(runtime_record.of("unload")) == 1


def test_one_that_cannot_be_unloaded_is_logged(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(made("Stuck").close())
    assert "model 'child' could not be unloaded" in caplog.text
    assert "still in use" in caplog.text


@pytest.mark.parametrize(
    ("implementation", "told"),
    [
        (
            "mlserver_absent.Runtime",
            r"No module named 'mlserver_absent'; pip install mlserver-absent$",
        ),
        ("absent.Runtime", "ModuleNotFoundError: No module named 'absent'$"),
        ("tests.execution.custom_runtimes.Absent", "Absent"),
    ],
)
def test_the_error_of_a_missing_runtime_has_the_command_that_installs_it(
    implementation: str, told: str, tmp_path: Path
) -> None:
    details = ModelDetails("iris", ModelFramework.SKLearn)
    with pytest.raises(ChildUnavailable, match=told):
        RuntimeTransport(details, str(tmp_path), implementation)


@pytest.mark.parametrize("content", [None, b"no pickle"], ids=["missing", "damaged"])
def test_the_error_of_a_model_file_that_cannot_be_loaded_has_its_folder(
    content: bytes | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "model.joblib").write_bytes(content)
    details = ModelDetails("iris", ModelFramework.SKLearn)
    told = f"child 'iris' cannot be loaded in this process from {tmp_path} with mlserver_sklearn"
    with pytest.raises(ChildUnavailable, match=told):
        RuntimeTransport(details, str(tmp_path), None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", r"its model-settings\.json is invalid: JSONDecodeError"),
        ("[]", "not a JSON object"),
        ('{"max_batch_size": "many"}', "max_batch_size"),
    ],
)
def test_settings_that_cannot_be_read_are_reported(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "model-settings.json").write_text(content)
    details = ModelDetails("iris", ModelFramework.SKLearn)
    with pytest.raises(SettingsError, match=told):
        RuntimeTransport(details, str(tmp_path), None)


def test_a_framework_without_a_runtime_is_reported(tmp_path: Path) -> None:
    details = ModelDetails("net", ModelFramework.Custom)
    with pytest.raises(
        SettingsError, match="there is no known runtime class for the framework 'custom'"
    ):
        RuntimeTransport(details, str(tmp_path), None)


# -- pipelines -------------------------------------------------------------------------------------


def test_pipelines_nest_to_any_depth(tmp_path: Path) -> None:
    iris_folder = tmp_path / "iris"
    iris_folder.mkdir()
    asyncio.run(iris(iris_folder).close())
    inner: Any = Model("iris", platform=ModelFramework.SKLearn, local_folder=str(iris_folder))
    for depth in range(4):
        inner = _level(depth, inner)
        folder = tmp_path / f"level-{depth}"
        save(inner, str(folder))
        inner = Model(
            f"level-{depth}", platform=ModelFramework.TempoPipeline, local_folder=str(folder)
        )
    assert _served(folder, x=ROWS).tolist() == [5.5] * 3


def test_a_circle_of_pipelines_is_refused_with_its_path(tmp_path: Path) -> None:
    names = ("one", "two", "three")
    for name, following in zip(names, (*names[1:], names[0])):
        child = Model(
            following, platform=ModelFramework.TempoPipeline, local_folder=str(tmp_path / following)
        )

        @pipeline(name, models=PipelineModels(child=child))
        def link(x: int) -> int:
            return x

        save(link, str(tmp_path / name))
    with pytest.raises(SettingsError, match="in a circle: one -> two -> three -> one"):
        _served(tmp_path / "one", x=1)


def _level(depth: int, child: Any) -> Any:
    models = PipelineModels(child=child)
    if depth % 2:

        @pipeline(f"level-{depth}", models=models)
        def level(x: np.ndarray) -> np.ndarray:
            return np.asarray(level.models.child(x) + 1)

        return level

    @pipeline(f"level-{depth}", models=models)
    async def alevel(x: np.ndarray) -> np.ndarray:
        found: Awaitable[Any] = alevel.models.child(x)
        return np.asarray(await found + 1)

    return alevel


def _served(folder: Path, **arguments: Any) -> Any:
    opened, extra = store.unpickle(store.verify_folder(str(folder)))
    service = LoadedPipeline(opened, PipelineSettings.read(extra, {}), background(), str(folder))
    try:
        return service.runner.run_blocking(arguments)
    finally:
        background().run(service.close())


def test_a_model_whose_calls_hang_makes_its_async_pipeline_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mean"
    folder.mkdir()
    joblib.dump(DummyRegressor().fit(ROWS, [1.0, 2.0, 3.0]), folder / "model.joblib")
    mean = Model("mean", platform=ModelFramework.SKLearn, local_folder=str(folder))
    save(_level(2, mean), str(tmp_path / "parent"))
    opened, _ = store.unpickle(store.verify_folder(str(tmp_path / "parent")))
    service = LoadedPipeline(opened, PipelineSettings(), background(), str(tmp_path / "parent"))
    gate = threading.Event()
    monkeypatch.setattr(RuntimeTransport, "infer_blocking", lambda *_: gate.wait(60))

    async def called_in_vain() -> None:
        with context.serving(0.05, {}):
            await service.runner.run({"x": ROWS})

    async def all_called() -> list[Any]:
        calls = [called_in_vain() for _ in range(16)]
        return await asyncio.gather(*calls, return_exceptions=True)

    try:
        assert service.share_left == 1.0
        # Those that found no thread in time begin with the next, in place of the ones that hang.
        for _ in range(2):
            assert {type(each) for each in background().run(all_called())} == {DeadlineExceeded}
        assert service.share_left == 0.0
        assert "child 'mean' in this process is not ready: " in caplog.text
    finally:
        gate.set()
        background().run(service.close())
