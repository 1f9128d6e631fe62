"""Requests that `InferenceRoute` answers are answered as MLServer's own route does, byte by byte."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.handlers import dataplane
from prometheus_client import REGISTRY

from tempo_runtime import model, save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.protocol.binary import HEADER
from tempo_runtime.protocol.messages import Request
from tempo_runtime.runtime import inference_route
from tests.fuzz import anything as some
from tests.fuzz.amounts import examples
from tests.fuzz.requests import bodies
from tests.helpers import pipelines
from tests.helpers.asgi_server import JSON, AsgiServer

OWN_MODEL = """
from mlserver import MLModel
from mlserver.types import InferenceResponse


class Echo(MLModel):
    async def predict(self, payload):
        [given] = payload.inputs
        output = {"name": "y", "datatype": given.datatype, "shape": given.shape, "data": given.data}
        return InferenceResponse(model_name=self.name, outputs=[output])

    def answer(self):  # a method that a pipeline's runtime has, too
        pass
"""
DERIVED = """
from tempo_runtime import TempoPipelineRuntime


class Derived(TempoPipelineRuntime):
    async def predict(self, payload):
        payload.inputs[0].data.root[0] = 7.5
        return await super().predict(payload)
"""


@model("halves")
def halves(x: np.ndarray) -> np.ndarray:
    """Answers with FP32, or FP16 for more than three numbers, and with INT8 for none."""
    if not x.size:
        return x.astype(np.int8)
    return x.astype(np.float16 if x.size > 3 else np.float32)


@model("words")
async def words(text: str, blob: bytes = b"", count: int = 1) -> dict[str, Any]:
    return {"text": text * count, "blob": len(blob), "none": None, "deep": [{"a": [1.5, None]}]}


@model("stream")
async def stream(to: int) -> Any:
    for number in range(to):
        yield number


@model("fails")
async def fails(x: Any = None) -> Any:
    raise ValueError("a bug of the author")


PIPELINES = (
    pipelines.echo,
    pipelines.shapes,
    pipelines.bill,
    pipelines.frames,
    halves,
    words,
    stream,
    fails,
)
NAMES = [describe(target).details.name for target in PIPELINES]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsgiServer]:
    root = tmp_path_factory.mktemp("models")
    folders = [root / name for name in NAMES]
    for target, folder in zip(PIPELINES, folders):
        save(target, str(folder))
    versioned = root / "versioned"
    save(halves, str(versioned))
    settings = json.loads((versioned / "model-settings.json").read_text())
    settings["parameters"]["version"] = "v2"
    (versioned / "model-settings.json").write_text(json.dumps({**settings, "name": "versioned"}))
    own = root / "own"
    own.mkdir()
    (own / "own_model.py").write_text(OWN_MODEL)
    implementation = {"name": "own", "implementation": "own_model.Echo"}
    (own / "model-settings.json").write_text(json.dumps(implementation))
    derived = root / "derived"
    save(halves, str(derived))
    (derived / "derived.py").write_text(DERIVED)
    settings = json.loads((derived / "model-settings.json").read_text())
    settings = {**settings, "name": "derived", "implementation": "derived.Derived"}
    (derived / "model-settings.json").write_text(json.dumps(settings))
    server = AsgiServer(*folders, versioned, own, derived)
    yield server
    server.close()


def both(
    server: AsgiServer,
    path: str,
    body: bytes | list[bytes],
    headers: Any = JSON,
) -> tuple[httpx.Response, httpx.Response]:
    """The answers of both routes to one request."""
    with mock.patch.object(dataplane, "generate_uuid", return_value="an-id"):
        fast = server.post(path, body, headers)
        plain = server.post(path, body, headers, fast=False)
    return fast, plain


def assert_same(
    server: AsgiServer, body: bytes, name: str = "echo", headers: Any = JSON, how: str = "infer"
) -> httpx.Response:
    fast, plain = both(server, f"/v2/models/{name}/{how}", body, headers)
    assert fast.status_code == plain.status_code, body[:500]
    assert fast.content == plain.content, body[:500]
    assert fast.headers.raw == plain.headers.raw, body[:500]
    return fast


def x(**changes: Any) -> dict[str, Any]:
    """A request with one tensor; None removes a field."""
    tensor = {"name": "x", "datatype": "FP64", "shape": [2], "data": [1.5, 2.0], **changes}
    return {"inputs": [{key: value for key, value in tensor.items() if value != "REMOVED"}]}


REMOVED = "REMOVED"
OBJECTS: dict[str, Any] = {
    "a usual request": x(),
    "an id": {**x(), "id": "7"},
    "an empty id": {**x(), "id": ""},
    "an id of null": {**x(), "id": None},
    "a number as id": {**x(), "id": 7},
    "an id that cannot be sent on": {**x(), "id": "a\nb"},
    "parameters": {**x(), "parameters": {"tempo_seed": 3, "y": [1, {"a": None}], "z": None}},
    "parameters of null": {**x(), "parameters": None},
    "parameters of a list": {**x(), "parameters": [1]},
    "a content type": {**x(), "parameters": {"content_type": "np"}},
    "a content type of null": {**x(), "parameters": {"content_type": None}},
    "a number as content type": {**x(), "parameters": {"content_type": 3}},
    "headers in the body": {**x(), "parameters": {"headers": {"a": "b"}}},
    "headers of null in the body": {**x(), "parameters": {"headers": None}},
    "headers in a tensor": x(parameters={"headers": {"a": "b"}}),
    "tagged": {**x(), "parameters": {"tempo_tagged": True}},
    "a timeout": {**x(), "parameters": {"tempo_timeout": 0.5}},
    "a wrong timeout": {**x(), "parameters": {"tempo_timeout": "soon"}},
    "outputs": {**x(), "outputs": [{"name": "output-0"}, {"name": "b", "parameters": {"c": 1}}]},
    "outputs of null": {**x(), "outputs": None},
    "no outputs": {**x(), "outputs": []},
    "outputs of texts": {**x(), "outputs": ["output-0"]},
    "an output without a name": {**x(), "outputs": [{}]},
    "an output with wrong parameters": {**x(), "outputs": [{"name": "a", "parameters": 1}]},
    "unknown fields": {**x(more={"a": 1}), "more": [1], "model_name": "other"},
    "no inputs": {"inputs": []},
    "inputs missing": {},
    "inputs of null": {"inputs": None},
    "inputs of an object": {"inputs": {"x": 1}},
    "an input of a number": {"inputs": [3]},
    "two inputs of one name": {"inputs": x()["inputs"] * 2},
    "an unknown name": x(name="y"),
    "a positional name": x(name="input-0"),
    "a number as name": x(name=3),
    "no name": x(name=REMOVED),
    "a name of null": x(name=None),
    "an unknown datatype": x(datatype="FP65"),
    "a datatype in lower case": x(datatype="fp64"),
    "a list as datatype": x(datatype=["FP64"]),
    "no datatype": x(datatype=REMOVED),
    "no shape": x(shape=REMOVED),
    "a shape of texts": x(shape=["2"]),
    "a shape of floats": x(shape=[2.0]),
    "a shape of a fraction": x(shape=[2.5]),
    "a shape of true": x(shape=[True], data=[1.5]),
    "a shape of null": x(shape=None),
    "a wrong shape": x(shape=[3]),
    "a negative shape": x(shape=[-1]),
    "a shape of 2**64 - 1": x(shape=[2**64 - 1]),
    "a shape of 2**64": x(shape=[2**64]),
    "rank 0": x(shape=[], data=[1.5]),
    "nested data": x(shape=[2, 1], data=[[1.5], [2.0]]),
    "ragged data": x(shape=[2, 1], data=[[1.5], [2.0, 3.0]]),
    "no data": x(data=REMOVED),
    "data of null": x(data=None),
    "data of a number": x(data=1.5),
    "data of text": x(datatype="BYTES", shape=[1], data="abc"),
    "data of an object": x(data={"a": 1}),
    "null in data": x(data=[None, 1.0]),
    "words in data": x(data=["NaN", "-Infinity"]),
    "true in data": x(data=[True, False]),
    "booleans": x(datatype="BOOL", data=[True, False]),
    "1.0 for INT64": x(datatype="INT64", data=[1.0, 2.0]),
    "1.5 for INT64": x(datatype="INT64", data=[1.5, 2.0]),
    "INT64 at its edges": x(datatype="INT64", data=[2**63 - 1, -(2**63)]),
    "UINT64 at its edge": x(datatype="UINT64", data=[2**64 - 1, 0]),
    "beyond UINT64": x(datatype="UINT64", data=[2**64, 0]),
    "beyond INT64": x(datatype="INT64", data=[-(2**63) - 1, 0]),
    "300 for UINT8": x(datatype="UINT8", data=[300, 0]),
    "integers for FP64": x(data=[2**53 + 1, -3]),
    "1e308 for FP32": x(datatype="FP32", data=[1e308, 0.1]),
    "FP32": x(datatype="FP32", data=[0.1, 1e-45]),
    "FP16": x(datatype="FP16", data=[0.1, 65504.0]),
    "edges of FP64": x(shape=[5], data=[5e-324, 1.7976931348623157e308, -0.0, 1e16, 1e-7]),
    "a literal of tempo 0.5": x(datatype="BYTES", shape=[3], data=list(b"'a'")),
    "texts": x(datatype="BYTES", data=["käse", "\x00☃\U0001f600"]),
    "JSON": x(
        datatype="BYTES",
        shape=[1],
        data=['{"a": [1.5, null, 1e400], "b": 12345678901234567890123}'],
        parameters={"content_type": "json"},
    ),
    "base64": x(datatype="BYTES", shape=[1], data=["/w=="], parameters={"content_type": "base64"}),
    "a datetime": x(
        datatype="BYTES",
        shape=[1],
        data=["2020-01-01T00:00:00"],
        parameters={"content_type": "datetime"},
    ),
    "empty": x(shape=[0, 2], data=[]),
    "nested parameters of a tensor": x(parameters={"a": {"b": [None]}, "c": None}),
    "parameters of a tensor that are a text": x(parameters="np"),
    "a list": [x()],
    "a number": 3,
    "null": None,
    "a text": "inputs",
}
BODIES: dict[str, bytes] = {
    **{name: json.dumps(content).encode() for name, content in OBJECTS.items()},
    "an empty body": b"",
    "spaces": b"  ",
    "not JSON": b"{",
    "more after JSON": b'{"inputs": []} x',
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(x()).encode(),
    "UTF-16": json.dumps(x()).encode("utf-16"),
    "not UTF-8": b'{"inputs": [], "id": "\xff"}',
    "half a surrogate pair": b'{"inputs": [], "id": "\\ud800"}',
    "NaN": json.dumps(x()).replace("1.5", "NaN").encode(),
    "Infinity": json.dumps(x()).replace("1.5", "-Infinity").encode(),
    "1e400": json.dumps(x()).replace("1.5", "1e400").encode(),
    "an integer of 400 digits": json.dumps(x(datatype="INT64", data=[10**400, 1])).encode(),
    "a name given twice": b'{"inputs": 1, ' + json.dumps(x()).encode()[1:],
    "a shape given twice": json.dumps(x()).replace('"shape"', '"shape": [9], "shape"').encode(),
    "a leading zero": json.dumps(x()).replace("1.5", "01.5").encode(),
    "a comment": b"/* */" + json.dumps(x()).encode(),
    "deeply nested": b'{"inputs": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "deeply nested data": json.dumps(x(data=some.nested(40))).encode(),
    "deeply nested parameters": json.dumps(
        {**x(), "parameters": {"a": some.nested_objects(200)}}
    ).encode(),
    "large": json.dumps(x(shape=[60_000], data=[1.25] * 60_000)).encode(),
    "large and wrong": json.dumps(x(shape=[60_001], data=[1.25] * 60_000)).encode(),
    "large and not a request": json.dumps(x(name=3, shape=[9], data=[1.25] * 60_000)).encode(),
    "wide": json.dumps(
        {"inputs": [{**x()["inputs"][0], "name": f"c{i}"} for i in range(3000)]}
    ).encode(),
}
HEADERS: dict[str, Any] = {
    "no content type": {},
    "a charset": {"content-type": "application/json; charset=utf-8"},
    "another charset": {"content-type": "application/json; charset=latin-1"},
    "capitals": {"Content-Type": "Application/JSON"},
    "JSON of another kind": {"content-type": "application/vnd.api+json"},
    "text": {"content-type": "text/plain"},
    "a form": {"content-type": "application/x-www-form-urlencoded"},
    "an empty content type": {"content-type": ""},
    "two content types": [("content-type", "application/json"), ("content-type", "text/plain")],
    "forwarded": {**JSON, "x-request-id": "a", "traceparent": "b", "x-b3-a": "c"},
    "given twice": [*JSON.items(), ("x-request-id", "a"), ("x-request-id", "b")],
    "a header that cannot be forwarded": {**JSON, "x-b3-a!": "c"},
    "identity": {**JSON, "content-encoding": "identity"},
    "said to be gzip": {**JSON, "content-encoding": "gzip"},
    "an answer in gzip": {**JSON, "accept-encoding": "gzip"},
    "an answer as it is": {**JSON, "accept-encoding": "identity"},
    "of CloudEvents": {**JSON, "ce-id": "1", "ce-source": "here"},
}


@pytest.mark.parametrize("case", BODIES)
def test_the_answer_to_a_body_is_the_same(case: str, server: AsgiServer) -> None:
    for name in NAMES:
        assert_same(server, BODIES[case], name)


@pytest.mark.parametrize("case", HEADERS)
def test_the_answer_to_headers_is_the_same(case: str, server: AsgiServer) -> None:
    many = x(shape=[3000], data=[1.5] * 3000)
    for content in (x(), many, {"inputs": 1}):
        assert_same(server, json.dumps(content).encode(), headers=HEADERS[case])


def test_the_answer_to_a_body_in_pieces_is_the_same(server: AsgiServer) -> None:
    body = BODIES["a usual request"]
    fast, plain = both(server, "/v2/models/echo/infer", [body[:9], b"", body[9:]])
    assert (fast.status_code, fast.content) == (200, plain.content)


def test_the_answer_to_a_compressed_body_is_the_same(server: AsgiServer) -> None:
    body = gzip.compress(json.dumps(x()).encode())
    assert (
        assert_same(server, body, headers={**JSON, "content-encoding": "gzip"}).status_code == 200
    )


@pytest.mark.parametrize(
    "path",
    [
        "nobody/infer",
        "own/infer",
        "derived/infer",
        "versioned/infer",
        "versioned/versions/v2/infer",
        "versioned/versions/v1/infer",
        "echo/versions/v1/infer",
        "echo/generate",
        "echo/infer/",
    ],
)
def test_the_answer_of_another_path_is_the_same(path: str, server: AsgiServer) -> None:
    body = json.dumps(x()).encode()
    fast, plain = both(server, f"/v2/models/{path}", body)
    assert fast.status_code in (200, 307, 404)
    assert (fast.status_code, fast.content) == (plain.status_code, plain.content)
    assert fast.headers.raw == plain.headers.raw


@pytest.mark.parametrize("how", ["infer", "infer_stream", "generate_stream"])
def test_the_answer_of_a_stream_is_the_same(how: str, server: AsgiServer) -> None:
    to = {"name": "to", "datatype": "INT64", "shape": [1], "data": [3]}
    assert_same(server, json.dumps({"inputs": [to]}).encode(), "stream", how=how)


def test_the_answer_of_a_model_that_is_not_ready_is_the_same(server: AsgiServer) -> None:
    echo = server.run(server.registry.get_model("echo"))
    echo.ready = False
    try:
        assert assert_same(server, json.dumps(x()).encode()).status_code == 400
    finally:
        echo.ready = True


@examples(200)
@given(data=st.data())
def test_the_answer_to_anything_is_the_same(server: AsgiServer, data: st.DataObject) -> None:
    assert_same(server, some.dump(data.draw(bodies())), data.draw(st.sampled_from(NAMES)))


def _counts() -> dict[str, float]:
    labels = {"model": "halves", "version": "None"}
    names = ("request_success_total", "request_failure_total", "request_duration_count")
    return {name: REGISTRY.get_sample_value(f"model_infer_{name}", labels) or 0 for name in names}


@pytest.mark.parametrize("content", [x(), x(name="unknown"), {"inputs": 1}])
def test_the_metrics_of_mlserver_count_it_in_the_same_way(content: Any, server: AsgiServer) -> None:
    body, grown = json.dumps(content).encode(), []
    for fast in (True, False):
        before = _counts()
        server.post("/v2/models/halves/infer", body, fast=fast)
        grown.append({name: count - before[name] for name, count in _counts().items()})
    assert grown[0] == grown[1]


@pytest.mark.parametrize(
    ("case", "name", "taken"),
    [
        ("a usual request", "echo", True),
        ("outputs", "echo", True),
        ("unknown fields", "echo", True),
        ("a shape of texts", "echo", False),
        ("a usual request", "own", False),
        ("a usual request", "derived", False),
    ],
)
def test_usual_requests_to_pipelines_do_without_pydantic(
    case: str, name: str, taken: bool, server: AsgiServer
) -> None:
    with mock.patch.object(inference_route, "infer", side_effect=ZeroDivisionError) as infer:
        server.post(f"/v2/models/{name}/infer", BODIES[case])
    assert infer.called is taken


BINARY: dict[str, tuple[dict[str, Any], bytes]] = {
    "an array": (x(data=REMOVED, parameters={"binary_data_size": 16}), np.arange(2.0).tobytes()),
    "a large array": (
        x(shape=[60_000], data=REMOVED, parameters={"binary_data_size": 480_000}),
        np.arange(60_000.0).tobytes(),
    ),
    "text": (
        x(datatype="BYTES", data=REMOVED, parameters={"binary_data_size": 10}),
        b"\1\0\0\0a\1\0\0\0b",
    ),
    "JSON": (x(), b""),
    "an unknown name": (x(name="y"), b""),
    "not a request": (x(name=3), b""),
}


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("case", BINARY)
def test_the_answer_to_binary_data_is_the_same_as_through_mlserver_s_models(
    case: str, asks: bool, server: AsgiServer
) -> None:
    content, raw = BINARY[case]
    head = json.dumps({**content, "parameters": {"binary_data_output": asks}}).encode()
    headers = {HEADER: str(len(head)), "content-length": str(len(head + raw))}
    refused = case in ("an unknown name", "not a request")
    for name in ("echo", "halves", "shapes", "versioned"):
        path = f"/v2/models/{name}/infer"
        with mock.patch.object(dataplane, "generate_uuid", return_value="an-id"):
            fast = server.post(path, [head + raw], headers)
            with mock.patch.object(inference_route, "is_here", return_value=False):
                slow = server.post(path, [head + raw], headers)
        assert (fast.status_code, fast.content) == (slow.status_code, slow.content)
        assert dict(fast.headers) == dict(slow.headers)
        assert (fast.status_code == 422) is refused or name != "echo"


@pytest.mark.parametrize("rows", [2, 60_000])
def test_the_body_and_its_tensors_are_released_before_the_pipeline_runs(
    rows: int, server: AsgiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps(x(shape=[rows], data=[1.25] * rows)).encode()
    requests: list[Request | None] = []
    held: list[tuple[int, int]] = []
    read = inference_route.read_request

    def recorded(body: bytes) -> Request | None:
        requests.append(read(body))
        return requests[-1]

    async def run(arguments: dict[str, Any]) -> Any:
        [request] = requests
        assert request is not None
        held.append((sys.getrefcount(body), len(request.tensors)))
        return arguments["x"]

    monkeypatch.setattr(inference_route, "read_request", recorded)
    echo = server.run(server.registry.get_model("echo"))
    monkeypatch.setattr(echo._service, "run", run)
    references = sys.getrefcount(body)
    server.run(_answered(server, _Body(body)))
    assert held == [(references, 0)]


async def _answered(server: AsgiServer, body: _Body) -> None:
    """Send a request without a client, which would hold its body."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v2/models/echo/infer",
        "query_string": b"",
        "headers": [(b"host", b"server")],
    }
    await server.application(scope, body.receive, mock.AsyncMock())


class _Body:
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def receive(self) -> dict[str, Any]:
        body, self._body = self._body, b""
        return {"type": "http.request", "body": body, "more_body": False}


def test_a_server_that_caches_answers_reads_all_requests_itself(
    server: AsgiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        server.data_plane, "_response_cache", mock.AsyncMock(lookup=mock.AsyncMock(return_value=""))
    )
    with mock.patch.object(inference_route, "infer", side_effect=ZeroDivisionError):
        assert server.post("/v2/models/echo/infer", BODIES["a usual request"]).status_code == 200
