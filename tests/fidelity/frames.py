"""DataFrames of every kind, for each route that a value takes."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytz  # type: ignore[import-untyped]

NUMBERS = (
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
UNITS = ("s", "ms", "us", "ns")
NULLABLE = (
    *("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float32", "Float64"),
)
ZONES = {
    "zoneinfo": ZoneInfo("America/New_York"),
    "zoneinfo UTC": ZoneInfo("UTC"),
    "pytz": pytz.timezone("Europe/Berlin"),
    "pytz UTC": pytz.UTC,
    "pytz offset": pytz.FixedOffset(90),
    "datetime UTC": dt.timezone.utc,
    "offset": dt.timezone(dt.timedelta(hours=5, minutes=30)),
    "named offset": dt.timezone(dt.timedelta(hours=-3), "BRT"),
}
N = 4  # rows of most of them


def cases() -> dict[str, pd.DataFrame]:
    """DataFrames by what is special about them; those of pyarrow only where it is installed."""
    found: dict[str, pd.DataFrame] = {}
    for make in (_numpy, _dates, _pandas, _objects, _labels, _indexes, _shapes, _arrow):
        found |= make()
    return found


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Asserts that two DataFrames are one: values, types of elements, dtypes, labels, index and attrs."""
    assert type(left) is type(right)
    pd.testing.assert_frame_equal(
        left,
        right,
        check_exact=True,
        check_freq=True,
        check_flags=True,
        check_column_type="equiv",
        check_index_type="equiv",
    )
    _same_index(left.index, right.index)
    _same_index(left.columns, right.columns)
    assert left.attrs == right.attrs
    for position in range(left.shape[1]):
        one, two = left.iloc[:, position], right.iloc[:, position]
        assert one.dtype == two.dtype
        assert repr(one.dtype) == repr(two.dtype)
        if one.dtype == object or isinstance(one.dtype, pd.CategoricalDtype):
            assert _shown(one.tolist()) == _shown(two.tolist())
        if isinstance(one.dtype, pd.CategoricalDtype):
            _same_index(one.cat.categories, two.cat.categories)
        if one.dtype.kind == "f" and isinstance(one.dtype, np.dtype):
            assert ((np.signbit(one) == np.signbit(two)) | np.isnan(one)).all()


def _same_index(left: pd.Index[Any], right: pd.Index[Any]) -> None:
    assert type(left) is type(right)
    pd.testing.assert_index_equal(left, right, exact=True, check_exact=True)
    assert repr(left.names) == repr(right.names)
    assert list(map(type, left)) == list(map(type, right))
    assert getattr(left, "freq", None) == getattr(right, "freq", None)
    if isinstance(left, pd.RangeIndex):
        assert (left.start, left.stop, left.step) == (right.start, right.stop, right.step)
    if isinstance(left, pd.MultiIndex):
        for one, two in zip(left.levels, right.levels):
            _same_index(one, two)


def _shown(value: Any) -> Any:
    """A value with the types of its parts; NaN is NaN, and no other gap is."""
    if isinstance(value, list | tuple | set | frozenset):
        return type(value), list(map(_shown, value))
    if isinstance(value, dict):
        return type(value), [(_shown(key), _shown(part)) for key, part in value.items()]
    if isinstance(value, np.ndarray):
        return type(value), value.dtype, value.tolist()
    return type(value), repr(value)


def _numpy() -> dict[str, pd.DataFrame]:
    found = {}
    for dtype in NUMBERS:
        limits: Any = np.iinfo(dtype) if "int" in dtype else np.finfo(dtype)
        values = np.array([limits.min, 0, 1, limits.max], dtype)
        found[dtype] = pd.DataFrame({"n": values, "m": values[::-1]})
    for dtype in ("float16", "float32", "float64"):
        found[f"{dtype}, no number"] = pd.DataFrame(
            {"x": np.array([np.nan, np.inf, -np.inf, -0.0], dtype)}
        )
    found["bool"] = pd.DataFrame({"yes": [True, False]})
    found["big-endian"] = pd.DataFrame({"n": np.array([1, 2], ">i4"), "x": np.array([1, 2], ">f8")})
    found["complex64"] = pd.DataFrame({"z": np.array([1 + 2j, complex(np.nan, -np.inf)], "c8")})
    found["complex128"] = pd.DataFrame({"z": np.array([0.1 - 2j, complex(-0.0, np.inf)])})
    found["columns of many dtypes"] = pd.DataFrame(
        {"a": [1, 2], "b": [0.5, np.nan], "c": ["x", "y"], "d": [True, False], "e": [1, None]}
    )
    return found


