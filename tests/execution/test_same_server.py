"""A child on the pipeline's own server: called there, and the same in all else as over HTTP."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import joblib
import numpy as np
import pytest
from mlserver import ModelSettings, Settings
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane, dataplane
from mlserver.registry import MultiModelRegistry
from prometheus_client import CollectorRegistry
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

import tempo_runtime
from tempo_runtime import Model, ModelFramework, PipelineModels, model, pipeline
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.clients.connect import limits
from tempo_runtime.errors import ChildFailed
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.execution.same_server import SameServerTransport
from tempo_runtime.protocol.messages import Request
from tempo_runtime.protocol.tensor import Tensor
from tempo_runtime.request.metrics import ChildMetrics
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import Server, serve
from tests.fidelity import pipelines
from tests.fidelity.routes import expected, nested
from tests.fidelity.values import VALUES

ROWS = [[1.0, 2.0], [3.0, 4.0]]
_SLOW = """
import os
import time


class Slow:
    def predict(self, rows):
        open(os.environ["GATE"] + ".called", "w").close()
        while not os.path.exists(os.environ["GATE"]):
            time.sleep(0.01)
        return rows[:, 0]
"""
_SERVED = """
import asyncio
import json

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.errors import MLServerError
from mlserver.types import InferenceResponse

HEADERS = ("host", "content-type", "accept-encoding", "x-request-id", "traceparent", "x-key")


class Served(MLModel):
    async def predict(self, payload):
        [text] = self.decode(payload.inputs[0], default_codec=StringCodec)
        if text == "refuse":
            raise MLServerError("no such row", 422)
        if text == "break":
            raise ValueError("a bug")
        if text == "wait":
            await asyncio.sleep(2)
        if text == "cancel":
            raise asyncio.CancelledError
        if text == "doze":
            self.ready = False
        given = payload.parameters
        seen = {
            "id": payload.id,
            "headers": {name: given.headers.get(name) for name in HEADERS},
            "parameters": sorted(given.model_extra or {}),
            "data": repr(payload.inputs[0].data),
        }
        output = StringCodec.encode_output("seen", [json.dumps(seen)])
        return InferenceResponse(model_name=self.name, outputs=[output])
