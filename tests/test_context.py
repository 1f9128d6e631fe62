"""A request's budget and headers, and those of a request inside it."""

from __future__ import annotations

import math
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempo_runtime.context import current, serving
from tempo_runtime.errors import DeadlineExceeded

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