def _dates() -> dict[str, pd.DataFrame]:
    found = {}
    texts = ["2020-02-29T12:30:15", "1970-01-01", "NaT", "2262-01-01"]
    for unit in UNITS:
        found[f"datetime64[{unit}]"] = pd.DataFrame({"t": np.array(texts, f"M8[{unit}]")})
        found[f"timedelta64[{unit}]"] = pd.DataFrame(
            {"d": np.array([1, -(2**40), "NaT", 0], f"m8[{unit}]")}
        )
        found[f"datetime64[{unit}] with a zone"] = pd.DataFrame(
            {"t": pd.Series(np.array(texts, f"M8[{unit}]")).dt.tz_localize("Asia/Tokyo")}
        )
    found["instants over nanoseconds"] = pd.DataFrame(
        {"t": np.array(["9999-12-31T23:59:59", "0001-01-01", "NaT"], "M8[us]")}
    )
    found["years over datetime"] = pd.DataFrame({"t": np.array(["20000-01-01", "-0044"], "M8[s]")})
    found["one nanosecond"] = pd.DataFrame({"t": [pd.Timestamp(1), pd.NaT]})
    for name, zone in ZONES.items():
        times = pd.Series(pd.to_datetime(["2020-01-01T00:00", "2020-07-01T12:00", None]))
        found[f"zone of {name}"] = pd.DataFrame({"t": times.dt.tz_localize(zone)})
    found["both sides of summer time"] = pd.DataFrame(
        {"t": pd.date_range("2020-10-25", periods=5, freq="h", tz="Europe/Berlin")}
    )
    for freq in ("M", "D", "Q-NOV", "W-SUN", "h" if pd.__version__ >= "2.2" else "H", "2D"):
        periods = pd.period_range("2020-01-01", periods=3, freq=freq)
        found[f"period of {freq}"] = pd.DataFrame({"p": pd.Series(periods).shift(1)})
    return found


def _pandas() -> dict[str, pd.DataFrame]:
    found = {}
    for dtype in NULLABLE:
        found[dtype] = pd.DataFrame({"n": pd.array([1, None, 3], dtype)})
        found[f"{dtype} without gaps"] = pd.DataFrame({"n": pd.array([1, 2, 3], dtype)})
    found["UInt64 over Int64"] = pd.DataFrame(
        {"n": pd.array([2**64 - 1, None, 2**53 + 1], "UInt64")}
    )
    nan = pd.arrays.FloatingArray(np.array([np.nan, 1.0, 0.0]), np.array([False, False, True]))
    found["Float64 with NaN and a gap"] = pd.DataFrame({"x": nan})
    found["boolean"] = pd.DataFrame({"b": pd.array([True, None, False], "boolean")})
    found["boolean without gaps"] = pd.DataFrame({"b": pd.array([True, False], "boolean")})
    found["string"] = pd.DataFrame({"s": pd.array(["é", None, ""], "string")})
    found["string without gaps"] = pd.DataFrame({"s": pd.array(["02134", "NaN"], "string")})
    sizes = pd.CategoricalDtype(["S", "M", "L", "XL"], ordered=True)
    found["ordered categories"] = pd.DataFrame(
        {"c": pd.Series(["L", "S", None, "XL"], dtype=sizes)}
    )
    found["categories of text"] = pd.DataFrame(
        {"c": pd.Categorical(["b", "a"], ["b", "a", "unseen"])}
    )
    found["categories of numbers"] = pd.DataFrame({"c": pd.Categorical([3, 1, None], [3, 2, 1])})
    found["categories of floats"] = pd.DataFrame({"c": pd.Categorical([0.5, np.inf])})
    found["categories of truth"] = pd.DataFrame({"c": pd.Categorical([True, False])})
    found["categories of dates"] = pd.DataFrame(
        {"c": pd.Categorical(pd.to_datetime(["2020-01-01", None, "2021-01-01"]))}
    )
    found["categories of intervals"] = pd.DataFrame({"c": pd.cut([1, 5, 9, np.nan], 3)})
    found["categories of tuples"] = pd.DataFrame(
        {
            "c": pd.Categorical.from_codes(
                [0, 1], pd.Index([(1, "a"), (2, "b")], tupleize_cols=False)
            )
        }
    )
    found["categories of a range"] = pd.DataFrame({"c": pd.Categorical([1, 2], pd.RangeIndex(3))})
    found["no categories"] = pd.DataFrame({"c": pd.Categorical([None, None], [])})
    found["more categories than int8 counts"] = pd.DataFrame(
        {"c": pd.Categorical(list(map(str, range(200))))}
    )
    for closed in ("left", "right", "both", "neither"):
        found[f"intervals, closed {closed}"] = pd.DataFrame(
            {"i": pd.arrays.IntervalArray.from_breaks([0, 1, 2], closed)}
        )
    found["intervals with a gap"] = pd.DataFrame(
        {"i": pd.arrays.IntervalArray.from_tuples([(0.5, 1.5), None])}
    )
    dates = pd.date_range("2020-01-01", periods=3, tz="Europe/Berlin")
    found["intervals of dates"] = pd.DataFrame({"i": pd.arrays.IntervalArray.from_breaks(dates)})
    found["sparse"] = pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1])})
    found["sparse of NaN"] = pd.DataFrame({"s": pd.arrays.SparseArray([np.nan, 2.0, np.nan])})
    return found


