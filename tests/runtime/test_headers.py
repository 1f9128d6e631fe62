"""Ids and tracing headers of a request reach each child, whatever runs between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempo_runtime import save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.testing import FakeModel, Server, serve
from tests.helpers import pipelines

HEADERS = {
    "content-type": "application/json",
    "x-request-id": "r-1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "x-b3-traceid": "0af7",
    "authorization": "Bearer s3cret",
    "seldon-model": "parent",
}


@pytest.fixture
def fake() -> Iterator[FakeModel]:
    with FakeModel("double", lambda x: x * 2, grpc=True) as fake:
        yield fake


@pytest.fixture(params=[0, 1], ids=["no workers", "a worker"])
def server(request: pytest.FixtureRequest, tmp_path: Path, fake: FakeModel) -> Iterator[Server]:
    # In one process: `grandparent` calls two pipelines, and those call the fake over both transports.
    for target in (pipelines.grandparent, pipelines.SyncParent, pipelines.async_parent):
        save(target, str(tmp_path / describe(target).details.name))
    env = {
        "TEMPO_RUNTIME_MODELS__PARENT__URI": "../sync-parent",
        "TEMPO_RUNTIME_MODELS__APARENT__URI": "../async-parent",
        "TEMPO_RUNTIME_MODELS__DOUBLE__URL": fake.url,
        "TEMPO_RUNTIME_MODELS__OTHER__URL": fake.grpc_url,
        "TEMPO_RUNTIME_FORWARD_HEADERS": "authorization",
    }
    folder = tmp_path / "grandparent"
    with serve(folder, settings={"parallel_workers": request.param}, env=env) as server:
        yield server


def test_headers_and_ids_reach_children_of_children_on_each_transport(
    server: Server, fake: FakeModel
) -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1]}
    body = {"id": "request-7", "inputs": [tensor]}
    url = "/v2/models/grandparent/infer"
    answer = server.http.post(url, content=json.dumps(body), headers=HEADERS)
    assert answer.status_code == 200, answer.text
    assert sorted(call.transport for call in fake.calls) == ["grpc", "http", "http"]
    for call in fake.calls:
        assert call.id == "request-7"
        for name in ("x-request-id", "traceparent", "x-b3-traceid", "authorization"):
            assert call.headers[name] == HEADERS[name]
        assert "seldon-model" not in call.headers
