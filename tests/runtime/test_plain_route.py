"""`POST /v2/models/NAME/predict` in MLServer's application, and in real servers."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from prometheus_client import REGISTRY

from tempo_runtime import model, save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.testing import Server, serve
from tests.helpers import pipelines
from tests.helpers.asgi_server import JSON, AsgiServer
from tests.helpers.income import ROOT

PAGE = ROOT / "docs" / "http.md"
_CALL = re.compile(r"^```bash\n([^`]*?)^```\n\n```text\n(.*?)^```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@model("about")
async def about(wait: float = 0.0) -> dict[str, Any]:
    """Says what its request is."""
    from tempo_runtime.request import context

    await asyncio.sleep(wait)
    current = context.current()
    return {"id": current.id, "seed": current.seed, "headers": dict(current.headers)}


@model("until")
async def until(fails_at: int) -> AsyncIterator[int]:
    for number in range(4):
        if number == fails_at:
            raise ValueError(f"no {number}")
        yield number


@model("endless")
async def endless(end: str) -> AsyncIterator[int]:
    """Writes a file when its client has left."""
    try:
        while True:
            yield 1
            await asyncio.sleep(0.001)
    finally:
        open(end, "w").close()  # noqa: ASYNC230 - it is empty


@model("odd")
def odd() -> Any:
    return {"pair": (1, 2)}


PIPELINES = (
    pipelines.echo,
    pipelines.shapes,
    pipelines.bill,
    pipelines.frames,
    about,
    until,
    endless,
    odd,
)
FOREIGN = """
from mlserver import MLModel


class Foreign(MLModel):
    pass
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsgiServer]:
    root = tmp_path_factory.mktemp("models")
    folders = [root / describe(target).details.name for target in PIPELINES]
    for target, folder in zip(PIPELINES, folders):
        save(target, str(folder))
    foreign = root / "foreign"
    foreign.mkdir()
    (foreign / "foreign.py").write_text(FOREIGN)
    implementation = {"name": "foreign", "implementation": "foreign.Foreign"}
    (foreign / "model-settings.json").write_text(json.dumps(implementation))
    server = AsgiServer(*folders, foreign)
    yield server
    server.close()


def call(
    server: AsgiServer, name: str, how: str = "predict", /, **arguments: Any
) -> httpx.Response:
    body = json.dumps(arguments).encode()
    return server.post(f"/v2/models/{name}/{how}", body)


def test_a_call_is_answered_with_the_result_alone(server: AsgiServer) -> None:
    answer = call(server, "shapes", x=[[1, 2], [3, 4]])
    assert (answer.status_code, answer.text) == (200, '[[[1,2],[3,4]],"int64",2]')
    assert answer.headers["content-type"] == "application/json"
    orders = [{"item": "tea", "amount": 3}, {"item": "cake"}]
    assert call(server, "bill", orders=orders).json() == {
        "orders": [{"item": "tea", "amount": 3}, {"item": "cake", "amount": 1}],
        "total": 8.0,
    }
    rows = [{"n": 1, "s": "a"}, {"n": 2, "s": None}]
    assert call(server, "frames", frame=rows, factor=3).json() == [
        {"n": 3, "s": "a"},
        {"n": 6, "s": None},
    ]


def test_it_is_the_answer_of_a_call_over_v2_and_of_one_in_the_process(server: AsgiServer) -> None:
    array = np.arange(6.0).reshape(2, 3)
    tensor = {"name": "x", "datatype": "FP64", "shape": [2, 3], "data": array.ravel().tolist()}
    over_v2 = server.post("/v2/models/shapes/infer", json.dumps({"inputs": [tensor]}).encode())
    outputs = over_v2.json()["outputs"]
    first, dtype, rank = call(server, "shapes", x=array.tolist()).json()
    assert np.array(first).ravel().tolist() == outputs[0]["data"]
    assert [[dtype], [rank]] == [output["data"] for output in outputs[1:]]
    here = pipelines.shapes(array)
    assert (np.array(first).tolist(), dtype, rank) == (here[0].tolist(), *here[1:])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"orders": [{"amount": 1}]}, "'orders.0.item': Field required"),
        ({"price": 1.0}, "argument 'orders' is missing; expected: orders, price"),
        ({"orders": [], "prices": 1}, "argument 'prices' is unknown; expected: orders, price; did"),
    ],
)
def test_a_wrong_call_is_answered_as_a_wrong_v2_request_is(
    arguments: dict[str, Any], problem: str, server: AsgiServer
) -> None:
    answer = call(server, "bill", **arguments)
    assert answer.status_code == 422
    assert problem in answer.json()["error"]
    assert answer.json()["tempo"]["fault"] == "client"
    assert json.loads(answer.headers["tempo-error"])["kind"] == "PayloadError"


