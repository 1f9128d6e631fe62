"""Answers and logs of servers for errors, three pipelines deep, over each transport between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from tempo_runtime import Model, ModelFramework
from tempo_runtime.clients.child import Child
from tempo_runtime.errors import ChildFailed, ChildRefused, Fault, PayloadError
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.protocol.error_details import ErrorInfo, unmarked
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import Server
from tests.errors import nested as pipelines
from tests.errors.conftest import Servers, body

pytestmark = pytest.mark.traced

# A pipeline -> the children through which an error of the innermost comes.
PATHS: dict[str, list[str]] = {
    "prices": [],
    "front-http": ["shop-http", "prices"],
    "front-grpc": ["shop-grpc", "prices"],
    "front-mixed": ["shop-grpc", "prices"],
    "front-inside": ["shop", "prices"],
}
ROUTES = (
    {model: (model, 0) for model in PATHS}
    | {f"{model} with a worker": (model, 1) for model in ("front-http", "front-grpc")}
    | {f"{model} with workers": (model, 2) for model in ("prices", "front-mixed")}
)
TRACEBACK = "Traceback (most recent call last)"
SOURCE = Path(pipelines.__file__).read_text().splitlines()
[LOOKED_UP] = [n for n, line in enumerate(SOURCE, 1) if line.endswith("# the line to blame")]


class Asked:
    """An answer, and what was logged meanwhile."""

    def __init__(self, server: Server, model: str, how: str) -> None:
        self.path = PATHS[model]
        before = len(server.log())
        self.answer: httpx.Response = server.post(model, body(how))
        self.log = server.log()[before:]
        self.error: str = self.answer.json().get("error", "")

    def info(self) -> dict[str, Any]:
        """The details for programs, which are the same in the header and in the body."""
        found: dict[str, Any] = self.answer.json()["tempo"]
        assert json.loads(self.answer.headers["tempo-error"]) == found
        return found


@pytest.fixture(params=ROUTES)
def ask(request: pytest.FixtureRequest, servers: Servers) -> Callable[[str], Asked]:
    """Asks a pipeline that fails in a given way."""
    model, workers = ROUTES[request.param]
    return lambda how: Asked(servers[workers], model, how)


def test_clients_mistake_is_4xx_at_every_depth_and_names_each_child_once(
    ask: Callable[[str], Asked],
) -> None:
    asked = ask("wrong rows")
    names = "".join(f"child {name!r}: " for name in asked.path)
    assert (asked.answer.status_code, asked.error) == (422, f"{names}row 3 has no price")
    assert asked.info() == {
        "kind": "PayloadError",
        "status": 422,
        "fault": "client",
        "retryable": False,
        "path": asked.path,
    }


def test_clients_mistake_is_one_line_of_each_pipelines_log_and_is_not_tried_again(
    ask: Callable[[str], Asked],
) -> None:
    asked = ask("wrong rows")
    lines = [line for line in asked.log.splitlines() if line.strip()]
    # In one process only the pipeline that answers has something to say.
    expected = 1 if "shop" in asked.path else 1 + len(asked.path)
    assert [" answered 422 (PayloadError, fault of the client): " in line for line in lines] == [
        True
    ] * expected


def test_authors_error_is_500_with_the_authors_file_and_line(ask: Callable[[str], Asked]) -> None:
    asked = ask("missing column")
    assert asked.answer.status_code == 500
    _, _, place = asked.error.partition("predict raised KeyError: 'price' at ")
    file, _, rest = place.partition(":")
    assert (Path(file).name, rest.partition(";")[0]) == ("nested.py", str(LOOKED_UP))
    assert asked.info()["path"] == asked.path
    assert (asked.info()["kind"], asked.info()["fault"]) == ("PipelineFailed", "pipeline")


def test_traceback_of_an_authors_error_is_logged_once(ask: Callable[[str], Asked]) -> None:
    log = ask("exit").log
    assert (log.count(TRACEBACK), log.count("\nSystemExit: 3")) == (1, 1)


def test_status_that_an_author_chose_is_passed_up(ask: Callable[[str], Asked]) -> None:
    asked = ask("own status")
    assert asked.answer.status_code == 409
    assert asked.error.endswith("there is no such customer")
    assert (asked.info()["fault"], asked.info()["path"]) == ("client", asked.path)
    assert TRACEBACK not in asked.log


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("bad call", "cannot send the arguments of child 'prices': tensor 'amount' is unknown"),
        (
            "bad value",
            "cannot send the arguments of child 'prices': 'rows': rows[0] is of type object",
        ),
    ],
    ids=["bad call", "bad value"],
)
def test_call_that_an_author_got_wrong_is_500_and_names_child_and_argument(
    how: str, told: str, ask: Callable[[str], Asked]
) -> None:
    asked = ask(how)
    if not asked.path:
        return  # it calls nobody
    assert asked.answer.status_code == 500
    assert told in asked.error
    assert "code/tests/errors/nested.py:" in asked.error
    assert asked.info()["fault"] == "pipeline"


def test_long_text_reaches_the_client_over_grpc(servers: Servers) -> None:
    asked = Asked(servers[1], "front-grpc", "long")
    assert asked.answer.status_code == 422
    assert asked.info()["path"] == PATHS["front-grpc"]
    assert "ä ... ä" in asked.error


def test_rows_that_do_not_fit_a_child_are_the_clients_mistake(servers: Servers) -> None:
    rows = {"name": "rows", "datatype": "BYTES", "shape": [1], "data": ['{"a": 1}']}
    rows["parameters"] = {"content_type": "json"}
    answer = servers[0].post("front-http", {"inputs": [rows]})
    assert answer.status_code == 422
    assert answer.json()["tempo"]["fault"] == "client"
    assert "cannot send the arguments of child 'prices': 'rows'" in answer.json()["error"]


# -- clients of ours -------------------------------------------------------------------------------


@pytest.fixture(params=["http", "grpc"])
def front(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Child]:
    """The outermost pipeline, called by a client of ours."""
    server = servers[0]
    url = server.url if request.param == "http" else f"grpc://{server.grpc}"
    connector = ChildResolver(PipelineSettings(base_url=(url,)), background())
    model = Model("front-mixed", platform=ModelFramework.TempoPipeline)
    yield connector.child("front-mixed", model)
    background().run(connector.close())


def test_client_of_ours_reads_whose_fault_it_is(front: Child) -> None:
    told = r"^child 'front-mixed': child 'shop-grpc': child 'prices': row 3 has no price$"
    with pytest.raises(ChildRefused, match=told) as caught:
        front([1.0], "wrong rows")
    assert isinstance(caught.value, PayloadError)
    path = ("front-mixed", "shop-grpc", "prices")
    assert ErrorInfo.of(caught.value) == ErrorInfo("PayloadError", 422, Fault.CLIENT, path=path)
    with pytest.raises(ChildFailed) as failed:
        front([1.0], "missing column")
    assert (failed.value.status, failed.value.fault) == (500, Fault.PIPELINE)


def test_clients_with_wrong_rows_take_nothing_from_others(front: Child) -> None:
    for _ in range(10):
        for how in ("wrong rows", "missing column"):
            with pytest.raises(ChildFailed):
                front([1.0], how)
    assert front([1.0, 2.0], "").tolist() == [2.0, 4.0]


# -- other routes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_details_over_grpc_end_with_what_the_error_tells(workers: int, servers: Servers) -> None:
    nested = servers[workers]
    asked = pb.ModelInferRequest(model_name="front-mixed")
    asked.parameters["how"].string_param = "wrong rows"
    rows = asked.inputs.add(name="rows", datatype="FP64", shape=[1])
    rows.contents.fp64_contents.append(1.0)
    with grpc.insecure_channel(nested.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        before = len(nested.log())
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(asked)
        with pytest.raises(grpc.RpcError) as streamed:
            list(stub.ModelStreamInfer(iter([asked])))
    for error in (caught.value, streamed.value):
        message, info = unmarked(error.details())
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert message == "child 'shop-grpc': child 'prices': row 3 has no price"
        assert info == ErrorInfo("PayloadError", 422, Fault.CLIENT, path=("shop-grpc", "prices"))
    assert TRACEBACK not in nested.log()[before:]


def test_stream_ends_with_an_event_that_says_whose_fault_it_is(servers: Servers) -> None:
    url = f"{servers[0].url}/v2/models/stream/infer_stream"
    with httpx.stream("POST", url, json=body("wrong rows"), timeout=60) as answer:
        [event] = [json.loads(line[6:]) for line in answer.iter_lines() if line]
    told = event["parameters"]
    assert (told["status"], told["tempo"]["fault"]) == (422, "client")
    assert told["tempo"]["path"] == PATHS["front-http"]
    assert told["error"] == "child 'shop-http': child 'prices': row 3 has no price"
