"""A request's budget and headers, and those of a request inside it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor

from tempo_runtime import PipelineModels, pipeline, predictmethod, save
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.errors import BudgetExceeded, DeadlineExceeded, PipelineFailed
from tempo_runtime.protocol.binding import encode_arguments
from tempo_runtime.protocol.messages import Request, request_to_json
from tempo_runtime.request.context import current, is_request, serving
from tempo_runtime.testing import FakeModel, Hang, Server, serve
from tests.helpers import threaded_pipelines

pytestmark = pytest.mark.traced

budgets = st.none() | st.floats(1, 1e6)


def test_there_is_no_deadline_outside_a_request() -> None:
    assert current().remaining() is None
    assert dict(current().headers) == {}


@settings(deadline=None, max_examples=50)
@given(given_budgets=st.lists(budgets, max_size=4))
def test_inner_request_never_has_longer_than_the_outer(given_budgets: list[float | None]) -> None:
    with ExitStack() as nested:
        limit = math.inf
        for budget in given_budgets:
            request = nested.enter_context(serving(budget, {}))
            limit = min(limit, math.inf if budget is None else budget)
            left = request.remaining()
            assert (math.inf if left is None else left) <= limit
            assert current() is request
    assert current().deadline is None


def test_inner_request_may_have_less() -> None:
    with serving(100, {}) as outer, serving(1, {}) as inner:
        assert inner.remaining() <= 1
        assert outer.remaining() > 1


def test_spent_request_says_how_long_it_had() -> None:
    with serving(1e-9, {}), serving(50, {}) as inner:
        with pytest.raises(DeadlineExceeded, match="the request's 1e-09 s are spent") as caught:
            inner.remaining()
        assert caught.value.status == 504
        assert caught.value.retryable


def test_request_ends_when_it_raises() -> None:
    with pytest.raises(KeyError), serving(1, {}):
        raise KeyError
    assert current().deadline is None


@pytest.mark.parametrize(
    "name", ["X-Request-Id", "traceparent", "TraceState", "baggage", "x-b3-traceid"]
)
def test_tracing_header_travels_in_lower_case(name: str) -> None:
    with serving(None, {name: "1"}) as request:
        assert request.headers == {name.lower(): "1"}


@pytest.mark.parametrize(
    "name",
    ["authorization", "host", "seldon-model", "seldon-internal-model", "content-length", "x-b3"],
)
def test_other_header_stays(name: str) -> None:
    with serving(None, {name: "1"}) as request:
        assert request.headers == {}


def test_inner_request_keeps_the_outer_headers_and_overrides_them() -> None:
    outer = {"x-request-id": "1", "baggage": "b"}
    with serving(None, outer), serving(None, {"X-Request-ID": "2"}) as request:
        assert request.headers == {"x-request-id": "2", "baggage": "b"}


def test_seed_belongs_to_one_request() -> None:
    with serving(None, {}, 7) as outer, serving(None, {}) as inner:
        assert (outer.seed, inner.seed) == (7, None)


# -- threads of the author's own -------------------------------------------------------------------


ROWS = np.arange(4.0)
WAYS = pytest.mark.parametrize("way", threaded_pipelines.WAYS)


def split(way: Any, lookup: str) -> Any:
    """A call without a server, in the ways of `threads`, or in another."""

    @pipeline("split", models=PipelineModels(part=threaded_pipelines.part))
    class Split:
        @predictmethod
        def predict(self, rows: np.ndarray) -> np.ndarray:
            models = self.models
            lookups = {
                "early": self.models.part,
                "models": lambda each: models.part(each),
                "late": lambda each: self.models.part(each),
            }
            asked = threaded_pipelines.WAYS.get(way, way)
            return np.concatenate(asked(lookups[lookup], np.array_split(rows, 2)))

    return Split()


@WAYS
def test_a_child_looked_up_in_the_request_is_called_in_any_thread(way: Any) -> None:
    assert split(way, "early").predict(ROWS).tolist() == (ROWS * 2).tolist()


@WAYS
def test_so_is_one_of_models_that_were(way: Any) -> None:
    assert split(way, "models").predict(ROWS).tolist() == (ROWS * 2).tolist()


@WAYS
def test_calls_in_the_authors_threads_are_counted(
    way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_MAX_CALLS", "1")
    with pytest.raises(BudgetExceeded, match="more than its 1 calls to children"):
        split(way, "early").predict(ROWS)


@WAYS
def test_a_child_looked_up_in_a_thread_of_no_request_is_refused(way: Any) -> None:
    with pytest.raises(
        PipelineFailed, match=r"child 'part' was called in thread .* does not belong to a request"
    ):
        split(way, "late").predict(ROWS)


def test_a_child_kept_from_a_request_that_has_its_answer_is_refused() -> None:
    kept: list[Any] = []

    def keep(call: Any, parts: Any) -> list[Any]:
        kept.append(call)
        return list(parts)

    split(keep, "early").predict(ROWS)
    with pytest.raises(
        PipelineFailed, match="the request in which it was looked up has already been answered"
    ):
        threaded_pipelines.in_pool(kept[0], [ROWS])


# -- the same, served ------------------------------------------------------------------------------


TRACE = {"x-request-id": "r-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
SYNC = [("split", way) for way in (*threaded_pipelines.WAYS, "in_own_pool")]
ASYNC = [("split-async", way) for way in ("to_thread", "run_in_executor", "asyncio.run")]
SERVED = pytest.mark.parametrize(("name", "way"), SYNC + ASYNC)


@pytest.fixture(scope="module")
def child() -> Iterator[FakeModel]:
    with FakeModel("part", lambda rows: rows * 2) as fake:
        yield fake


@pytest.fixture(scope="module")
def server(child: FakeModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("threads")
    (root / "forest").mkdir()
    joblib.dump(DummyRegressor(constant=1).fit(ROWS[:, None], ROWS), root / "forest/model.joblib")
    for target in (
        threaded_pipelines.Split,
        threaded_pipelines.split_async,
        threaded_pipelines.Leaver,
    ):
        save(target, str(root / "models" / describe(target).details.name))
    env = {
        "TEMPO_RUNTIME_MODELS__PART__URL": child.url,
        "TEMPO_RUNTIME_TIMEOUT": "20",
        "TEMPO_TEST_FOREST": str(root / "forest"),
    }
    with serve(root / "models", env=env) as server:
        yield server


def ask(
    server: Server, name: str, /, trace: dict[str, str] = TRACE, **arguments: Any
) -> httpx.Response:
    limits = {key: arguments.pop(key) for key in list(arguments) if key.startswith("tempo_")}
    request = Request(encode_arguments(None, (), {"rows": ROWS, **arguments}), parameters=limits)
    headers = {"content-type": "application/json", **trace}
    url = f"/v2/models/{name}/infer"
    return server.http.post(url, content=request_to_json(request), headers=headers)


@SERVED
def test_calls_in_any_thread_of_a_request_carry_its_trace(
    name: str, way: str, server: Server, child: FakeModel
) -> None:
    child.clear()
    answer = ask(server, name, way=way)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == (ROWS * 2).tolist()
    assert len(child.calls) == 2
    for call in child.calls:
        assert TRACE.items() <= dict(call.headers).items()


@SERVED
def test_calls_in_any_thread_of_a_request_are_counted(
    name: str, way: str, server: Server, child: FakeModel
) -> None:
    # Of this request only: a call of one that was answered before may still be on its way.
    trace = {"x-request-id": f"counted-{name}-{way}"}
    answer = ask(server, name, trace, way=way, tempo_max_calls=1)
    assert answer.status_code == BudgetExceeded.status
    assert "more than its 1 calls to children" in answer.text
    calls = [call for call in child.calls if trace.items() <= dict(call.headers).items()]
    assert len(calls) <= 1


@SERVED
def test_a_child_that_hangs_in_a_thread_costs_its_request_only(
    name: str, way: str, server: Server, child: FakeModel
) -> None:
    child.clear()
    child.script(Hang() * 2)
    try:
        assert ask(server, name, way=way, tempo_timeout="0.5").status_code == 504
    finally:
        child.clear()
    assert ask(server, name, way=way).status_code == 200


@pytest.mark.parametrize("lookup", ["late", "function", "forest"])
def test_a_child_looked_up_outside_of_a_request_is_refused_with_the_remedy(
    lookup: str, server: Server, child: FakeModel
) -> None:
    child.clear()
    answer = ask(server, "split", way="in_pool", lookup=lookup)
    assert answer.status_code == 500
    assert "which does not belong to a request" in answer.text
    assert "contextvars.copy_context().run" in answer.text
    assert child.calls == []


def test_models_that_were_looked_up_in_the_request_give_its_children(
    server: Server, child: FakeModel
) -> None:
    child.clear()
    assert ask(server, "split", way="in_pool", lookup="models").status_code == 200
    assert [call.headers["x-request-id"] for call in child.calls] == ["r-1", "r-1"]


def test_a_thread_that_goes_on_after_the_answer_is_refused(server: Server) -> None:
    assert ask(server, "leaver").json()["outputs"][0]["data"] == ["left"]
    [told] = ask(server, "leaver").json()["outputs"][0]["data"]
    assert "the request in which it was looked up has already been answered" in told


# -- streams ---------------------------------------------------------------------------------------


def test_a_callers_work_between_two_items_is_not_part_of_the_call() -> None:
    @pipeline("items")
    def items(count: int) -> Iterator[int]:
        for number in range(count):
            assert is_request()
            yield number

    for _ in items(2):
        assert not is_request()
    assert not is_request()


async def test_nor_is_it_in_an_async_stream() -> None:
    @pipeline("items")
    async def items(count: int) -> AsyncIterator[int]:
        for number in range(count):
            await asyncio.sleep(0)
            assert is_request()
            yield number

    found = []
    async for number in items(2):
        assert not is_request()
        found.append(number)
    assert found == [0, 1]
