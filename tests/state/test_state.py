"""A state does the same in memory and in Redis."""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempo_runtime import DeadlineExceeded, State, StateError, StateUnavailable
from tempo_runtime.protocol.codec.equality import difference
from tempo_runtime.request import context
from tempo_runtime.request.portal import background
from tempo_runtime.state import values
from tests.helpers.waiting import wait_until
from tests.state.conftest import NewState


def test_a_value_that_was_set_is_returned_and_one_that_was_deleted_is_not(state: State) -> None:
    assert state.get("key") is None
    assert state.get("key", "default") == "default"
    state.set("key", "one")
    state.set("key", "two")
    assert state.get("key", "default") == "two"
    assert state.delete("key") is True
    assert state.delete("key") is False
    assert state.get("key") is None


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, "ü", True, None], "b": {}},
        "",
        False,
        0,
        -0.0,
        float("nan"),
        2**70,
        (1, (2, 3)),
        {1: {"x"}},  # of one element: the order of more differs between processes
        b"\x00\xff",
        dt.datetime(2024, 2, 29, tzinfo=dt.timezone.utc),
        np.float32(0.1),
        np.arange(6, dtype="int16").reshape(2, 3),
        np.array([[np.nan, -0.0], [np.inf, 5e-324]]),
        np.array(["a", "ü"]),
        np.array([], dtype="float16"),
        np.array(True),
        {"weights": np.ones(3), "names": ["a"]},
    ],
    ids=repr,
)
def test_a_value_is_returned_with_the_same_types(state: State, value: Any) -> None:
    state.set("key", value)
    assert difference(state.get("key"), value) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "None stands for no value"),
        (object(), "the value of 'key' is of type object, which cannot be kept; keep numbers"),
        ({"a": [lambda: 1]}, r"the value of 'key'\['a'\]\[0\] is of type function"),
        (np.array([object()]), "of type object"),
        ("\ud800", "cannot be encoded as UTF-8"),
        (b"x" * values.LARGEST_VALUE, r"'key' has \d+ bytes, .* may have 16777216"),
    ],
)
def test_a_value_that_would_change_is_refused(state: State, value: Any, message: str) -> None:
    with pytest.raises(StateError, match=message):
        state.set("key", value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "has 0 bytes"),
        ("x" * 513, "has 513 bytes, and must have from 1 to 512"),
        ("ü" * 257, "has 514 bytes"),
        (b"key", "must be text, not b'key'"),
        (1, "must be text, not 1"),
        ("\ud800", "UTF-8"),
    ],
)
def test_an_invalid_key_is_refused(state: State, key: Any, message: str) -> None:
    for call in (state.get, state.delete, state.incr, lambda k: state.set(k, 1)):
        with pytest.raises(StateError, match=message):
            call(key)
    with pytest.raises(StateError, match=message):
        state.compare_and_set(key, None, 1)


def test_unusual_keys_are_different_keys(state: State) -> None:
    keys = ["a", "a:b", "a%3Ab", "A", " a", "a\n", "\x00", "ü", "*", "{a}", "x" * 512]
    for number, key in enumerate(keys):
        state.set(key, number)
    assert [state.get(key) for key in keys] == list(range(len(keys)))


def test_a_value_expires(state: State) -> None:
    state.set("short", 1, expires=0.05)
    state.set("long", 1, expires=60)
    state.compare_and_set("swapped", None, 1, expires=0.05)
    wait_until(lambda: state.get("short") is None and state.get("swapped") is None)
    assert state.get("long") == 1


def test_a_value_that_is_set_again_does_not_expire(state: State) -> None:
    state.set("again", 1, expires=0.05)
    state.set("again", 2)
    state.set("control", 1, expires=0.05)
    wait_until(lambda: state.get("control") is None)
    assert state.get("again") == 2


def test_a_count_keeps_its_time_of_expiry(state: State) -> None:
    state.set("count", 1, expires=0.05)
    assert state.incr("count") == 2
    wait_until(lambda: state.get("count") is None)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "1"])
