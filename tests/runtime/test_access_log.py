"""One line for each request, after its answer, with facts about it and without its values."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import PipelineModels, model, pipeline, save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.runtime.access_log import AccessLog
from tempo_runtime.testing import FakeModel, Hang, Server, serve
from tests.helpers import pipelines
from tests.helpers.waiting import wait_until

TENSOR = {"name": "x", "datatype": "FP64", "shape": [1], "data": [123.5]}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeModel]:
    with FakeModel("double", lambda x: x * 2) as fake:
        yield fake


@pytest.fixture(scope="module", params=[0, 1], ids=["no workers", "a worker"])
def server(
    request: pytest.FixtureRequest, fake: FakeModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("accessed")
    save(pipelines.SyncParent, str(folder))
    env = {
        "TEMPO_RUNTIME_MODELS__DOUBLE__URL": fake.url,
        "TEMPO_RUNTIME_ACCESS_LOG": "json",
    }
    with serve(folder, settings={"parallel_workers": request.param}, env=env) as server:
        yield server


def lines(server: Server, id_: str) -> list[dict[str, Any]]:
    found = [line for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, found) if line.get("id") == id_]


def ask(server: Server, id_: str, **body: Any) -> Any:
    name = describe(pipelines.SyncParent).details.name
    content = json.dumps({"id": id_, "inputs": [TENSOR], **body})
    headers = {"content-type": "application/json"}
    return server.http.post(f"/v2/models/{name}/infer", content=content, headers=headers)


def test_an_answer_is_one_line(server: Server) -> None:
    assert ask(server, "one").status_code == 200
    wait_until(lambda: bool(lines(server, "one")))
    [line] = lines(server, "one")
    assert line["pipeline"] == describe(pipelines.SyncParent).details.name
    assert (line["status"], line["transport"]) == (200, "http")
    assert 0 < line["child_ms"] <= line["ms"]
    assert "error" not in line
    assert "123.5" not in json.dumps(line)


def test_a_failure_has_the_class_of_its_error(server: Server) -> None:
    assert ask(server, "two", parameters={"tempo_timeout": 0}).status_code == 422
    wait_until(lambda: bool(lines(server, "two")))
    [line] = lines(server, "two")
    assert (line["status"], line["error"]) == (422, "PayloadError")


def test_a_request_whose_time_is_spent_is_a_line(server: Server, fake: FakeModel) -> None:
    fake.script(Hang())
    assert ask(server, "three", parameters={"tempo_timeout": 0.2}).status_code == 504
    wait_until(lambda: bool(lines(server, "three")))
    assert lines(server, "three")[0]["error"] == "DeadlineExceeded"


def printed(code: str) -> str:
    command = [sys.executable, "-c", f"from tempo_runtime.runtime.access_log import *\n{code}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_line_of_text_has_one_field_after_the_other(tmp_path: Path) -> None:
    line = printed(
        "AccessLog('shop', 'v1', 'text').write('a b\\n', 'grpc', 503, 0.0123, 0.01, 'Overloaded')"
    )
    _, _, rest = line.partition(" ")
    assert rest == (
        'id="a b\\n" pipeline=shop version=v1 status=503 ms=12.3 child_ms=10.0 transport=grpc '
        "error=Overloaded\n"
    )


def test_configured_handlers_get_the_lines(caplog: pytest.LogCaptureFixture) -> None:
    AccessLog("shop", None, "json").write("r-1", "http", 200, 0.1, 0.0)
    assert json.loads(caplog.messages[0])["id"] == "r-1"


def test_the_time_in_children_counts_calls_of_nested_pipelines_once() -> None:
    from tempo_runtime.request.context import Origin, serving
    from tempo_runtime.request.record import RequestRecord

    @model("leaf")
    def leaf(x: int) -> int:
        return x

    @pipeline("branch", models=PipelineModels(leaf=leaf))
    def branch(x: int) -> int:
        return branch.models.leaf(x)

    @pipeline("tree", models=PipelineModels(branch=branch))
    def tree(x: int) -> int:
        return tree.models.branch(x)

    record = RequestRecord()
    with serving(None, {}, id="1", origin=Origin("tree"), record=record):
        assert tree(3) == 3
    assert len(record.child_seconds) == 1