"""


@model("inner")
def inner(text: str) -> str:
    if text == "refuse":
        raise MLServerError("the author's own", 409)
    if text == "break":
        raise ValueError("a bug")
    if text == "wait":
        time.sleep(1)
    return text * 2


CHILDREN = PipelineModels(
    sums=Model("sums", platform=ModelFramework.SKLearn),
    old=Model("sums", platform=ModelFramework.SKLearn),
    gone=Model("sums", platform=ModelFramework.SKLearn),
    slow=Model("slow", platform=ModelFramework.SKLearn),
    absent=Model("absent", platform=ModelFramework.SKLearn),
    served=Model("served", platform=ModelFramework.HuggingFace, inputs=str, outputs=str),
    dozing=Model("dozing", platform=ModelFramework.HuggingFace, inputs=str, outputs=str),
    inner=inner,
    brief=Model("sums", platform=ModelFramework.SKLearn),
)


@pipeline("caller", models=CHILDREN)
async def caller(child: str, value: str) -> str:
    given = json.loads(value)
    answer = await getattr(caller.models, child)(
        given if isinstance(given, str) else np.array(given)
    )
    return answer if isinstance(answer, str) else json.dumps(answer.tolist())


@pipeline("caller-in-threads", models=CHILDREN)
def caller_in_threads(child: str, value: str) -> str:
    given = json.loads(value)
    models = caller_in_threads.models
    answer = getattr(models, child)(given if isinstance(given, str) else np.array(given))
    return answer if isinstance(answer, str) else json.dumps(answer.tolist())


CALLERS = ("caller", "caller-in-threads")


class Servers(NamedTuple):
    """The server of the models, and one whose pipelines call them over HTTP."""

    here: Server
    apart: Server
    gate: Path


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    root = tmp_path_factory.mktemp("same-server")
    (root / "slow_model.py").write_text(_SLOW)
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.syspath_prepend(str(root))
    from slow_model import Slow  # type: ignore[import-not-found]

    sums = LinearRegression().fit(ROWS, np.sum(ROWS, axis=1))
    models = [
        _sklearn(root / "sums", sums, version="1"),
        _sklearn(root / "slow", Slow()),
        *(_served(root / name) for name in ("served", "dozing")),
        tempo_runtime.save(inner, str(root / "inner")),
    ]
    callers = [
        tempo_runtime.save(target, str(root / describe(target).details.name))
        for target in (caller, caller_in_threads)
    ]
    settings = {
        "old": {"version": "1"},
        "gone": {"version": "7"},
        "brief": {"max_answer_bytes": 1},
        "served": {"headers": {"x-key": "secret"}},
    }
    env = {
        "PYTHONPATH": str(root),
        "GATE": str(root / "gate"),
        "TEMPO_RUNTIME_MODELS": json.dumps(settings),
        "TEMPO_RUNTIME_UNAVAILABLE_TIMEOUT": "0.2",
    }
    with (
        serve(*models, *callers, env={**env, "TEMPO_RUNTIME_TRANSPORT": "http"}) as here,
        serve(*callers, env={**env, "TEMPO_RUNTIME_BASE_URL": here.url}) as apart,
    ):
        yield Servers(here, apart, root / "gate")
    monkeypatch.undo()


def _sklearn(folder: Path, fitted: Any, **parameters: Any) -> str:
    folder.mkdir()
    joblib.dump(fitted, folder / "model.joblib")
    implementation = "mlserver_sklearn.SKLearnModel"
    return _settings(folder, implementation, uri="model.joblib", **parameters)


def _served(folder: Path) -> str:
    folder.mkdir()
    (folder / "served.py").write_text(_SERVED)
    return _settings(folder, "served.Served")


def _settings(folder: Path, implementation: str, **parameters: Any) -> str:
    settings = {"name": folder.name, "implementation": implementation, "parameters": parameters}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    return str(folder)


def ask(server: Server, name: str, child: str, value: Any, **parameters: Any) -> httpx.Response:
    texts = {"child": child, "value": json.dumps(value)}
    inputs = [
        {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]}
        for name, text in texts.items()
    ]
    return server.http.post(
        f"/v2/models/{name}/infer",
        json={"id": "an-id", "inputs": inputs, "parameters": parameters},
        headers={"x-request-id": "a-request", "traceparent": "a-trace"},
    )


def told(answer: httpx.Response) -> tuple[int, Any]:
    body = answer.json()
    if answer.status_code == 200:
        return 200, body["outputs"][0]["data"]
    return answer.status_code, {
        **body,
        "error": re.sub(r"\d+\.\d+ s|\d+ bytes", "N", body["error"]),
    }


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def counts(server: Server) -> Counter[str]:
    """MLServer's counts: requests of each child, also by outcome, and all requests over HTTP."""
    found: Counter[str] = Counter()
    for line in server.http.get(server.metrics).text.splitlines():
        series, _, count = line.rpartition(" ")
        if (
            re.match(r"model_infer_request_(success_total|failure_total|duration_count)", series)
            and "caller" not in series
        ):
            found[series] += int(float(count))
        if series.startswith("rest_server_requests_total") and "/infer" in series:
            found["over HTTP"] += int(float(count))
    return found


CASES = {
    "an array": ("sums", ROWS, 200),
    "a version": ("old", ROWS, 200),
    "what a runtime sees": ("served", "text", 200),
    "a pipeline": ("inner", "text", 200),
    "the wrong shape": ("sums", [[1.0, 2.0, 3.0]], 502),
    "a refusal": ("served", "refuse", 422),
    "an error of a runtime": ("served", "break", 502),
    "an error of a pipeline's author": ("inner", "break", 500),
    "a status that a pipeline's author chose": ("inner", "refuse", 409),
    "an unknown model": ("absent", ROWS, 502),
    "an unknown version": ("gone", ROWS, 502),
    "an answer that is too large": ("brief", ROWS, 502),
}


