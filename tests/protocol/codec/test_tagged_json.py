"""Values that JSON lacks come back from tagged JSON unchanged, or are refused with their path."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import json
import pathlib
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.codec.equality import difference
from tempo_runtime.protocol.codec.tagged_json import from_json, is_plain, to_json, unplain
from tests.helpers.value_strategies import json_values

BERLIN = ZoneInfo("Europe/Berlin")
few = settings(deadline=None, max_examples=150)


class Size(enum.IntEnum):
    SMALL = 1


class Word(str):
    pass


class Pair(NamedTuple):
    a: int
    b: int


class Named(dict):  # type: ignore[type-arg]
    pass


def travelled(value: Any) -> Any:
    return from_json(json.loads(json.dumps(to_json(value))))


def same(value: Any) -> bool:
    return difference(value, travelled(value)) is None


_zones = st.one_of(
    st.none(),
    st.just(dt.timezone.utc),
    st.builds(lambda m: dt.timezone(dt.timedelta(minutes=m)), st.integers(-1439, 1439)),
    st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "UTC"]).map(ZoneInfo),
)
_one_dtype = st.one_of(
    hnp.scalar_dtypes(),
    hnp.unicode_string_dtypes(max_len=3),
    hnp.byte_string_dtypes(max_len=3),
).filter(lambda dtype: dtype.char not in "gG")  # long doubles are refused
_dtypes = _one_dtype | st.lists(_one_dtype, min_size=1, max_size=2).map(
    lambda parts: np.dtype([(f"f{i}", part, (i,)) for i, part in enumerate(parts)])
)
_keys = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=3)
)
_leaves = st.one_of(
    json_values,
    st.binary(max_size=4),
    st.binary(max_size=4).map(bytearray),
    st.complex_numbers(),
    st.datetimes(timezones=_zones),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.builds(range, st.integers(), st.integers()),
    st.sampled_from(["a/b", "/", "."]).map(pathlib.Path),
    hnp.arrays(_dtypes, hnp.array_shapes(min_dims=0, min_side=0, max_side=2)),
)
_values = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(_keys | st.tuples(_keys, _keys), inner, max_size=3),
        st.dictionaries(st.sampled_from(["$tuple", "$x", "a"]), inner, max_size=2),
        st.sets(_keys, max_size=3),
        st.frozensets(_keys | st.tuples(_keys), max_size=3),
        st.lists(inner, max_size=3).map(collections.deque),
        st.dictionaries(st.text(max_size=2), inner).map(collections.OrderedDict),
    ),
    max_leaves=6,
)


@few
@given(value=_values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert same(value), f"{to_json(value)}: {difference(value, travelled(value))}"


@few
@given(value=json_values)
def test_values_that_json_preserves_are_written_plainly(value: Any) -> None:
    assert is_plain(value)
    assert unplain(value, "x") is None
    tags = json.dumps(to_json(value))
    assert tags == json.dumps(value) or "$" in json.dumps(value)


@few
@given(value=_values)
def test_plain_values_are_those_that_json_preserves(value: Any) -> None:
    plain = is_plain(value)
    assert (unplain(value, "x") is None) is plain
    if plain:
        assert difference(value, json.loads(json.dumps(value))) is None


@pytest.mark.parametrize(
    "value",
    [
        {1: "a"},
        {True: 1, 1.5: 2, None: 3},
        {"$tuple": [1]},
        {"$tuple": 1, "b": 2},
        {(1, 2): "x"},
        (),
        (5,),
        10**5000,
        -(10**5000),
        float("nan"),
        complex("nan+infj"),
        dt.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
        dt.datetime(2020, 3, 29, 2, 30, tzinfo=BERLIN),
        dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
        dt.time(1, 2, fold=1, tzinfo=BERLIN),
        Decimal("1.00"),
        Decimal("-0"),
        Decimal("sNaN"),
        Fraction(1, 10**5000),
        uuid.UUID(int=7),
        pathlib.PureWindowsPath("c:\\a"),
        collections.deque([1, 2], maxlen=2),
        collections.Counter("aab"),
        collections.defaultdict(list, {1: [2]}),
        collections.defaultdict(None, {1: [2]}),
        np.float32(1.5),
        np.float64(1.5),
        np.bool_(True),
        np.str_("a"),
        np.bytes_(b"a"),
        np.datetime64("2020-01-01", "D"),
        np.datetime64("NaT"),
        np.timedelta64(3, "h"),
        np.complex64(1j),
        np.array(5.0),
        np.array([1.0, 2.0], ">f8"),
        np.zeros((0, 3), "U5"),
        np.array(["ab"], "<U7"),
        np.array([1, None, "a", b"b", (1, 2), [1, 2]], object),
        np.array([None], object),
        np.array(["2020-01-01T00:00"], "M8[25s]"),
        np.array([(1, "a", [1, 2])], [("n", "i4"), ("t", "U3"), ("m", "f8", (2,))]),
        np.array([(1, 2.0)], [("n", "i4"), ("m", "f8")])[0],
        pd.Timestamp("2020-01-01 12:00", tz="Europe/Berlin"),
        pd.Timestamp("2020-10-25 00:30", tz="UTC").tz_convert(BERLIN),
        pd.Timestamp("2020-01-01").as_unit("s"),
        pd.Timedelta("1s"),
        pd.Timedelta("1s").as_unit("s"),
        pd.NaT,
        pd.NA,
        {"a": [{1, 2}, {"b": (b"x", None)}]},
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_a_value_of_a_standard_type_comes_back(value: Any) -> None:
    assert same(value)


def test_an_array_of_lists_of_one_length_comes_back() -> None:
    array = np.empty(2, object)
    array[:] = [[1, 2], [3, 4]], (5, 6)
    array[1] = [3, 4]
    assert same(array)


def test_an_array_that_comes_back_can_be_written_to() -> None:
    assert travelled({"a": np.arange(3)})["a"].flags.writeable


class Aware(np.ndarray):  # type: ignore[type-arg]
    pass


def counted() -> Any:
    counter = collections.OrderedDict(a=1)
    counter.unit = "cm"  # type: ignore[attr-defined]
    return counter


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"t": [1, 2, Size.SMALL]}, r"x\['t'\]\[2\] is of type Size, .*annotate"),
        ({Size.SMALL: 1}, r"key <Size.SMALL: 1> of x is of type Size"),
        ({"a": {Word("w")}}, r"'w' in x\['a'\] is of type Word"),
        ((1, Word("w")), r"x\[1\] is of type Word"),
        ([Pair(1, 2)], r"x\[0\] is of type Pair"),
        ([Named(a=1)], r"x\[0\] is of type Named"),
        ([object()], r"x\[0\] is of type object"),
        ([np.recarray(1, [("a", "f8")])], r"x\[0\] is of type numpy.recarray"),
        ([np.ma.masked_array([1], [True])], r"x\[0\] is of type numpy.MaskedArray"),
        ([np.arange(2).view(Aware)], r"x\[0\] is of type Aware"),
        ([pd.DataFrame({"a": [1]})], r"x\[0\] is of type pandas.DataFrame"),
        ([pd.Series([1])], r"x\[0\] is of type pandas.Series"),
        ([np.longdouble(1)], r"x\[0\] has numpy's dtype float128"),
        (np.array([Size.SMALL], object), r"x\[0\] is of type Size"),
        (np.zeros(2, [("a", "O")]), r"x has numpy's dtype object"),
        ([np.str_("a\0")], r"x\[0\] is of type numpy.str_, but .* would not be read back"),
        (["\ud800"], r"x\[0\] is text that cannot be encoded as UTF-8"),
        ({"\ud800": 1}, r"key '\\ud800' of x is text that cannot be encoded as UTF-8"),
        ([counted()], r"x\[0\] is of type OrderedDict with additional attributes \(unit\)"),
        ([collections.defaultdict(lambda: 0)], r"x\[0\] is a defaultdict whose default <function"),
        (int, "x is of type type"),
        (print, "x is of type builtin_function_or_method"),
    ],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_a_value_that_would_lose_its_type_is_refused_with_its_path(value: Any, says: str) -> None:
    with pytest.raises(PayloadError, match=says):
        to_json(value, "x")


@pytest.mark.parametrize("make", [lambda v: [v], lambda v: {"a": v}, lambda v: (v,)])
def test_a_value_that_contains_itself_is_refused(make: Any) -> None:
    value: Any = 1
    for _ in range(101):
        value = make(value)
    with pytest.raises(PayloadError, match="nested more than 100 levels deep"):
        to_json(value)
    assert same(value[0] if not isinstance(value, dict) else value["a"])


@pytest.mark.parametrize(
    "content",
    [
        {"$unknown": 1},
        {"$tuple": [1], "b": 2},
        {"a": 1, "$b": 2},
        {"$tuple": 1},
        {"$set": [[1]]},
        {"$dict": [[[1], 2]]},
        {"$dict": [1]},
        {"$int": "1_0; x"},
        {"$bytes": "?"},
        {"$bytes": 5},
        {"$complex": ["1", 2]},
        {"$datetime": ["2020", 0, "../../etc/passwd"]},
        {"$datetime": ["2020-01-01", 0, "No/Where"]},
        {"$decimal": "one"},
        {"$path": ["Path", "a"]},
        {"$path": ["__class__", "a"]},
        {"$defaultdict": ["exec", []]},
        {"$ndarray": ["<f8", [2], "AAAA"]},
        {"$ndarray": ["|O8", [1], "AAAAAAAAAAA="]},
        {"$ndarray": ["f8,O", [0], ""]},
        {"$ndarray": ["<f8", [-1], ""]},
        {"$ndarray": ["|O", [2], [1]]},
        {"$ndarray": ["|b1", [1], "Ag=="]},
        {"$ndarray": ["<U1", [1], "/////w=="]},
        {"$ndarray": [[["a", "<U1", []]], [1], "/////w=="]},
        {"$ndarray": ["<f8", [0] * 33, ""]},
        {"$numpy": ["<f8", "AAAA"]},
        {"$timestamp": [1, "D", None]},
        {"$timestamp": [1, "s", "No/Where"]},
        {"$pandas": "DataFrame"},
    ],
    ids=str,
)
def test_a_tag_that_does_not_hold_what_belongs_to_it_is_refused(content: Any) -> None:
    with pytest.raises(PayloadError, match="tagged JSON"):
        from_json([content])


def test_tagged_json_nested_without_end_is_refused() -> None:
    content: Any = []
    for _ in range(900):
        content = [content]
    with pytest.raises(PayloadError, match="tagged JSON is nested more than"):
        from_json(content)


# -- sameness --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ([1], (1,)),
        ({"a": 1}, {"a": True}),
        ({1: "a"}, {True: "a"}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1}, {True}),
        ({1, 2}, {1}),
        (Decimal("1.0"), Decimal("1.00")),
        (Size.SMALL, 1),
        (np.float64(1), 1.0),
        (np.arange(2), np.arange(2.0)),
        (np.arange(2), np.arange(3)),
        (np.array([1.0], ">f8"), np.array([1.0])),
        (np.array([None], object), np.array([0], object)),
        (
            dt.datetime(2020, 1, 1, tzinfo=BERLIN),
            dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        ),
        (dt.datetime(2020, 1, 1, fold=1), dt.datetime(2020, 1, 1)),
        (collections.deque([1]), collections.deque([1], 5)),
        (object(), object()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_differ_are_told_apart(left: Any, right: Any) -> None:
    assert difference(left, right) is not None
    path, *_ = difference({"a": [left]}, {"a": [right]}, "x") or ("",)
    assert "x['a'][0]" in path