def _objects() -> dict[str, pd.DataFrame]:
    stamp = pd.Timestamp("2020-01-01", tz="Europe/Berlin")
    columns: dict[str, list[Any]] = {
        "text": ["a", "", "02134", "true"],
        "text that looks like JSON": ['{"$tuple": [1]}', "null", "NaN", '"a"'],
        "text with None": ["a", None],
        "text with NaN": ["a", np.nan],
        "text with NA": ["a", pd.NA],
        "gaps of every kind": [None, np.nan, pd.NA, pd.NaT],
        "only None": [None, None],
        "bytes": [b"\xff\0", b""],
        "bytes with None": [b"\xff", None],
        "whole numbers and text": [1, "a", 2.5, True],
        "integers over 64 bits": [2**70, -(2**70)],
        "lists and dicts": [[1, [2]], {"a": None}, [], {}],
        "keys that are not text": [{1: "a"}, {(1, 2): "b"}],
        "keys of tags": [{"$tuple": [1]}, {"$": 1}],
        "tuples": [(1, 2), (), ("a", (None,))],
        "sets": [{1, 2}, frozenset({3})],
        "Decimal": [Decimal("1.10"), Decimal("NaN")],
        "date": [dt.date(2020, 2, 29), None],
        "datetime": [dt.datetime(2020, 1, 1), dt.datetime(9999, 12, 31, tzinfo=dt.timezone.utc)],
        "time and timedelta": [dt.time(1, 2), dt.timedelta(days=1)],
        "Timestamp": [pd.Timestamp("2020-01-01"), stamp],
        "Timestamp of one kind": [pd.Timestamp("2020-01-01"), pd.Timestamp("2021-01-01")],
        "Timedelta": [pd.Timedelta(1), pd.Timedelta(days=2)],
        "UUID": [uuid.UUID(int=1), uuid.UUID(int=2**127)],
        "complex": [1 + 2j, 0j],
        "numpy's numbers": [np.int64(1), np.float32(0.1), np.bool_(True), np.float64(np.nan)],
        "numpy's text": [np.str_("a"), "a"],
        "arrays": [np.arange(3), np.array(["a"])],
    }
    return {
        f"object: {name}": pd.DataFrame({"o": _series(values)}) for name, values in columns.items()
    }


def _series(values: list[Any]) -> Any:
    column = np.empty(len(values), object)
    for position, value in enumerate(values):
        column[position] = value
    return pd.Series(column, dtype=object)