def test_a_result_that_json_cannot_hold_is_the_pipeline_s_fault(server: AsgiServer) -> None:
    answer = call(server, "odd")
    assert (answer.status_code, answer.json()["tempo"]["fault"]) == (500, "pipeline")
    assert "pipeline 'odd' returned a result that cannot be sent" in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "status", "problem"),
    [
        (
            {"content-type": "text/plain"},
            415,
            "the body is 'text/plain'; send JSON, with the header",
        ),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "send JSON"),
        ({}, 415, "the body has no content type; send JSON"),  # as a page of another site can
        ({**JSON, "content-encoding": "gzip"}, 415, "the body is compressed ('gzip')"),
        ({"content-type": "application/json; charset=utf-8"}, 200, ""),
    ],
)
def test_the_body_must_be_stated_to_be_json(
    headers: dict[str, str], status: int, problem: str, server: AsgiServer
) -> None:
    answer = server.post("/v2/models/echo/predict", b'{"x": 1}', headers)
    assert answer.status_code == status
    assert problem in answer.text


def test_the_request_has_its_id_its_seed_and_its_headers(server: AsgiServer) -> None:
    headers = {**JSON, "x-request-id": "order-7", "traceparent": "00-a"}
    answer = server.post("/v2/models/about/predict?tempo_seed=5", b"{}", headers)
    assert answer.json() == {
        "id": "order-7",
        "seed": 5,
        "headers": {"x-request-id": "order-7", "traceparent": "00-a"},
    }
    assert answer.headers["ce-id"] == "order-7"
    assert call(server, "about").json()["id"]


def test_the_request_has_its_deadline(server: AsgiServer) -> None:
    path = "/v2/models/about/predict?tempo_timeout=0.05"
    answer = server.post(path, b'{"wait": 60}')
    assert (answer.status_code, answer.json()["tempo"]["kind"]) == (504, "DeadlineExceeded")


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("tempo_timeout=soon", "parameter 'tempo_timeout' is 'soon', and must be a number"),
        ("tempo_timeout", "parameter 'tempo_timeout' is ''"),
        ("timeout=3", "parameter 'timeout' of the URL is unknown; expected: tempo_timeout"),
        ("tempo_allow_incomplete_anchors=1", "is '1', and must be true or false"),
    ],
)
def test_a_wrong_parameter_is_refused(query: str, problem: str, server: AsgiServer) -> None:
    answer = server.post(f"/v2/models/about/predict?{query}", b"{}")
    assert answer.status_code == 422
    assert problem in answer.json()["error"]


def test_other_models_and_methods_are_refused(server: AsgiServer) -> None:
    unknown = call(server, "nobody")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "Model nobody not found"})
    version = server.post("/v2/models/echo/versions/v9/predict", b"{}")
    assert version.status_code == 404
    foreign = call(server, "foreign")
    assert foreign.status_code == 404
    assert "'foreign' is not a pipeline" in foreign.json()["error"]
    echo = server.run(server.registry.get_model("echo"))
    echo.ready = False
    try:
        assert call(server, "echo", x=1).status_code == 400
    finally:
        echo.ready = True


def test_mlserver_counts_it_as_a_request(server: AsgiServer) -> None:
    def count(outcome: str) -> float:
        labels = {"model": "echo", "version": "None"}
        return REGISTRY.get_sample_value(f"model_infer_request_{outcome}_total", labels) or 0

    before = [count("success"), count("failure")]
    call(server, "echo", x=1)
    call(server, "echo", y=1)
    assert [count("success"), count("failure")] == [before[0] + 1, before[1] + 1]