def test_an_invalid_time_of_expiry_is_refused(state: State, seconds: Any) -> None:
    with pytest.raises(StateError, match="expires must be a positive number of seconds"):
        state.set("key", 1, expires=seconds)


def test_integers_and_floats_are_counted(state: State) -> None:
    assert state.incr("n") == 1
    assert state.incr("n", 41) == 42
    assert state.incr("n", -2) == 40
    assert type(state.get("n")) is int
    assert state.incr("n", 0.5) == 40.5
    assert state.incr("n", np.float32(0.25)) == 40.75
    assert state.incr("n", np.int8(1)) == 41.75
    assert state.incr("x", 2.0) == 2.0
    assert type(state.get("x")) is float
    assert state.incr("big", 2**62) + 1 == state.incr("big")


@pytest.mark.parametrize("value", ["text", "1", True, [1], {"a": 1}, float("nan"), np.ones(1)])
def test_counting_on_another_value_is_refused_by_name(state: State, value: Any) -> None:
    state.set("key", value)
    with pytest.raises(StateError, match=r"incr\('key'\): its value .* is not a finite number"):
        state.incr("key")
    assert difference(state.get("key"), value) is None


@pytest.mark.parametrize("by", [True, "1", None, float("nan"), float("inf"), 1j])
def test_an_amount_that_is_not_a_finite_number_is_refused(state: State, by: Any) -> None:
    with pytest.raises(StateError, match=r"incr\('key'\) adds a finite number, not"):
        state.incr("key", by)


@pytest.mark.parametrize(
    ("before", "by"), [(2**63 - 1, 1), (-(2**63), -1), (1, 2**63), (2**63, 1), (1.7e308, 1.7e308)]
)
def test_a_count_beyond_the_range_is_refused(state: State, before: Any, by: Any) -> None:
    state.set("key", before)
    with pytest.raises(StateError, match="beyond the range"):
        state.incr("key", by)
    assert state.get("key") == before


def test_an_id_counts_once_for_each_key(state: State) -> None:
    assert state.incr("a", 2, once="feedback-1") == 2
    assert state.incr("a", 2, once="feedback-2") == 4
    assert state.incr("a", 2, once="feedback-1") == 2
    assert state.incr("b", 0.5, once="feedback-1") == 0.5
    assert (state.get("a"), state.get("b")) == (4, 0.5)


@pytest.mark.parametrize("once", ["", 1, "x" * 513, "\ud800"])
def test_an_invalid_id_is_refused(state: State, once: Any) -> None:
    with pytest.raises(StateError, match="once must be text"):
        state.incr("key", once=once)


def test_a_value_is_replaced_only_if_it_is_the_expected_one(state: State) -> None:
    assert state.compare_and_set("key", 1, 2) is False
    assert state.compare_and_set("key", None, 1) is True
    assert state.compare_and_set("key", None, 2) is False
    assert state.compare_and_set("key", 1, 2) is True
    assert state.compare_and_set("key", 2, None) is True
    assert state.compare_and_set("key", None, None) is True
    assert state.get("key") is None


@pytest.mark.parametrize(("value", "other"), [(1, 1.0), (1, True), ((1,), [1]), (0.0, -0.0)])
def test_equal_values_of_other_types_are_not_the_expected_one(
    state: State, value: Any, other: Any
) -> None:
    state.set("key", value)
    assert state.compare_and_set("key", other, 2) is False


def test_the_expected_value_may_have_its_keys_in_another_order(state: State) -> None:
    state.set("key", {"a": 1, "b": np.ones(2)})
    assert state.compare_and_set("key", {"b": np.ones(2), "a": 1}, 2) is True


def test_a_sum_of_floats_can_be_expected(state: State) -> None:
    total = 0.0
    for by in (0.1, 0.2, 1e16, 123456.7, 5e-324, 1e300, -0.7):
        total += by
        state.incr("key", by)
        assert state.compare_and_set("key", total, total)
        assert state.get("key") == total


