"""A call that is watched answers and fails as a plain one does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tempo_runtime import PipelineModels, TempoError, model, pipeline, predictmethod, save
from tempo_runtime.clients import watched
from tempo_runtime.clients.model_client import ModelClient
from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request
from tempo_runtime.request import context
from tempo_runtime.testing import Server, free_ports, serve


@model("half")
def half(value: int) -> float:
    if value < 0:
        raise ValueError("negative")
    return value / 2


@pipeline("halves", models=PipelineModels(half=half))
class Halves:
    @predictmethod
    def predict(self, value: int, below: bool = False) -> float:
        if value == 13:
            raise ValueError("unlucky")
        return self.models.half(value) if below else value / 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    save(half, str(root / "half"))
    folder = save(Halves, str(root / "halves"))
    with serve(folder, env={"TEMPO_RUNTIME_MODELS__HALF__URI": str(root / "half")}) as server:
        yield server


def outcome(client: ModelClient, arguments: dict[str, Any], is_watched: bool) -> Any:
    """Return the answer, or what programs and people read of the error."""
    request = Request(encode_arguments(None, (), arguments, tagged=True), [], {}, "7")
    try:
        if is_watched:
            answer = watched.infer(client, request, context.current(), lambda *_: None)
            response = client.portal.run(answer)
        else:
            response = client.transport.infer_blocking(request)
    except TempoError as error:
        return type(error), error.kind, error.status, error.path, str(error)
    return decode_results(None, response.tensors, response.content_type)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"value": 3},
        {"value": 3, "below": True},
        {"value": "x"},
        {"value": 13},
        {"value": -1, "below": True},
    ],
)
def test_answers_and_errors_are_those_of_a_plain_call(
    server: Server, scheme: str, arguments: dict[str, Any]
) -> None:
    url = server.url if scheme == "http" else f"grpc://{server.grpc}"
    client = ModelClient("halves", {"url": url}, forwards_deadline=True)
    plain = outcome(client, arguments, False)
    assert outcome(client, arguments, True) == plain
    client.portal.run(client.transport.close())


def test_a_server_that_is_down_is_called_again_as_in_a_plain_call() -> None:
    [port] = free_ports(1)
    given = {"url": f"http://127.0.0.1:{port}", "unavailable_timeout": 0}
    client = ModelClient("halves", given, forwards_deadline=True)
    assert outcome(client, {"value": 1}, True) == outcome(client, {"value": 1}, False)
    client.portal.run(client.transport.close())
