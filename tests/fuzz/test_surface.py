"""Whatever is sent to a server is answered, and never with a 500 of ours."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime import save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.testing import FakeModel, Server, serve
from tests.fuzz import anything as some
from tests.fuzz.amounts import examples
from tests.helpers import pipelines

TARGETS = (
    pipelines.double,
    pipelines.echo,
    pipelines.shapes,
    pipelines.bill,
    pipelines.frames,
    pipelines.SyncParent,
)
SERVED = {describe(target).details.name: describe(target) for target in TARGETS}
JSON = {"content-type": "application/json"}
DATA = {"anyOf": [{"type": kind} for kind in ("number", "string", "boolean", "array")]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    for target in TARGETS:
        save(target, str(root / describe(target).details.name))
    with FakeModel("double", lambda x: x) as fake:
        env = {"TEMPO_RUNTIME_MODELS__DOUBLE__URL": fake.url}
        with serve(root, env=env) as server:
            yield server


def test_requests_that_mlservers_own_description_allows_are_answered(server: Server) -> None:
    described = server.http.get("/v2/docs/dataplane.json").json()
    # It says that a tensor's data may be of a type "bytes", which JSON schema does not have.
    described["components"]["schemas"]["TensorData"] = {"type": "array", "items": DATA}
    api = schemathesis.openapi.from_dict(described)
    # An unknown model or version is MLServer's to refuse, and of a stream it answers 500.
    every = [found.ok() for found in api.get_all_operations()]
    operations = [each for each in every if "{model_version}" not in each.path]
    assert any(operation.path.endswith("/infer") for operation in operations)
    for operation in operations:

        @examples(20)
        @given(case=operation.as_strategy())
        def is_answered(case: Any) -> None:
            if "model_name" in case.path_parameters:
                case.path_parameters["model_name"] = "echo"
            assert case.call(base_url=server.url, timeout=30).status_code < 500

        is_answered()


@pytest.mark.parametrize("name", SERVED)
@examples(60)
@given(data=st.data())
def test_a_request_for_a_pipeline_is_answered_or_refused(
    name: str, server: Server, data: st.DataObject
) -> None:
    inputs = [spec.name for spec in SERVED[name].signature.inputs]
    body = {"inputs": data.draw(st.lists(some.tensors(inputs), max_size=3))}
    if data.draw(st.booleans()):
        body["parameters"] = data.draw(st.dictionaries(st.sampled_from(inputs), some.leaves))
    answer = post(server, name, some.dump(body))
    # Their annotations allow values that the functions themselves do not take: text, other columns.
    theirs = name in ("double", "sync-parent", "frames") and " raised " in answer.text
    assert answer.status_code in (200, 400, 422) or theirs, f"{answer.text}: {body}"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", JSON),
        (b'{"inputs": [', JSON),
        (b"\x00\x01", JSON),
        (b"[" * 100_000, JSON),
        (b'{"inputs": []}', {}),
        (b'{"inputs": []}', {"content-type": "text/plain"}),
        (gzip.compress(b'{"inputs": []}', mtime=0), {**JSON, "content-encoding": "gzip"}),
    ],
)
def test_a_body_that_is_not_a_request_is_refused(
    body: bytes, headers: dict[str, str], server: Server
) -> None:
    answer = server.http.post("/v2/models/echo/infer", content=body, headers=headers)
    assert 400 <= answer.status_code < 500


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_20_000_requests_leave_nothing_behind(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    x = {"name": "x", "datatype": "FP64", "shape": [100], "data": np.arange(100.0).tolist()}
    text = {"name": "x", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}
    mix = [
        ("double", {"inputs": [x]}, 200),
        ("echo", {"inputs": [text]}, 200),
        ("sync-parent", {"inputs": [x]}, 200),
        ("shapes", {"inputs": [x]}, 200),
        ("double", {"inputs": [text | {"name": "y"}]}, 422),
    ]
    bodies = [(name, json.dumps(body).encode(), status) for name, body, status in mix]
    memory, files = [], []
    # A client that costs little: it and the server share two processors.
    with closing(HTTPConnection(urlsplit(server.url).netloc, timeout=120)) as connection:
        for number in range(20_000):
            name, body, status = bodies[number % len(bodies)]
            connection.request("POST", f"/v2/models/{name}/infer", body, JSON)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
            if number % 250 == 249:
                memory.append(process.memory_info().rss / 2**20)
                files.append(process.num_fds() + process.num_threads())
    second, last = memory[20:40], memory[60:]
    assert median(last) - median(second) < 10, memory  # MB, over 10,000 requests
    assert median(files[60:]) <= median(files[20:40]) + 2, files


def post(server: Server, name: str, body: bytes) -> httpx.Response:
    return server.http.post(f"/v2/models/{name}/infer", content=body, headers=JSON)