def _labels() -> dict[str, pd.DataFrame]:
    rows = np.arange(6).reshape(2, 3)
    moments = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"])
    columns: dict[str, Any] = {
        "a range": None,
        "whole numbers": [3, 1, 2],
        "floats": [0.5, np.nan, np.inf],
        "truth": [True, False, "a"],
        "mixed": pd.Index([1, "1", 1.5], dtype=object),
        "None and NaN": pd.Index([None, np.nan, "a"], dtype=object),
        "tuples": pd.Index([("a", 1), ("b",), ()], tupleize_cols=False),
        "dates": moments,
        "dates with a zone": moments.tz_localize("Europe/Berlin"),
        "dates with a frequency": pd.date_range("2020", periods=3, freq="D"),
        "date objects": pd.Index([dt.date(2020, 1, 1), dt.date(2020, 1, 2), "x"], dtype=object),
        "categories": pd.CategoricalIndex(["b", "a", "c"], ["c", "b", "a"], ordered=True),
        "periods": pd.period_range("2020-01", periods=3, freq="M"),
        "intervals": pd.interval_range(0, 3),
        "several levels": pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", 1)]),
        "named levels": pd.MultiIndex.from_product([["a"], [1, 2, 3]], names=["one", None]),
        "a name": pd.Index(["a", "b", "c"], name="kind"),
        "a name that is not a string": pd.Index(["a", "b", "c"], name=("kind", 1)),
        "empty text": ["", " ", "\0"],
        "text that looks like arguments": ["input-0", "frame", "parameters"],
        "no ASCII": ["é", "☃", "\U0001d4b3"],
        "duplicates": ["a", "a", "b"],
        "duplicates with a number": ["a", "a", "a.1"],
        "duplicates of numbers": [1, 1, 2],
        "text and its number": pd.Index(["1", 1, "1.1"], dtype=object),
    }
    return {
        f"columns: {name}": pd.DataFrame(rows, columns=labels) for name, labels in columns.items()
    }


def _indexes() -> dict[str, pd.DataFrame]:
    times = pd.date_range("2020-01-01", periods=N, freq="h", tz="Europe/Berlin")
    indexes: dict[str, Any] = {
        "a range from 5 in steps": pd.RangeIndex(5, 13, 2, name="n"),
        "a range down": pd.RangeIndex(4, 0, -1),
        "whole numbers": [3, 7, 9, 9],
        "small numbers": pd.Index([1, 2, 3, 4], dtype="int8"),
        "floats": [0.5, np.nan, -0.0, np.inf],
        "text": pd.Index(list("abca"), name="id"),
        "text with gaps": pd.Index(["a", None, np.nan, "b"], dtype=object),
        "mixed": pd.Index([1, "a", (1, 2), None], dtype=object, tupleize_cols=False),
        "dates": pd.to_datetime(["2020-01-01", "NaT", "2021-01-01", "2020-01-01"]),
        "dates with a frequency": pd.date_range("2020-01-31", periods=N, freq="MS", name="month"),
        "business days": pd.bdate_range("2020-01-01", periods=N),
        "dates with a zone": times,
        "dates in seconds": pd.DatetimeIndex(np.array(["1066"] * N, "M8[s]")),
        "durations": pd.timedelta_range("1h", periods=N, freq="30min"),
        "periods": pd.period_range("2020-01", periods=N, freq="M"),
        "intervals": pd.interval_range(0, N),
        "categories": pd.CategoricalIndex(list("abca"), list("cba"), ordered=True, name="size"),
        "truth": pd.Index([True, False, True, False]),
        "nullable": pd.Index(pd.array([1, None, 3, 4], "Int64")),
        "string": pd.Index(pd.array(["a", None, "b", "c"], "string")),
        "several levels": pd.MultiIndex.from_arrays(
            [list("aabb"), times, [1, 2, None, 2]], names=["one", None, ("three", 3)]
        ),
        "levels that are not used": pd.MultiIndex.from_product([list("abc"), range(4)])[4:8],
        "one level": pd.MultiIndex.from_arrays([list("abab")]),
        "a name that is not a string": pd.Index(range(1, 9, 2), name=7),
    }
    found = {
        f"index: {name}": pd.DataFrame({"x": np.arange(N) / 2, "s": list("abcd")}, index=index)
        for name, index in indexes.items()
    }
    whole = pd.DataFrame({"n": range(20)})
    found["index: of a filter"] = whole[whole["n"].isin([3, 7, 9])]
    found["index: of a slice"] = whole.iloc[5:15:3]
    return found


