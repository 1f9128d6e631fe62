"""A breaker, on a clock of the test's own."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime.request.breaker import Breaker, State


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(threshold=3, clock=clock, jitter=lambda: 0.0)


def open_it(breaker: Breaker) -> None:
    for _ in range(3):
        breaker.failed()


def test_failures_in_a_row_open_it(breaker: Breaker) -> None:
    breaker.failed()
    breaker.failed()
    assert breaker.admit()
    breaker.failed()
    assert breaker.state is State.OPEN
    assert not breaker.admit()


def test_a_success_in_between_begins_the_row_again(breaker: Breaker) -> None:
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.state is State.CLOSED


def test_after_a_pause_one_call_goes_through(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += breaker.until_probe()
    assert [breaker.admit(), breaker.admit()] == [True, False]
    assert breaker.state is State.HALF_OPEN


def test_when_a_probe_may_be_made_is_told_apart_from_one_being_made(
    breaker: Breaker, clock: Clock
) -> None:
    open_it(breaker)
    clock.now += 1
    assert breaker.until_probe() == 0
    assert breaker.admit()
    assert breaker.until_probe() == math.inf


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 1
    assert breaker.admit()
    breaker.succeeded()
    assert [breaker.admit(), breaker.admit()] == [True, True]
    assert breaker.down_for() == 0


def test_a_probe_that_fails_begins_a_longer_pause_up_to_a_limit(
    breaker: Breaker, clock: Clock
) -> None:
    open_it(breaker)
    pauses = []
    for _ in range(8):
        pauses.append(breaker.until_probe())
        clock.now += pauses[-1]
        assert breaker.admit()
        breaker.failed()
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2])


def test_a_probe_that_says_nothing_makes_room_for_another(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 1
    assert breaker.admit()
    breaker.abandoned()
    assert breaker.admit()


def test_calls_made_before_it_opened_do_not_lengthen_the_pause(breaker: Breaker) -> None:
    open_it(breaker)
    for _ in range(100):
        breaker.failed()
    assert breaker.until_probe() == pytest.approx(0.1)


def test_it_is_down_since_the_first_failure_of_the_row(breaker: Breaker, clock: Clock) -> None:
    breaker.failed()
    clock.now += 4
    breaker.failed()
    assert breaker.down_for() == 4


@given(jitter=st.floats(0, 1))
def test_a_pause_is_shortened_at_random_by_up_to_a_half(jitter: float) -> None:
    clock = Clock()
    breaker = Breaker(clock=clock, jitter=lambda: jitter)
    open_it(breaker)
    assert breaker.until_probe() + 1e-9 >= 0.05
    assert breaker.until_probe() <= 0.1 + 1e-9


@given(events=st.lists(st.sampled_from(["admit", "succeeded", "failed", "abandoned", "wait"])))
def test_whatever_happens_a_success_closes_it_and_time_lets_a_probe_through(
    events: list[str],
) -> None:
    clock = Clock()
    breaker = Breaker(clock=clock)
    for event in events:
        if event == "wait":
            clock.now += 1
        else:
            getattr(breaker, event)()
    clock.now += 10
    if breaker.state is State.OPEN:
        assert breaker.admit()
    breaker.succeeded()
    assert breaker.state is State.CLOSED
