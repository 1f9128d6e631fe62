"""Requests to pipelines in parallel workers are answered as through MLServer's messages, byte by byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.handlers import dataplane

from tempo_runtime import save
from tempo_runtime.protocol.binary import HEADER
from tempo_runtime.runtime import inference_route
from tests.fuzz import anything as some
from tests.fuzz.amounts import examples
from tests.fuzz.requests import bodies
from tests.helpers import pipelines
from tests.helpers.asgi_server import AsgiServer
from tests.runtime.test_inference_route import (
    BINARY,
    BODIES,
    DERIVED,
    assert_same,
    fails,
    halves,
    words,
)

NAMES = ("echo", "halves", "words", "fails")
ECHO = BODIES["a usual request"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsgiServer]:
    root = tmp_path_factory.mktemp("models")
    folders = [root / name for name in NAMES]
    for target, folder in zip((pipelines.echo, halves, words, fails), folders):
        save(target, str(folder))
    changes: dict[str, Any] = {
        "derived": {"implementation": "derived.Derived"},
        "elsewhere": {"parameters": {"environment_path": "another"}},
    }
    for name, changed in changes.items():
        save(halves, str(root / name))
        file = root / name / "model-settings.json"
        settings = json.loads(file.read_text())
        parameters = {**settings["parameters"], **changed.pop("parameters", {})}
        file.write_text(json.dumps({**settings, **changed, "name": name, "parameters": parameters}))
    (root / "derived" / "derived.py").write_text(DERIVED)
    server = AsgiServer(*folders, *(root / name for name in changes), in_worker=True)
    yield server
    server.close()


@pytest.mark.parametrize("case", BODIES)
def test_the_answer_to_a_body_is_the_same(case: str, server: AsgiServer) -> None:
    for name in NAMES:
        assert_same(server, BODIES[case], name)


@examples(100)
@given(data=st.data())
def test_the_answer_to_anything_is_the_same(server: AsgiServer, data: st.DataObject) -> None:
    assert_same(server, some.dump(data.draw(bodies())), data.draw(st.sampled_from(NAMES)))


@pytest.mark.parametrize("case", BINARY)
def test_the_answer_to_binary_data_is_the_same(case: str, server: AsgiServer) -> None:
    content, raw = BINARY[case]
    for asks in (True, False):
        head = json.dumps({**content, "parameters": {"binary_data_output": asks}}).encode()
        headers = {HEADER: str(len(head)), "content-length": str(len(head + raw))}
        for name in ("echo", "halves"):
            path = f"/v2/models/{name}/infer"
            with mock.patch.object(dataplane, "generate_uuid", return_value="an-id"):
                ours = server.post(path, [head + raw], headers)
                with mock.patch.object(inference_route, "is_here", return_value=False):
                    mlservers = server.post(path, [head + raw], headers)
            assert (ours.status_code, ours.content) == (mlservers.status_code, mlservers.content)
            assert dict(ours.headers) == dict(mlservers.headers)


@pytest.mark.parametrize(
    ("case", "name", "method"),
    [
        ("a usual request", "echo", "answer"),
        ("an unknown name", "echo", "answer"),
        ("large", "echo", "answer"),
        ("a shape of texts", "echo", "predict"),
        ("a usual request", "derived", "predict"),
        ("a usual request", "elsewhere", "predict"),
    ],
)
def test_a_worker_of_this_environment_gets_usual_requests_without_mlserver_s_models(
    case: str, name: str, method: str, server: AsgiServer
) -> None:
    server.worker.methods.clear()
    server.post(f"/v2/models/{name}/infer", BODIES[case])
    assert server.worker.methods == [method]


@pytest.mark.parametrize("name", ["derived", "elsewhere"])
def test_the_answer_of_other_classes_and_environments_is_the_same(
    name: str, server: AsgiServer
) -> None:
    assert assert_same(server, ECHO, name).status_code == 200


def test_a_pipeline_that_is_not_ready_is_refused_without_asking_a_worker(
    server: AsgiServer,
) -> None:
    echo = server.run(server.registry.get_model("echo"))
    server.worker.methods.clear()
    with mock.patch.object(type(echo), "ready", False):
        assert assert_same(server, ECHO).status_code == 400
    assert server.worker.methods == []