def test_update_replaces_a_value_by_what_a_function_makes_of_it(state: State) -> None:
    assert state.update("seen", lambda seen: [*seen, "a"], []) == ["a"]
    assert state.update("seen", lambda seen: [*seen, "b"], []) == ["a", "b"]
    assert state.update("seen", lambda seen: None) is None
    assert state.get("seen") is None


def test_the_function_of_update_is_called_in_the_thread_of_its_caller(state: State) -> None:
    assert state.update("thread", lambda _: threading.get_ident()) == threading.get_ident()
    state.set("other", 1)
    assert state.update("key", lambda _: state.get("other")) == 1


def test_update_ends_with_its_request_though_others_are_always_faster(state: State) -> None:
    def change(value: int) -> int:
        state.incr("key")
        return value + 1

    with (
        context.serving(0.2, {}),
        pytest.raises((DeadlineExceeded, StateUnavailable)),
    ):
        state.update("key", change, 0)


def test_concurrent_calls_lose_nothing(state: State) -> None:
    def work(_: int) -> None:
        state.incr("n")
        state.incr("x", 0.5)
        state.update("list", lambda items: [*items, 1], [])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(80)))
    assert (state.get("n"), state.get("x"), len(state.get("list"))) == (80, 40.0, 80)


def test_states_of_different_namespaces_are_separate(new_state: NewState) -> None:
    one, other = new_state(), new_state()
    one.set("key", 1)
    one.incr("n", once="id")
    assert other.get("key") is None
    assert other.incr("n", 5, once="id") == 5


_numbers = st.one_of(
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 0.0, -0.0, 1, 0.1, 2**53, 2**53 + 1, 1e15, 1e16, 1e17, 1.5, 123456.789]),
)
_json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**65), 2**65) | st.text(max_size=3),
    lambda part: (
        st.lists(part, max_size=2) | st.dictionaries(st.text(max_size=2), part, max_size=2)
    ),
    max_leaves=4,
)
_stored = _numbers | _json_values.filter(lambda value: value is not None)
_keys = st.sampled_from(["a", "b"])
_steps = st.one_of(
    st.tuples(st.just("get"), _keys),
    st.tuples(st.just("set"), _keys, _stored),
    st.tuples(st.just("delete"), _keys),
    st.tuples(st.just("incr"), _keys, _numbers),
    st.tuples(st.just("once"), _keys, _numbers, st.sampled_from(["1", "2"])),
    st.tuples(st.just("swap"), _keys, st.none() | _stored, st.none() | _stored),
    st.tuples(st.just("swap known"), _keys, _stored),
)


def _do(state: State, step: tuple[Any, ...]) -> Any:
    name, key, *arguments = step
    try:
        match name:
            case "get" | "set" | "delete" | "incr":
                return getattr(state, name)(key, *arguments)
            case "once":
                return state.incr(key, arguments[0], once=arguments[1])
            case "swap":
                return state.compare_and_set(key, *arguments)
            case _:
                return state.compare_and_set(key, state.get(key), *arguments)
    except StateError as error:
        return str(error)


def test_minus_zero_added_to_nothing_is_zero(new_state: NewState) -> None:
    assert str(new_state().incr("n", -0.0)) == "0.0"


@pytest.mark.parametrize("new_state", ["redis"], indirect=True)
@given(steps=st.lists(_steps, max_size=12))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_redis_gives_what_memory_gives(new_state: NewState, steps: list[tuple[Any, ...]]) -> None:
    from tempo_runtime.settings import StateSettings
    from tempo_runtime.state.connect import connect

    in_redis = new_state()
    in_memory = connect("bandit", "", StateSettings(), background(), is_async=False)
    for step in [*steps, ("get", "a"), ("get", "b")]:
        expected, actual = _do(in_memory, step), _do(in_redis, step)
        assert difference(actual, expected) is None, step