def _shapes() -> dict[str, pd.DataFrame]:
    found = {
        "no rows": pd.DataFrame({"n": [1], "s": ["a"]}).iloc[:0],
        "no rows of every dtype": pd.DataFrame(
            {
                dtype: pd.Series([], dtype=dtype)
                for dtype in (
                    *("int8", "bool", "object", "float32", "datetime64[ns]", "timedelta64[ns]"),
                    *("category", "Int64", "string", "boolean", "period[M]", "complex128"),
                    *("datetime64[ns, Europe/Berlin]", "interval[int64]", "Sparse[int]"),
                )
            }
        ),
        "no columns": pd.DataFrame(index=[1, 2, 3]),
        "no columns but their names": pd.DataFrame(
            index=list("ab"), columns=pd.Index([], name="k")
        ),
        "nothing": pd.DataFrame(),
        "no columns, typed": pd.DataFrame(index=[1], columns=pd.Index([], dtype=object)),
        "one cell": pd.DataFrame({"x": [1.5]}),
        "wide": pd.DataFrame(np.arange(400).reshape(2, 200)).add_prefix("c"),
        "a view": pd.DataFrame(np.arange(24.0).reshape(4, 6)).iloc[::2, 1::2],
    }
    attrs = pd.DataFrame({"n": [1]})
    attrs.attrs = {"source": "census", "shape": (2, 3), 1: [None, float("inf")]}
    found["attrs"] = attrs
    found["no duplicates allowed"] = pd.DataFrame({"n": [1]}).set_flags(
        allows_duplicate_labels=False
    )
    return found


def _arrow() -> dict[str, pd.DataFrame]:
    try:
        import pyarrow as pa
    except ImportError:
        return {}
    day = dt.datetime(2020, 2, 29, 12, 30, 15, 250000)
    columns: dict[Any, list[Any]] = {
        pa.bool_(): [True, None],
        pa.int8(): [1, None],
        pa.uint64(): [2**64 - 1, None],
        pa.int64(): [1, 2],
        pa.float32(): [0.1, float("nan"), None],
        pa.float64(): [0.5, -0.0],
        pa.string(): ["a", None],
        pa.large_string(): ["a", "é"],
        pa.binary(): [b"\xff", b""],
        pa.large_binary(): [b"\xff", None],
        pa.date32(): [day.date(), None],
        pa.date64(): [day.date()],
        pa.time32("s"): [dt.time(1, 2, 3), None],
        pa.time64("us"): [dt.time(1, 2, 3, 4)],
        pa.timestamp("ms"): [day, None],
        pa.timestamp("ns"): [day, None],
        pa.timestamp("us", tz="Europe/Berlin"): [day, None],
        pa.duration("ns"): [dt.timedelta(seconds=1), None],
        pa.decimal128(10, 2): [Decimal("1.10"), None],
        pa.null(): [None, None],
    }
    found = {}
    as_read: Callable[[Any], Any] = pd.arrays.ArrowExtensionArray
    for kind, values in columns.items():
        found[f"pyarrow {kind}"] = pd.DataFrame({"a": as_read(pa.array(values, kind))})
    found["pyarrow, several chunks"] = pd.DataFrame(
        {"a": as_read(pa.chunked_array([[1, None], [3]], pa.int64()))}
    )
    found["pyarrow, no rows"] = pd.DataFrame({"a": as_read(pa.array([], pa.string()))})
    found["string of pyarrow"] = pd.DataFrame({"s": pd.array(["a", None], "string[pyarrow]")})
    found["index of pyarrow"] = pd.DataFrame(
        {"n": [1, 2]}, index=pd.Index(as_read(pa.array(["a", None], pa.string())))
    )
    return found
