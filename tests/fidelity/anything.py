"""Any value of the kinds in the table, with its annotation."""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict, deque
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.fidelity import kinds
from tests.helpers import value_strategies

_zones = st.sampled_from(
    [
        None,
        dt.timezone.utc,
        dt.timezone(dt.timedelta(minutes=-61)),
        dt.timezone(dt.timedelta(0), "GMT"),
        ZoneInfo("Europe/Berlin"),
        ZoneInfo("UTC"),
    ]
)
_moments = st.datetimes(timezones=_zones, allow_imaginary=False)
_decimals = st.decimals(allow_nan=False, allow_infinity=False)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    value_strategies.integers,
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.complex_numbers(),
    _moments,
    st.dates(),
    st.times(),
    st.timedeltas(),
    _decimals,
    st.fractions(),
    st.uuids(),
    value_strategies.numbers,
    hnp.from_dtype(np.dtype("f4")),
    hnp.from_dtype(np.dtype("i2")),
)
# Elements of a set, and keys of a dict: only one of 1, 1.0 and True can be among them.
_keys = st.one_of(
    st.none(),
    value_strategies.integers,
    st.text(max_size=4),
    st.dates(),
    st.tuples(st.text(max_size=2)),
)
untyped = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(deque),
        st.dictionaries(_keys, inner, max_size=3),
        st.dictionaries(st.sampled_from(["$", "$tuple", "$dict", "a"]), inner, max_size=2),
        st.dictionaries(st.text(max_size=2), inner, max_size=2).map(OrderedDict),
        st.sets(_keys, max_size=3),
        st.frozensets(_keys, max_size=3),
    ),
    max_leaves=6,
)
_items = st.builds(kinds.Item, name=st.text(max_size=4), price=_decimals)
_points = st.builds(kinds.Point, st.floats(), st.text(max_size=4))

TYPED: dict[str, st.SearchStrategy[Any]] = {
    "Any": untyped,
    "dict": st.dictionaries(_keys, untyped, max_size=3),
    "list": st.lists(untyped, max_size=3),
    "tuple": st.lists(untyped, max_size=3).map(tuple),
    "set": st.sets(_keys, max_size=3),
    "dict[str, Any]": st.dictionaries(st.text(max_size=3), untyped, max_size=3),
    "int": value_strategies.integers,
    "float": st.floats(),
    "str": st.text(max_size=6),
    "bytes": st.binary(max_size=6),
    "datetime": _moments,
    "list[datetime]": st.lists(_moments, max_size=3),
    "Decimal": _decimals,
    "date | str": st.dates() | st.text(max_size=6) | st.dates().map(str),
    "bool | int | str": st.booleans()
    | value_strategies.integers
    | st.text("01truefals", max_size=5),
    "int | float": value_strategies.integers | st.floats(),
    "Decimal | float": _decimals | st.floats(),
    "dict[tuple[int, int], str]": st.dictionaries(
        st.tuples(st.integers(), st.integers()), st.text(max_size=3), max_size=3
    ),
    "dict[str, bytes]": st.dictionaries(st.text(max_size=3), st.binary(max_size=3), max_size=3),
    "list[Point]": st.lists(_points, max_size=3),
    "list[Item]": st.lists(_items, max_size=3),
    "Order": st.builds(
        kinds.Order,
        items=st.lists(_items, max_size=2),
        at=st.none() | _moments,
        extra=st.dictionaries(st.text(max_size=3), untyped, max_size=2),
        point=st.none() | _points,
    ),
    "ndarray": st.one_of(
        value_strategies.arrays,
        hnp.arrays(hnp.byte_string_dtypes(max_len=3), value_strategies.SHAPES),
        hnp.arrays(hnp.complex_number_dtypes(), value_strategies.SHAPES),
        hnp.arrays(hnp.datetime64_dtypes(), value_strategies.SHAPES),
        hnp.arrays(hnp.integer_dtypes() | hnp.floating_dtypes(), value_strategies.SHAPES),
    ),
    "DataFrame": value_strategies.frames(),
}
any_value = st.sampled_from(list(TYPED)).flatmap(lambda hint: st.tuples(st.just(hint), TYPED[hint]))
