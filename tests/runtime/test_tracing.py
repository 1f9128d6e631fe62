"""Traces of served pipelines, as a collector receives them from real servers that have ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import pytest
from mlserver.grpc.converters import ModelInferRequestConverter
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import InferenceRequest

from tempo_runtime import save
from tempo_runtime.testing import Server, serve
from tests.helpers import traced_pipelines as pipelines
from tests.helpers.collector import Collector, Span, Spans
from tests.helpers.sink import Sink

CALLER = "b7ad6b7169203331"
STREAMS = ("stream", "plain stream", "stream of a worker", "plain stream of a worker")
NAMES = ("HTTP", "gRPC", "plain", "failure", "batch 1", "batch 2", "unsampled", "many", *STREAMS)
TRACES = {name: f"{number:032x}" for number, name in enumerate(NAMES, start=0xABC)}
SERVER = "POST /v2/models/{model_name}/infer"
CALL = "POST /v2/models/leaf/infer"
RPC = "inference.GRPCInferenceService/ModelInfer"
RPC_SERVER = f"/{RPC}"
JSON = {"content-type": "application/json"}


class Traced(NamedTuple):
    """Spans, the access log, and the events of request logs, from servers that have ended."""

    spans: Spans
    lines: list[dict[str, Any]]
    events: list[dict[str, Any]]

    def of(self, name: str) -> Spans:
        """Return the spans of one request, without those that MLServer makes of parts of it."""
        found = self.spans.of(TRACES[name])
        return Spans(span for span in found if not span.name.endswith(("receive", "send")))


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Two servers, the second of which has a worker; they end before the tests look at the spans."""
    root = tmp_path_factory.mktemp("traced")
    served = ("leaf", "steps", "inside", "tree", "forest", "many")
    folders = {name: root / name for name in served}
    for name, folder in folders.items():
        save(getattr(pipelines, name), str(folder))
    with Collector() as collector, Sink() as sink:
        env = {
            "MLSERVER_TRACING_SERVER": collector.address,
            # Longer than the test: spans arrive because the servers send them when they end.
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
            "TEMPO_RUNTIME_ACCESS_LOG": "json",
        }
        names = {"server_name": "leaves", "parallel_workers": 1}
        with serve(root / "leaf", root / "steps", settings=names, env=env) as leaves:
            models = {
                "inside": {"uri": "../inside"},
                "leaf": {"url": leaves.url},
                "web": {"url": leaves.url},
                "wire": {"url": f"grpc://{leaves.grpc}"},
                "same": {"transport": "http"},
            }
            own = {
                "TEMPO_RUNTIME_MODELS": json.dumps(models),
                "TEMPO_RUNTIME_MAX_TRACED_CALLS": "8",
                "TEMPO_RUNTIME_INSIGHTS__SINK": sink.url,
            }
            with serve(
                *folders.values(), settings={"server_name": "trees"}, env={**env, **own}
            ) as trees:
                _ask(trees, leaves)
                trees.stop()
                leaves.stop()
                lines = [line for server in (trees, leaves) for line in _lines(server)]
        yield Traced(collector.spans, lines, sink.events)


def _ask(trees: Server, leaves: Server) -> None:
    assert _post(trees, "tree", "HTTP", 1).status_code == 200
    assert _post(trees, "tree", "failure", 13).status_code == 500
    assert _post(trees, "many", "many", 1).status_code == 200
    assert _post(trees, "tree", "unsampled", 1, flags="00").status_code == 200
    answer = trees.http.post(
        "/v2/models/inside/predict", json={"x": [1.0]}, headers=_headers("plain")
    )
    assert answer.status_code == 200, answer.text
    to = {"name": "to", "datatype": "INT64", "shape": [1], "data": [3]}
    ways = (("infer_stream", {"inputs": [to]}), ("predict_stream", {"to": 3}))
    streams = [(server, *way) for server in (trees, leaves) for way in ways]
    for name, (server, route, body) in zip(STREAMS, streams, strict=True):
        url = f"/v2/models/steps/{route}"
        with server.http.stream("POST", url, json=body, headers=_headers(name)) as stream:
            assert sum(line.startswith("data:") for line in stream.iter_lines()) == 3
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda name: _post(trees, "forest", name, 1), ("batch 1", "batch 2"))
        assert {answer.status_code for answer in answers} == {200}
    with grpc.insecure_channel(leaves.grpc) as channel:
        request = InferenceRequest.model_validate({"inputs": [_tensor(1)]})
        message = ModelInferRequestConverter.from_types(request, "leaf", None)
        metadata = (("traceparent", _headers("gRPC")["traceparent"]),)
        GRPCInferenceServiceStub(channel).ModelInfer(message, metadata=metadata)


