"""The state of what several workers have loaded is the worst of their states."""

from __future__ import annotations

from tempo_runtime.execution.live_state import LiveState, of_workers
from tempo_runtime.request.breaker import State

URL = "http://a:1"


def test_it_is_ready_only_in_all_workers() -> None:
    one, other = LiveState(True), LiveState(False, "calls hang")
    assert of_workers([one, other]) == LiveState(False, "calls hang")
    assert of_workers([one, one]) == one


def test_a_state_that_no_worker_knows_stays_unknown() -> None:
    assert of_workers([LiveState(), LiveState()]).ready is None


def test_the_worst_breaker_counts_at_any_depth() -> None:
    def state(breaker: State) -> LiveState:
        child = LiveState(breakers={URL: breaker}, served_as=("m", None))
        return LiveState(True, children={"child": child})

    merged = of_workers([state(State.HALF_OPEN), state(State.OPEN), state(State.CLOSED)])
    assert merged.children is not None
    assert merged.children["child"].breakers == {URL: State.OPEN}
    assert merged.children["child"].served_as == ("m", None)
