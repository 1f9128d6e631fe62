"""Whether a failed call is made again, and when: a function of numbers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime.clients.failures import FailureKind
from tempo_runtime.clients.retry import Policy, RetryBudget, pause_before_retry

RETRIED = (FailureKind.UNAVAILABLE, FailureKind.CONNECTION_LOST, FailureKind.OVERLOADED)
seconds = st.floats(0, 1e4)
cases = {
    "kind": st.sampled_from(FailureKind),
    "repeated": st.integers(0, 50),
    "down_for": seconds,
    "left": st.none() | seconds,
    "retry_after": st.none() | seconds,
    "jitter": st.floats(0, 1).map(lambda value: lambda: value),
}
policies = st.builds(Policy, st.integers(0, 10), seconds)


def pause(kind: FailureKind, policy: Policy | None = None, **given: Any) -> float | None:
    known = {"repeated": 0, "down_for": 0.0, "left": None, "jitter": lambda: 0.0}
    return pause_before_retry(policy or Policy(), kind, **{**known, **given})


@given(policy=policies, case=st.fixed_dictionaries(cases))
def test_no_retry_begins_after_the_deadline(policy: Policy, case: dict[str, Any]) -> None:
    found = pause(case.pop("kind"), policy, **case)
    assert found is None or (found >= 0 and (case["left"] is None or found < case["left"]))


@given(policy=policies, case=st.fixed_dictionaries(cases))
def test_a_child_that_asks_to_wait_is_given_that_long(policy: Policy, case: dict[str, Any]) -> None:
    found = pause(case.pop("kind"), policy, **case)
    assert found is None or found >= (case["retry_after"] or 0)


@pytest.mark.parametrize("kind", [FailureKind.PERMANENT, FailureKind.TIMED_OUT])
def test_a_call_that_a_retry_cannot_help_is_not_made_again(kind: FailureKind) -> None:
    assert pause(kind) is None


@pytest.mark.parametrize("kind", [FailureKind.CONNECTION_LOST, FailureKind.OVERLOADED])
def test_retries_are_counted_where_the_child_may_have_worked(kind: FailureKind) -> None:
    assert pause(kind, Policy(retries=2), repeated=1) is not None
    assert pause(kind, Policy(retries=2), repeated=2) is None


def test_a_child_that_is_down_is_waited_for_by_time_and_not_by_count() -> None:
    policy = Policy(retries=0, unavailable_timeout=10)
    assert pause(FailureKind.UNAVAILABLE, policy, repeated=1000, down_for=9.9) is not None
    assert pause(FailureKind.UNAVAILABLE, policy, down_for=10) is None


def test_a_child_that_is_down_fails_at_once_with_an_unavailable_timeout_of_0() -> None:
    assert pause(FailureKind.UNAVAILABLE, Policy(unavailable_timeout=0)) is None


@pytest.mark.parametrize("kind", RETRIED)
def test_pauses_double_up_to_a_second(kind: FailureKind) -> None:
    policy = Policy(retries=100, unavailable_timeout=100)
    found = [pause(kind, policy, repeated=count) for count in (0, 1, 2, 10, 99)]
    assert found == pytest.approx([0.05, 0.1, 0.2, 1, 1])


def test_pauses_are_shortened_at_random_by_up_to_a_half() -> None:
    assert pause(FailureKind.OVERLOADED, jitter=lambda: 1.0) == pytest.approx(0.025)


def test_a_budget_begins_with_a_reserve() -> None:
    budget = RetryBudget(reserve=2, clock=lambda: 0)
    assert [budget.spend() for _ in range(3)] == [True, True, False]


@given(calls=st.integers(0, 2000))
def test_retries_are_a_fraction_of_calls(calls: int) -> None:
    budget = RetryBudget(ratio=0.25, reserve=10, most=1e6, clock=lambda: 0)
    for _ in range(calls):
        budget.earn()
    spent = 0
    while budget.spend():
        spent += 1
    assert spent == 10 + calls // 4


def test_quiet_hours_do_not_save_retries_for_a_storm() -> None:
    budget = RetryBudget(ratio=1, reserve=0, most=5, clock=lambda: 0)
    for _ in range(1000):
        budget.earn()
    assert [budget.spend() for _ in range(6)] == [True] * 5 + [False]


def test_time_refills_the_reserve_and_no_more() -> None:
    now = 0.0
    budget = RetryBudget(reserve=3, clock=lambda: now)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    now = 1.0
    assert [budget.spend(), budget.spend()] == [True, False]
    now = 1000.0
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
