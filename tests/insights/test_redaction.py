"""A value whose name is redacted is nowhere in an event, whatever contains it."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tempo_runtime.insights.captures import Capture
from tempo_runtime.insights.events import to_json
from tempo_runtime.insights.redaction import REDACTED, Redaction
from tempo_runtime.insights.snapshots import Snapshot

SECRET = "s3cret-s3cret"


def written(name: str, value: Any, names: tuple[str, ...] = ("SSN",), limit: int = 2**20) -> str:
    """The JSON of an event with an argument."""
    capture = Capture(Redaction(names), limit)
    part = capture.values({name: value})
    data = part if isinstance(part, bytes) else part.to_json()
    return data.decode() + to_json(capture.cuts).decode()


class Named(NamedTuple):
    ssn: Any
    amount: float = 1.0


@dataclasses.dataclass
class Record:
    ssn: Any
    amount: float = 1.0


class Model(BaseModel):
    ssn: Any
    amount: float = 1.0


class Color(Enum):
    RED = "red"


def _structured(secret: Any) -> np.ndarray[Any, Any]:
    return np.array([(str(secret), 1.0)], dtype=[("ssn", "U50"), ("amount", float)])


def _levels(secret: Any) -> pd.DataFrame:
    frame = pd.DataFrame([[secret, 1.0]])
    frame.columns = pd.MultiIndex.from_tuples([("person", "ssn"), ("person", "amount")])
    return frame


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "dict": lambda secret: {"ssn": secret, "amount": 1.0},
    "dict of another class": lambda secret: OrderedDict(ssn=secret),
    "key in upper case": lambda secret: {"Ssn": secret},
    "key of several parts": lambda secret: {("person", "ssn"): secret},
    "named tuple": Named,
    "dataclass": Record,
    "pydantic model": lambda secret: Model(ssn=secret),
    "column": lambda secret: pd.DataFrame({"ssn": [secret], "amount": [1.0]}),
    "column of categories": lambda secret: pd.DataFrame({"ssn": pd.Categorical([str(secret)])}),
    "column twice": lambda secret: pd.DataFrame([[secret, secret]], columns=["ssn", "ssn"]),
    "column of several levels": _levels,
    "field of an array": _structured,
    "element of a structured array": lambda secret: _structured(secret)[0],
    "label": lambda secret: pd.Series({"ssn": secret, "amount": 1.0}),
    "label of several levels": lambda secret: _levels(secret).iloc[0],
    "label of categories": lambda secret: pd.Series([secret], pd.CategoricalIndex(["ssn"])),
    "label twice": lambda secret: pd.Series([secret, secret], ["ssn", "ssn"]),
    "array of dicts": lambda secret: np.array([{"ssn": secret}, None], object),
}
AROUND: dict[str, Callable[[Any], Any]] = {
    "alone": lambda value: value,
    "in a list": lambda value: [1, value],
    "in a tuple": lambda value: (value,),
    "in a dict": lambda value: {"person": value},
    "in lists and dicts": lambda value: {"people": [{"person": [value]}]},
    "in a dataclass": lambda value: Record(ssn=1, amount=value),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_redacted_name_is_found_in_whatever_holds_it(holder: str, around: str) -> None:
    text = written("value", AROUND[around](HOLDERS[holder](SECRET)))
    assert SECRET not in text
    assert REDACTED in text


@pytest.mark.parametrize("value", [SECRET, [SECRET], {"a": SECRET}, np.array([SECRET])])
def test_an_argument_can_be_redacted(value: Any) -> None:
    assert SECRET not in written("ssn", value)


def test_other_values_stay() -> None:
    assert '"amount":1.0' in written("value", {"ssn": SECRET, "amount": 1.0})
    assert SECRET in written("value", {"ssn": SECRET}, names=())
    assert '"red"' in written("value", Color.RED)


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.just(SECRET),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["ssn", "SSN", "a", "b"]), inner, max_size=4)
    ),
    max_leaves=20,
)


def _leaks(value: Any, hidden: bool = False) -> Iterator[bool]:
    if value == SECRET and isinstance(value, str):
        yield not hidden
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _leaks(part, hidden or name.lower() == "ssn")
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaks(part, hidden)


@given(value=values)
def test_values_below_a_redacted_name_are_never_written_and_others_are(value: Any) -> None:
    assert (SECRET in written("value", value)) == any(_leaks(value))


@given(value=values, limit=st.integers(0, 60))
def test_nothing_is_written_because_it_was_cut(value: Any, limit: int) -> None:
    if not any(_leaks(value)):
        assert SECRET[:6] not in written("value", value, limit=limit)


@given(value=values)
def test_a_copy_of_plain_values_is_the_same(value: Any) -> None:
    def plain(part: Any) -> Any:
        if isinstance(part, list | tuple):
            return [plain(element) for element in part]
        if isinstance(part, dict):
            return {name: plain(element) for name, element in part.items()}
        return part

    assert repr(Snapshot(2**20).of("value", value)) == repr(plain(value))


def _change(value: Any) -> None:
    """Change everything in a value that can change."""
    if isinstance(value, list):
        for part in value:
            _change(part)
        value.append("changed")
    elif isinstance(value, dict):
        for part in value.values():
            _change(part)
        value["changed"] = True
    elif isinstance(value, tuple):
        for part in value:
            _change(part)


@given(value=values)
def test_a_copy_does_not_change_with_the_value(value: Any) -> None:
    copied = Snapshot(2**20).of("value", value)
    before = repr(copied)
    _change(value)
    assert repr(copied) == before


def test_arrays_and_frames_are_copied() -> None:
    array, frame = np.zeros(3), pd.DataFrame({"a": [0.0], "b": [[1]]})
    copies = [Snapshot(2**20).of("x", value) for value in (array, frame, {"x": array[::2]})]
    array[:], frame["a"] = 1, 1.0
    frame["b"][0].append(2)
    assert copies[0].tolist() == [0, 0, 0]
    assert copies[1]["a"].tolist() == [0.0]
    assert copies[1]["b"] == [[1]]
    assert copies[2]["x"].tolist() == [0, 0]


@pytest.mark.parametrize("limit", [0, 1, 100, 5000])
@pytest.mark.parametrize(
    "value",
    [
        np.zeros((1000, 3)),
        np.ones(()),
        np.zeros((0, 5)),
        pd.DataFrame(np.zeros((500, 7))),
        pd.DataFrame({"text": ["x" * 100] * 50}),
        ["x" * 10] * 1000,
        list(range(10_000)),
        {str(number): [1, 2, {"a": "b" * 50}] for number in range(500)},
        b"x" * 10_000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_copy_is_not_much_larger_than_allowed_and_what_is_cut_is_named(
    value: Any, limit: int
) -> None:
    snapshot = Snapshot(limit)
    snapshot.of("value", value)
    assert snapshot.size <= limit + 200
    large = getattr(value, "nbytes", 10_000) if isinstance(value, np.ndarray) else 10_000
    if large > limit:
        assert snapshot.cuts
        assert all(cut["kept"] < cut["of"] for cut in snapshot.cuts)


def test_a_series_is_a_dict_if_its_labels_are_text_and_else_a_list() -> None:
    rows = pd.Series([1.0, 2.0], ["a", "a"]), pd.Series([1.0, 2.0], [7, 8])
    copies = [Snapshot(2**20).of("x", row) for row in rows]
    assert copies == [{"a": 1.0, "a (1)": 2.0}, [1.0, 2.0]]


def test_a_field_that_was_never_set_is_left_out() -> None:
    @dataclasses.dataclass
    class Late:
        amount: float
        unset: int = dataclasses.field(init=False)

    assert Snapshot(100).of("x", Late(1.0)) == {"amount": 1.0}


def test_a_sequence_without_slices_is_cut() -> None:
    snapshot = Snapshot(80)
    assert snapshot.of("x", deque(range(100))) == list(range(10))
    assert snapshot.cuts == [{"name": "x", "kept": 10, "of": 100}]


def test_a_value_that_is_nested_too_deeply_is_cut() -> None:
    value: Any = []
    value.append(value)
    snapshot = Snapshot(2**20)
    snapshot.of("value", value)
    assert snapshot.cuts == [{"name": "value", "kept": 0, "of": 1}]


def test_an_object_of_an_unknown_class_is_its_class() -> None:
    class Own:
        def __repr__(self) -> str:
            raise AssertionError("it must not be asked")

    assert "Own" in Snapshot(100).of("value", Own())
