"""A request's budget and headers, and those of a request inside it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel, delayed

from tempo_runtime import PipelineModels, model, pipeline, predictmethod
from tempo_runtime.context import current, is_request, serving
from tempo_runtime.errors import BudgetExceeded, DeadlineExceeded, PipelineFailed

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


@model("part")
def part(rows: np.ndarray) -> np.ndarray:
    return rows * 2


ROWS = np.arange(4.0)
POOL = ThreadPoolExecutor(2)  # its threads outlive every request


def in_pool(call: Any, parts: Any) -> list[Any]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(call, parts))


def in_kept_pool(call: Any, parts: Any) -> list[Any]:
    return list(POOL.map(call, parts))


def in_thread_pool(call: Any, parts: Any) -> list[Any]:
    with ThreadPool(2) as pool:
        return pool.map(call, parts)


def in_joblib(call: Any, parts: Any) -> list[Any]:
    found: list[Any] = Parallel(2, backend="threading")(delayed(call)(each) for each in parts)
    return found


WAYS = pytest.mark.parametrize("way", [in_pool, in_kept_pool, in_thread_pool, in_joblib])


def split(way: Any, lookup: str) -> Any:
    @pipeline("split", models=PipelineModels(part=part))
    class Split:
        @predictmethod
        def predict(self, rows: np.ndarray) -> np.ndarray:
            call = self.models.part if lookup == "early" else lambda each: self.models.part(each)
            return np.concatenate(way(call, np.array_split(rows, 2)))

    return Split()


@WAYS
def test_a_child_looked_up_in_the_request_is_called_in_any_thread(way: Any) -> None:
    assert split(way, "early").predict(ROWS).tolist() == (ROWS * 2).tolist()


@WAYS
def test_calls_in_the_authors_threads_are_counted(
    way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_MAX_CALLS", "1")
    with pytest.raises(BudgetExceeded, match="more than its 1 calls to children"):
        split(way, "early").predict(ROWS)


@WAYS
def test_a_child_looked_up_in_a_thread_of_no_request_is_refused(way: Any) -> None:
    with pytest.raises(PipelineFailed, match=r"child 'part' was called in thread .* no request"):
        split(way, "late").predict(ROWS)


def test_a_child_kept_from_a_request_that_has_its_answer_is_refused() -> None:
    kept: list[Any] = []

    def keep(call: Any, parts: Any) -> list[Any]:
        kept.append(call)
        return list(parts)

    split(keep, "early").predict(ROWS)
    with pytest.raises(PipelineFailed, match="the request it was looked up in has its answer"):
        in_pool(kept[0], [ROWS])


def test_what_a_caller_does_between_two_items_is_not_part_of_the_call() -> None:
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