@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize("case", CASES)
def test_a_call_has_the_same_outcome_and_counts_as_over_http(
    servers: Servers, name: str, case: str
) -> None:
    child, value, status = CASES[case]
    for _ in range(2):  # the second goes to the child's model, if that takes arrays
        before = counts(servers.here)
        here = told(ask(servers.here, name, child, value))
        between = counts(servers.here)
        apart = told(ask(servers.apart, name, child, value))
        after = counts(servers.here)
        assert here == apart
        assert here[0] == status, here
        # Over HTTP came only the caller's request, and then only the child's.
        assert between - before == after - between
        assert (between - before)["over HTTP"] == 1


@pytest.mark.parametrize("name", CALLERS)
def test_a_model_that_cancels_a_call_fails_it_as_over_http(servers: Servers, name: str) -> None:
    here, apart = (
        told(ask(server, name, "served", "cancel")) for server in (servers.here, servers.apart)
    )
    assert here == apart
    assert here[0] == 502


@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize("child", ["served", "inner"])
def test_a_late_child_is_named_as_over_http(servers: Servers, name: str, child: str) -> None:
    answers = [
        told(ask(server, name, child, "wait", tempo_timeout=0.5))
        for server in (servers.here, servers.apart)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 504
    assert answers[0][1]["tempo"]["path"] == [child]


@pytest.mark.parametrize("name", CALLERS)
def test_a_child_that_is_not_ready_is_waited_for_as_over_http(servers: Servers, name: str) -> None:
    ask(servers.here, name, "dozing", "doze")
    answers = [
        told(ask(server, name, "dozing", "text")) for server in (servers.here, servers.apart)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 503
    assert "is not ready" in answers[0][1]["error"]
    servers.here.http.post("/v2/repository/models/dozing/load").raise_for_status()
    assert ask(servers.here, name, "dozing", "text").status_code == 200


@pytest.mark.parametrize("name", CALLERS)
def test_a_child_is_looked_up_in_each_call(servers: Servers, name: str) -> None:
    repository = "/v2/repository/models/sums"
    servers.here.http.post(f"{repository}/unload").raise_for_status()
    assert "was not found" in ask(servers.here, name, "sums", ROWS).json()["error"]
    servers.here.http.post(f"{repository}/load").raise_for_status()
    assert ask(servers.here, name, "sums", ROWS).status_code == 200


@pytest.mark.parametrize("name", CALLERS)
def test_a_pipeline_that_is_reloaded_calls_its_children_there(servers: Servers, name: str) -> None:
    servers.here.http.post(f"/v2/repository/models/{name}/load").raise_for_status()
    before = counts(servers.here)
    assert ask(servers.here, name, "sums", ROWS).status_code == 200
    assert (counts(servers.here) - before)["over HTTP"] == 1


@pytest.mark.parametrize("name", CALLERS)
def test_a_child_that_computes_does_not_block_the_server(servers: Servers, name: str) -> None:
    called = servers.gate.with_name("gate.called")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, servers.here, name, "slow", ROWS)
        try:
            until(called.exists)
            assert servers.here.http.get("/v2/health/live", timeout=10).status_code == 200
        finally:
            servers.gate.touch()
        assert waiting.result().status_code == 200
    servers.gate.unlink()
    called.unlink()


def test_every_value_arrives_as_over_http(tmp_path: Path) -> None:
    folders = [
        tempo_runtime.save(target, str(tmp_path / describe(target).details.name))
        for target in pipelines.ALL
    ]
    with serve(*folders, env={"TEMPO_RUNTIME_TRANSPORT": "http"}) as server:
        resolver = ChildResolver(PipelineSettings(base_url=(server.url,)), background())
        route = nested(
            lambda name: resolver.child(name, describe(getattr(pipelines, name)).reference())
        )
        for case, row in VALUES.items():
            if row.refused is None:
                assert route.send(case) == expected(row), case
                assert route.fetch(case) == expected(row), case
        background().run(resolver.close())


class Plane:
    """MLServer's data plane with one model of scikit-learn, in this process."""

    def __init__(self, folder: Path, fitted: Any) -> None:
        self._file = folder / "model.joblib"
        self._registry = MultiModelRegistry()
        self._data_plane = DataPlane(Settings(), self._registry)
        self.load(fitted)

    def load(self, fitted: Any) -> None:
        joblib.dump(fitted, self._file)
        stated: dict[str, Any] = {
            "name": "m",
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(self._file)},
        }
        loading = self._registry.load(ModelSettings.model_validate(stated))
        self.model = background().run(loading)._model

    def child(self, **settings: Any) -> Callable[[Any], Any]:
        """A call of the model by a child with these settings."""
        extra = {"models": {"m": {"transport": "http", **settings}}}
        stated = PipelineSettings.read(extra, {}).child("m")
        transport = SameServerTransport(
            self._data_plane,
            "m",
            stated,
            background(),
            limits(stated, forwards_deadline=False),
            ChildMetrics("p", "m"),
        )

        def call(rows: Any) -> Any:
            request = Request([Tensor("x", "FP64", list(rows.shape), rows)])
            return transport.infer_blocking(request).tensors[0].data

        return call


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each data plane its own counters; the default registry takes each name once."""
    for kind in ("Counter", "Summary"):
        own = partial(getattr(dataplane, kind), registry=CollectorRegistry())
        monkeypatch.setattr(dataplane, kind, own)


LABELS = np.arange(40) % 2
POINTS = np.random.RandomState(0).normal(LABELS[:, np.newaxis], 1, (40, 2))
FAST = "computed without scikit-learn's checks in each call"


@pytest.mark.usefixtures("alone")
def test_a_model_of_mlservers_runtime_is_called_fast_and_stays_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mlserver")
    forest = RandomForestClassifier(5, random_state=0, min_samples_leaf=3).fit(POINTS, LABELS)
    plane = Plane(tmp_path, forest)
    fast, other, slow = plane.child(), plane.child(), plane.child(fast_sklearn=False)
    for call in (fast, other, slow):
        for _ in range(2):  # once by MLServer's runtime, and then with arrays
            np.testing.assert_array_equal(np.ravel(call(POINTS)), forest.predict(POINTS))
    assert "predict" not in vars(plane.model)
    [message] = [text for text in caplog.messages if "its own server" in text]
    assert message.startswith(f"model 'm', called on its own server, is {FAST}")
    # Now only those can answer who do not need scikit-learn.
    del plane.model.estimators_
    for call in (fast, other):
        np.testing.assert_array_equal(np.ravel(call(POINTS)), forest.predict(POINTS))
    with pytest.raises(ChildFailed, match="estimators_"):
        slow(POINTS)


@pytest.mark.usefixtures("alone")
def test_a_model_that_cannot_be_fast_is_called_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mlserver")
    line = LinearRegression().fit(POINTS, LABELS)
    call = Plane(tmp_path, line).child()
    for _ in range(2):
        np.testing.assert_array_equal(np.ravel(call(POINTS)), line.predict(POINTS))
    [message] = [text for text in caplog.messages if "its own server" in text]
    assert "is computed by scikit-learn: a LinearRegression has no fast path" in message


@pytest.mark.usefixtures("alone")
def test_a_model_that_is_loaded_again_is_proved_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mlserver")
    forest = RandomForestClassifier(5, random_state=0).fit(POINTS, LABELS)
    plane = Plane(tmp_path, forest)
    call = plane.child()
    for labels in (LABELS, 1 - LABELS):
        forest.fit(POINTS, labels)
        plane.load(forest)
        for _ in range(2):
            np.testing.assert_array_equal(np.ravel(call(POINTS)), forest.predict(POINTS))
    assert sum("its own server" in text for text in caplog.messages) == 2