def _post(server: Server, model: str, name: str, value: float, flags: str = "01") -> Any:
    content = json.dumps({"id": name, "inputs": [_tensor(value)]})
    url = f"/v2/models/{model}/infer"
    return server.http.post(url, content=content, headers=_headers(name, flags))


def _headers(name: str, flags: str = "01") -> dict[str, str]:
    return {**JSON, "traceparent": f"00-{TRACES[name]}-{CALLER}-{flags}"}


def _tensor(value: float) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP64", "shape": [1], "data": [value]}


def _lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log().splitlines() if line.startswith('{"time"')]


def the(spans: Spans, name: str) -> Span:
    [span] = spans.named(name)
    return span


def test_one_request_is_one_trace_through_all_servers_and_a_worker(traced: Traced) -> None:
    spans = traced.of("HTTP")
    assert spans.tree() == "\n".join(
        (
            SERVER,
            "  pipeline tree",
            "    child inside",
            "      pipeline inside",
            "        child leaf",
            f"          {CALL}",
            f"            {SERVER}",
            "              pipeline leaf",
            "    child same",
            "      pipeline leaf",
            "    child web",
            f"      {CALL}",
            f"        {SERVER}",
            "          pipeline leaf",
            "    child wire",
            f"      {RPC}",
            f"        {RPC_SERVER}",
            "          pipeline leaf",
        )
    )
    assert min(spans, key=lambda span: span.start).parent == CALLER
    assert {span.service for span in spans} == {"trees", "leaves"}
    assert {
        span.attributes["tempo.transport"] for span in spans if span.name.startswith("child")
    } == {"in_process", "http", "grpc", "same_server"}


def test_a_request_over_grpc_to_a_worker_is_one_trace(traced: Traced) -> None:
    assert traced.of("gRPC").tree() == f"{RPC_SERVER}\n  pipeline leaf"


def test_a_call_in_plain_json_is_one_trace(traced: Traced) -> None:
    spans = traced.of("plain")
    assert the(spans, "child leaf").parent == the(spans, "pipeline inside").id


def test_an_error_is_the_status_of_the_spans_up_to_the_request(traced: Traced) -> None:
    spans = traced.of("failure")
    ours = [span for span in spans if span.name.startswith(("pipeline", "child"))]
    assert len(ours) == 5
    assert {span.error for span in ours} == {"PipelineFailed", "ChildFailed"}
    assert "13 is secret" not in repr(ours)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_one_span_that_counts_its_items(traced: Traced, name: str) -> None:
    spans = traced.of(name)
    assert [span.name for span in spans.below(min(spans, key=lambda span: span.start))] == [
        "pipeline steps"
    ]
    assert the(spans, "pipeline steps").attributes["tempo.items"] == 3


def test_requests_that_are_put_together_link_to_one_batch(traced: Traced) -> None:
    both = Spans([*traced.of("batch 1"), *traced.of("batch 2")])
    batch, requests = the(both, "batch forest"), both.named("pipeline forest")
    assert set(batch.links) == {request.link for request in requests}
    assert [request.links for request in requests] == [(batch.link,), (batch.link,)]
    assert the(both, "child web").parent == batch.id
    assert {span.trace for span in both.named("pipeline leaf")} == {batch.trace}


def test_an_unsampled_request_leaves_no_spans_on_any_server(traced: Traced) -> None:
    assert traced.of("unsampled") == []


def test_further_calls_leave_one_span_and_none_on_the_childs_server(traced: Traced) -> None:
    spans = traced.of("many")
    assert len(spans.named("child web")) == len(spans.named("pipeline leaf")) == 8
    assert the(spans, "child web (more calls)").attributes["tempo.calls"] == 4


def test_the_access_log_has_the_id_of_the_trace(traced: Traced) -> None:
    found = {line["trace_id"] for line in traced.lines if line["id"] == "HTTP"}
    assert found == {TRACES["HTTP"]}


def test_request_logs_name_the_span_of_the_request(traced: Traced) -> None:
    events = [event for event in traced.events if event["requestid"] == "HTTP"]
    named = {event["traceparent"] for event in events if event["modelid"] == "tree"}
    span = the(traced.of("HTTP"), "pipeline tree")
    assert [parent.split("-")[1:3] for parent in named] == [[span.trace, span.id]]