def test_a_large_call_is_answered(server: AsgiServer) -> None:
    rows = np.random.default_rng(0).normal(size=(3000, 10))
    assert call(server, "echo", x=rows.tolist()).json() == rows.tolist()


@pytest.mark.parametrize("content", [b'{"x":', b""])
def test_a_client_that_leaves_within_its_body_is_not_answered(
    content: bytes, server: AsgiServer
) -> None:
    sent: list[Any] = []
    messages = iter(
        [
            {"type": "http.request", "body": content, "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v2/models/echo/predict",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    server.run(server.application(scope, receive, send))
    assert sent == []


def test_a_stream_is_server_sent_events(server: AsgiServer) -> None:
    answer = call(server, "until", "predict_stream", fails_at=9)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\n"
    assert call(server, "until", fails_at=9).json() == 3


def test_an_error_after_the_first_item_is_an_event(server: AsgiServer) -> None:
    answer = call(server, "until", "predict_stream", fails_at=2)
    *items, last, end = answer.text.split("\n\n")
    assert (items, end) == (["data: 0", "data: 1"], "")
    assert last.startswith("event: error\ndata: ")
    error = json.loads(last.partition("data: ")[2])
    assert (error["status"], error["tempo"]["kind"]) == (500, "PipelineFailed")
    assert "ValueError: no 2" in error["error"]


def test_an_error_before_the_first_item_has_its_status(server: AsgiServer) -> None:
    assert call(server, "until", "predict_stream", fails_at=0).status_code == 500
    assert call(server, "until", "predict_stream", fails_at="a").status_code == 422
    assert call(server, "nobody", "predict_stream").status_code == 404


def test_a_stream_ends_when_its_client_leaves(server: AsgiServer, tmp_path: Path) -> None:
    end = tmp_path / "end"
    begun = asyncio.Event()
    messages = iter([{"type": "http.request", "body": json.dumps({"end": str(end)}).encode()}])

    async def receive() -> Any:
        for message in messages:
            return message
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            begun.set()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v2/models/endless/predict_stream",
        "query_string": b"",
        "headers": [(b"host", b"server"), (b"content-type", b"application/json")],
    }
    server.run(server.application(scope, receive, send))
    assert end.exists()


def test_a_pipeline_without_a_stream_gives_one_event(server: AsgiServer) -> None:
    assert call(server, "echo", "predict_stream", x=[1]).text == "data: [1]\n\n"


# -- real servers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[0, 1], ids=["no workers", "a worker"])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("shop")
    [code] = _CODE.findall(PAGE.read_text())
    (root / "shop.py").write_text(code)
    spec = importlib.util.spec_from_file_location("shop", root / "shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for target in (module.prices, module.older, module.countdown, pipelines.frames):
        save(target, str(root / describe(target).details.name))
    with serve(root, settings={"parallel_workers": request.param}) as server:
        yield server


def test_the_curl_lines_of_the_page_print_what_it_shows(shop: Server, tmp_path: Path) -> None:
    page = PAGE.read_text()
    [people] = re.findall(r"^```csv\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "people.csv").write_text(people)
    calls = _CALL.findall(page)
    assert len(calls) == len(re.findall("curl -s[^`]*?/v2/models/", page))
    for line, shown in calls:
        command = line.replace("http://127.0.0.1:8080", shop.url)
        command = command.replace("python -c", f"{sys.executable} -c")
        done = subprocess.run(
            ["bash", "-ec", command], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == shown.strip()


def test_a_dataframe_and_a_wrong_one(shop: Server) -> None:
    path = "/v2/models/frames/predict"
    content = {"frame": {"n": [1, 2], "day": ["a", "b"]}, "factor": 2}
    frame = pd.DataFrame(shop.http.post(path, json=content).json())
    assert frame.to_dict("list") == {"n": [2, 4], "day": ["a", "b"]}
    wrong = shop.http.post(path, json={"frame": {"n": [1, 2]}, "factor": 1.5})
    assert wrong.status_code == 422
    assert "'factor'" in wrong.json()["error"]
