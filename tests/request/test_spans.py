"""Spans of calls in this process, where the author has configured a tracer provider."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import TracerProvider

from tempo_runtime import Batching, Model, ModelFramework, PipelineModels, model, pipeline
from tempo_runtime.clients.model_client import ModelClient, ModelUrl
from tempo_runtime.errors import ChildFailed, PipelineFailed
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.request import context
from tempo_runtime.request import spans as made
from tempo_runtime.request.portal import background
from tempo_runtime.testing import Fail, FakeModel
from tests.helpers.collector import InMemory

T = TypeVar("T")
Connected = Callable[[T], T]
ONE = np.ones(1)
CALL = "POST /v2/models/double/infer"
RPC = "inference.GRPCInferenceService/ModelInfer"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> InMemory:
    collector = InMemory()
    # OpenTelemetry's own function for it works once in a process.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", collector.provider)
    return collector


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeModel]:
    with FakeModel("double", lambda x: x * 2, grpc=True) as fake:
        yield fake


@pytest.fixture
def urls(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """Let the children `web` and `wire` be the fake model, over HTTP and gRPC."""
    monkeypatch.setenv("TEMPO_RUNTIME_MODELS__WEB__URL", fake.url)
    monkeypatch.setenv("TEMPO_RUNTIME_MODELS__WIRE__URL", fake.grpc_url)
    return fake


@pytest.fixture
def connected() -> Iterator[Connected[Any]]:
    """Close the connections of each pipeline that is given to it."""
    pipelines: list[Any] = []

    def keep(target: T) -> T:
        pipelines.append(target)
        return target

    yield keep
    for models in (each.models for each in pipelines):
        for alias in models:
            background().run(getattr(models, alias).close())


class Parent(NamedTuple):
    """The parts of a `traceparent`."""

    trace: str
    span: str
    sampled: bool


def parsed(traceparent: str) -> Parent:
    _, trace_id, span_id, flags = traceparent.split("-")
    return Parent(trace_id, span_id, bool(int(flags, 16) & 1))


def double(**options: Any) -> Model:
    return Model("double", platform=ModelFramework.Custom, **options)


@model("leaf")
def leaf(x: int) -> int:
    if x == 13:
        raise ValueError("13 is secret")
    return x


def test_a_call_in_one_process_is_one_trace(collector: InMemory) -> None:
    @pipeline("branch", models=PipelineModels(leaf=leaf))
    async def branch(x: int) -> int:
        one, two = await asyncio.gather(branch.models.leaf(x), branch.models.leaf(x))
        return one + two

    @pipeline("tree", models=PipelineModels(branch=branch))
    def tree(x: int) -> int:
        return tree.models.branch.submit(x).result()

    assert tree(3) == 6
    assert collector.spans.tree() == "\n".join(
        (
            "pipeline tree",
            "  child branch",
            "    pipeline branch",
            "      child leaf",
            "        pipeline leaf",
            "      child leaf",
            "        pipeline leaf",
        )
    )
    [child] = collector.spans.named("child branch")
    about = {"pipeline": "tree", "child": "branch", "transport": "in_process", "rows": 1}
    assert child.attributes == {f"tempo.{name}": value for name, value in about.items()}
    assert {span.error for span in collector.spans} == {None}


def test_an_error_is_the_status_of_its_spans_without_its_message(collector: InMemory) -> None:
    @pipeline("tree", models=PipelineModels(leaf=leaf))
    def tree(x: int) -> int:
        return tree.models.leaf(x)

    with pytest.raises(PipelineFailed, match="13 is secret"):
        tree(13)
    assert {(span.error, span.attributes["error.type"]) for span in collector.spans} == {
        ("PipelineFailed", "PipelineFailed")
    }
    assert "secret" not in repr(collector.spans)


def test_spans_of_the_author_are_part_of_the_trace(collector: InMemory) -> None:
    tracer = trace.get_tracer("author")

    @pipeline("tree", models=PipelineModels(leaf=leaf))
    def tree(x: int) -> int:
        with tracer.start_as_current_span("prepare"):
            return tree.models.leaf(x)

    with tracer.start_as_current_span("notebook"):
        tree(3)
    names = ("notebook", "pipeline tree", "prepare", "child leaf", "pipeline leaf")
    assert collector.spans.tree().replace(" " * 2, "").split("\n") == list(names)


def test_a_thread_of_the_authors_own_stays_in_the_trace(collector: InMemory) -> None:
    with ThreadPoolExecutor(1) as pool:

        @pipeline("tree", models=PipelineModels(leaf=leaf))
        def tree(x: int) -> int:
            return sum(pool.map(tree.models.leaf, [x, x]))

        tree(3)
    [root] = collector.spans.named("pipeline tree")
    assert len(collector.spans.named("child leaf").below(root)) == 2


def test_the_span_of_a_stream_lasts_until_its_last_item(collector: InMemory) -> None:
    @pipeline("steps", models=PipelineModels(leaf=leaf))
    def steps(to: int) -> Iterator[int]:
        for number in range(to):
            yield steps.models.leaf(number)

    tracer = trace.get_tracer("author")
    for item in steps(2):
        # The work of its reader is not part of it.
        tracer.start_span(f"read {item}").end()
    [stream] = collector.spans.named("pipeline steps")
    calls = collector.spans.named("child leaf")
    assert calls == collector.spans.below(stream)
    assert stream.end >= max(call.end for call in calls)
    assert [collector.spans.named(f"read {item}")[0].parent for item in range(2)] == ["", ""]


def test_more_calls_than_the_setting_share_a_span(
    collector: InMemory, urls: FakeModel, connected: Connected[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @connected
    @pipeline("loop", models=PipelineModels(web=double()))
    def loop(x: np.ndarray) -> None:
        for _ in range(5):
            loop.models.web(x)

    monkeypatch.setenv("TEMPO_RUNTIME_MAX_TRACED_CALLS", "2")
    before = len(urls.calls)
    loop(np.ones(3))
    assert len(collector.spans.named("child web")) == 2
    assert len(collector.spans.named(CALL)) == 2
    [more] = collector.spans.named("child web (more calls)")
    assert (more.attributes["tempo.calls"], more.attributes["tempo.rows"]) == (3, 9)
    assert more.attributes["tempo.failed_calls"] == 0
    assert more.attributes["tempo.seconds"] > 0
    # The child knows the trace of these calls, and that it need not record them.
    sent = [call.headers["traceparent"] for call in urls.calls[before:]]
    assert [parsed(header) for header in sent[2:]] == [(more.trace, more.id, False)] * 3


def test_a_failure_among_further_calls_is_counted(
    collector: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    @pipeline("loop", models=PipelineModels(leaf=leaf))
    def loop() -> int:
        try:
            return loop.models.leaf(13)
        except PipelineFailed:
            return loop.models.leaf(1)

    monkeypatch.setenv("TEMPO_RUNTIME_MAX_TRACED_CALLS", "0")
    loop()
    assert collector.spans.tree() == "pipeline loop\n  child leaf (more calls)"
    [more] = collector.spans.named("child leaf (more calls)")
    assert (more.attributes["tempo.failed_calls"], more.error) == (1, "PipelineFailed")


def test_a_child_on_a_server_receives_the_span_of_its_call(
    collector: InMemory, urls: FakeModel, connected: Connected[Any]
) -> None:
    @connected
    @pipeline("both", models=PipelineModels(web=double(), wire=double()))
    def both(x: np.ndarray) -> np.ndarray:
        return both.models.web(x) + both.models.wire(x)

    before = len(urls.calls)
    both(ONE)
    spans = collector.spans
    assert spans.tree() == "\n".join(
        ("pipeline both", "  child web", f"    {CALL}", "  child wire", f"    {RPC}")
    )
    clients = [*spans.named(CALL), *spans.named(RPC)]
    assert [parsed(call.headers["traceparent"]) for call in urls.calls[before:]] == [
        (span.trace, span.id, True) for span in clients
    ]
    http, grpc = (span.attributes for span in clients)
    assert {span.kind for span in clients} == {"CLIENT"}
    assert http["url.full"] == f"{urls.url}/v2/models/double/infer"
    assert (http["http.request.method"], http["http.response.status_code"]) == ("POST", 200)
    assert (grpc["rpc.system.name"], grpc["rpc.method"]) == ("grpc", RPC)
    assert grpc["rpc.response.status_code"] == "OK"
    assert http["server.address"] == grpc["server.address"] == "127.0.0.1"
    assert spans.named("child wire")[0].attributes["tempo.transport"] == "grpc"


@pytest.mark.parametrize("alias", ["web", "wire"])
def test_each_attempt_is_a_span(
    collector: InMemory, urls: FakeModel, connected: Connected[Any], alias: str
) -> None:
    @connected
    @pipeline("patient", models=PipelineModels(**{alias: double()}))
    def patient(x: np.ndarray) -> np.ndarray:
        return getattr(patient.models, alias)(x)

    urls.script(Fail(503), Fail(503))
    patient(ONE)
    spans = collector.spans
    [child] = spans.named(f"child {alias}")
    attempts = spans.below(child)
    assert [span.error for span in attempts] == ["ChildUnavailable", "ChildUnavailable", None]
    assert [span.attributes["tempo.attempt"] for span in attempts] == [1, 2, 3]
    assert all(one.end <= two.start for one, two in pairwise(attempts))
    if alias == "web":
        statuses = [span.attributes["http.response.status_code"] for span in attempts]
        resent = [span.attributes.get("http.request.resend_count") for span in attempts]
        assert (statuses, resent) == ([503, 503, 200], [None, 1, 2])
    assert child.error is None


def test_a_call_that_fails_has_the_class_of_its_error(
    collector: InMemory, urls: FakeModel, connected: Connected[Any]
) -> None:
    @connected
    @pipeline("unlucky", models=PipelineModels(web=double()))
    def unlucky(x: np.ndarray) -> np.ndarray:
        return unlucky.models.web(x)

    urls.script(Fail(500, "s3cret"))
    with pytest.raises(ChildFailed):
        unlucky(ONE)
    assert {span.error for span in collector.spans} == {"ChildFailed"}
    assert "s3cret" not in repr(collector.spans)


def test_a_batch_links_to_its_callers_and_they_to_it(
    collector: InMemory, urls: FakeModel, connected: Connected[Any]
) -> None:
    batched = double(batching=Batching(max_rows=2, max_delay=60))

    @connected
    @pipeline("shop", models=PipelineModels(web=batched))
    def shop(x: np.ndarray) -> np.ndarray:
        return shop.models.web(x)

    with ThreadPoolExecutor(2) as pool:
        before = len(urls.calls)
        assert [answer.tolist() for answer in pool.map(shop, [ONE, ONE * 2])] == [[2], [4]]
    [sent] = urls.calls[before:]
    spans = collector.spans
    [batch], [client] = spans.named("batch double"), spans.named(CALL)
    callers = spans.named("child web")
    assert len({caller.trace for caller in callers}) == 2
    assert set(batch.links) == {caller.link for caller in callers}
    assert [caller.links for caller in callers] == [(batch.link,), (batch.link,)]
    assert batch.parent in [caller.id for caller in callers]
    assert (batch.attributes["tempo.batch.calls"], batch.attributes["tempo.batch.rows"]) == (2, 2)
    assert client.parent == batch.id
    assert parsed(sent.headers["traceparent"]) == (client.trace, client.id, True)


@pytest.mark.parametrize("together", [1, 2])
def test_without_a_sample_nothing_is_recorded_and_children_learn_that(
    collector: InMemory, urls: FakeModel, connected: Connected[Any], together: int
) -> None:
    collector.provider.sampler = ALWAYS_OFF
    batched = double(batching=Batching(max_rows=2, max_delay=60 * (together - 1)))

    @connected
    @pipeline("quiet", models=PipelineModels(web=batched))
    def quiet(x: np.ndarray) -> np.ndarray:
        return quiet.models.web(x)

    before = len(urls.calls)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(quiet, [ONE] * together))
    [sent] = urls.calls[before:]
    assert not parsed(sent.headers["traceparent"]).sampled
    assert collector.spans == []


def test_a_model_that_is_called_alone_is_part_of_the_current_trace(
    collector: InMemory, urls: FakeModel, connected: Connected[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @connected
    @pipeline("lonely", models=PipelineModels(web=double()))
    def lonely(x: np.ndarray) -> np.ndarray:
        return x

    with trace.get_tracer("notebook").start_as_current_span("cell"):
        lonely.models.web(ONE)
    lonely.models.web(ONE)
    call = f"child web\n  {CALL}"
    assert collector.spans.tree() == f"cell\n  child web\n    {CALL}\n{call}"


def test_a_stream_of_a_remote_model_continues_the_current_trace(
    collector: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ModelClient.at(ModelUrl.of("grpc://127.0.0.1:9/double"), {"x-key": "k"})
    sent: list[dict[str, str]] = []

    async def stream(request: Request, headers: dict[str, str]) -> AsyncIterator[Response]:
        sent.append(headers)
        yield Response([])

    monkeypatch.setattr(client.endpoint, "stream", stream)

    async def read() -> None:
        async for _ in client.stream(Request([]), context.current(), None):
            pass

    with trace.get_tracer("notebook").start_as_current_span("cell"):
        client.portal.run(read())
    [cell], [headers] = collector.spans, sent
    assert parsed(headers["traceparent"]) == (cell.trace, cell.id, True)
    assert headers["x-key"] == "k"


@pytest.mark.parametrize("alias", ["web", "wire"])
def test_a_call_to_triton_is_traced(
    collector: InMemory, urls: FakeModel, connected: Connected[Any], alias: str
) -> None:
    behind = Model("double", platform=ModelFramework.PyTorch)

    @connected
    @pipeline("shop", models=PipelineModels(**{alias: behind}))
    def shop(x: np.ndarray) -> np.ndarray:
        return getattr(shop.models, alias)(x)

    assert behind.details.served_by_triton
    before = len(urls.calls)
    shop(ONE)
    [attempt] = collector.spans.below(collector.spans.named(f"child {alias}")[0])
    assert parsed(urls.calls[before].headers["traceparent"]) == (attempt.trace, attempt.id, True)


def test_a_disabled_sdk_makes_no_spans(
    collector: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.provider, "_disabled", True)
    assert leaf(3) == 3
    assert collector.spans == []


@pytest.mark.parametrize("provider", [None, trace.NoOpTracerProvider()])
def test_without_a_provider_no_spans_are_made(
    provider: TracerProvider | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_spans: list[Any] = []
    monkeypatch.setattr(made.Trace, "__init__", lambda *given: made_spans.append(given))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    @pipeline("tree", models=PipelineModels(leaf=leaf))
    def tree(x: int) -> int:
        return tree.models.leaf(x)

    tree(3)
    assert made_spans == []


def test_without_a_provider_opentelemetry_is_not_imported() -> None:
    code = """
import sys
from tempo_runtime import PipelineModels, model, pipeline
leaf = model("leaf")(lambda x: x)
tree = pipeline("tree", models=PipelineModels(leaf=leaf))(lambda x: tree.models.leaf(x))
assert tree(3) == 3
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"
