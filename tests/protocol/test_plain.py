"""Plain JSON means the same as V2's tensors and as a call in the process."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple, Optional

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tempo_runtime.cli.calling.results import plain
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.binding import (
    bound_arguments,
    bound_result,
    decode_arguments,
    encode_arguments,
)
from tempo_runtime.protocol.plain import read_arguments, write_result
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.protocol.sizes import DecodingLimits
from tests.fuzz.amounts import examples
from tests.helpers.value_strategies import (
    Point,
    Shape,
    integers,
    mlserver_rest,
    moments,
    same,
    shapes,
)


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass
class Line:
    amounts: list[Decimal]
    colour: Colour = Colour.RED


class Parts(NamedTuple):
    rows: np.ndarray
    label: str
    count: Optional[int] = None  # noqa: UP045


_SIDES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3)
_finite = st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | integers | _finite | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
_texts = st.text(max_size=5).filter(lambda text: not text.endswith("\0"))
_blobs = st.binary(max_size=5).filter(lambda blob: not blob.endswith(b"\0"))


def _frame(columns: dict[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame(columns)


_frames = st.integers(1, 4).flatmap(
    lambda rows: st.dictionaries(
        st.text(min_size=1, max_size=4),
        st.one_of(
            st.lists(st.integers(-(2**63), 2**63 - 1), min_size=rows, max_size=rows),
            st.lists(_finite, min_size=rows, max_size=rows),
            st.lists(st.booleans(), min_size=rows, max_size=rows),
            st.lists(st.text(max_size=4), min_size=rows, max_size=rows),
        ),
        min_size=1,
        max_size=3,
    ).map(_frame)
)


def arrays(dtype: Any) -> st.SearchStrategy[Any]:
    # A single NaN is null in plain JSON, which is not an array.
    return hnp.arrays(dtype, _SIDES).filter(lambda array: array.ndim or array == array)


def _as_wide_as_needed(dtype: str, elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return hnp.arrays(dtype, _SIDES, elements=elements).map(lambda array: np.array(array.tolist()))


VALUES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "arrays": (
        np.ndarray,
        st.sampled_from([np.int64, np.float64, np.bool_]).flatmap(arrays)
        | _as_wide_as_needed("U5", _texts),
    ),
    "arrays of float32": (npt.NDArray[np.float32], arrays(np.float32)),
    "arrays of float16": (npt.NDArray[np.float16], arrays(np.float16)),
    "arrays of int8": (npt.NDArray[np.int8], arrays(np.int8)),
    "arrays of uint64": (npt.NDArray[np.uint64], arrays(np.uint64)),
    "arrays of bool": (npt.NDArray[np.bool_], arrays(np.bool_)),
    "arrays of text": (npt.NDArray[np.str_], _as_wide_as_needed("U5", _texts)),
    "arrays of bytes": (npt.NDArray[np.bytes_], _as_wide_as_needed("S5", _blobs)),
    "bool": (bool, st.booleans()),
    "int": (int, integers),
    "float": (float, _finite),
    "text": (str, st.text()),
    "bytes": (bytes, st.binary()),
    "datetime": (dt.datetime, moments),
    "texts": (list[str], st.lists(st.text(max_size=5), max_size=4)),
    "blobs": (list[bytes], st.lists(st.binary(max_size=5), max_size=4)),
    "datetimes": (list[dt.datetime], st.lists(moments, max_size=4)),
    "lists": (list, st.lists(_json, max_size=4)),
    "objects": (dict, st.dictionaries(st.text(max_size=4), _json, max_size=4)),
    "lists of numbers": (list[float], st.lists(_finite, max_size=4)),
    "pairs": (list[tuple[int, str]], st.lists(st.tuples(integers, st.text(max_size=3)))),
    "models": (Shape, shapes.filter(lambda shape: not re.search("nan|inf", repr(shape)))),
    "dataclasses": (
        Line,
        st.builds(
            Line,
            amounts=st.lists(st.decimals(allow_nan=False, allow_infinity=False), max_size=3),
            colour=st.just(Colour.RED),
        ),
    ),
    "optional numbers": (Optional[int], st.none() | integers),  # noqa: UP045
    "optional models": (Point | None, st.none() | st.builds(Point, x=_finite)),
    "DataFrames": (pd.DataFrame, _frames),
}


def takes(annotation: Any) -> Signature:
    def function(x: Any) -> None: ...

    function.__annotations__ = {"x": annotation}
    return Signature.of(function)


def gives(annotation: Any) -> Signature:
    def function() -> Any: ...

    function.__annotations__ = {"return": annotation}
    return Signature.of(function)


def as_json(value: Any) -> Any:
    """The JSON of a value; pydantic would write Z for +00:00."""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, list) and value and isinstance(value[0], dt.datetime):
        return [moment.isoformat() for moment in value]
    return plain(value)


def body(**arguments: Any) -> bytes:
    return json.dumps(arguments, allow_nan=False).encode()


@pytest.mark.parametrize("case", VALUES)
@examples(40)
@given(data=st.data())
def test_an_argument_arrives_as_it_does_over_v2_and_in_the_process(
    case: str, data: st.DataObject
) -> None:
    annotation, strategy = VALUES[case]
    value, signature = data.draw(strategy), takes(annotation)
    here = bound_arguments(signature, (), {"x": value})["x"]
    tensors = mlserver_rest(encode_arguments(signature, (), {"x": value}))
    over_v2 = decode_arguments(signature, tensors, {})["x"]
    arrived = read_arguments(signature, body(x=plain(value)))["x"]
    assert same(arrived, over_v2)
    assert same(arrived, here)


@pytest.mark.parametrize("case", VALUES)
@examples(40)
@given(data=st.data())
def test_a_result_is_written_as_its_value_in_the_process_is(case: str, data: st.DataObject) -> None:
    annotation, strategy = VALUES[case]
    value, signature = data.draw(strategy), gives(annotation)
    here = bound_result(signature, "pipeline", value)
    written = json.loads(write_result(signature, value))
    assert same(written, json.loads(json.dumps(as_json(here))))


def only(x: np.ndarray) -> np.ndarray:
    return x


def several(rows: npt.NDArray[np.float64], labels: list[int], top: int = 3) -> None: ...


def optional(x: int | None, y: float | None = 2.0) -> None: ...


def typed(x: npt.NDArray[np.int64]) -> None: ...


def frame(frame: pd.DataFrame, factor: float = 1.0) -> None: ...


def whole(x: int) -> None: ...


def truth(x: npt.NDArray[np.bool_]) -> None: ...


def blob(x: bytes) -> None: ...


def moment(x: dt.datetime) -> None: ...


def anything(x: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "sent", "problem"),
    [
        (several, b"", "the body is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (several, b"{", "the body is not JSON: Expecting the name of an argument: line 1 column 2"),
        (several, b'{"rows" [1]}', "the body is not JSON: Expecting ':': line 1 column 9"),
        (several, b'{"rows": [1] "top": 1}', "the body is not JSON: Expecting ',' or '}'"),
        (several, b'{"rows": [1],}', "the body is not JSON: Expecting the name of an argument"),
        (several, b'{"rows": [1]} x', "the body is not JSON: Extra data: line 1 column 15"),
        (several, b'{"rows": tru}', "the body is not JSON: Expecting value"),
        (several, b"\xff", "the body is not JSON, which is UTF-8"),
        (
            several,
            b"[1, 2]",
            "the body must be a JSON object of the arguments by name, not '[1, 2]'",
        ),
        (several, b"null", "the body must be a JSON object of the arguments by name, not 'null'"),
        (several, b'{"x": ' + b"[" * 100_000, "the body is nested too deeply"),
        (several, b"{}", "argument 'rows' is missing; expected: rows, labels, top"),
        (several, b'{"rows": [1.5]}', "argument 'labels' is missing; expected: rows, labels, top"),
        (several, b'{"row": 1}', "argument 'row' is unknown; expected: rows, labels, top; did you"),
        (several, b'{"top": 1, "top": 2}', "argument 'top' is given twice; send it once"),
        (several, b'{"labels": [{"a": 1, "a": 2}]}', "has the name 'a' twice; send it once"),
        (several, b'{"rows": [NaN]}', 'NaN is not JSON; send the text "NaN"'),
        (several, b'{"rows": [-Infinity]}', '-Infinity is not JSON; send the text "-Infinity"'),
        (several, b'{"rows": [1e400]}', "1e400 is too large for a float"),
        (several, b'{"rows": [[1], [2, 3]]}', "'rows' is ragged: its rows differ in length"),
        (several, b'{"rows": {"a": 1}}', "'rows' must be numbers or texts, nested in lists"),
        (several, b'{"rows": null}', "'rows' must be numbers or texts, nested in lists, but null"),
        (several, b'{"rows": ["a"]}', "'rows' must be float64, but 'a' was given"),
        (several, b'{"rows": [true]}', "'rows' must be float64, but true was given"),
        (several, b'{"rows": [1], "labels": [1.5]}', "'labels.0': Input should be a valid integer"),
        (several, b'{"rows": [1], "labels": 3}', "'labels': Input should be a valid array"),
        (several, b'{"rows": [1], "labels": null}', "'labels': Input should be a valid array"),
        (typed, b'{"x": [1, 1.5]}', "'x' must be int64, but 1.5 was given"),
        (typed, b'{"x": [1.0]}', "'x' must be int64, but 1.0 was given"),
        (typed, b'{"x": [true]}', "'x' must be int64, but true was given"),
        (typed, b'{"x": [1, null]}', "'x' must be int64, but null was given"),
        (typed, b'{"x": [9223372036854775808]}', "which cannot hold 9223372036854775808"),
        (truth, b'{"x": [1]}', "'x' must be bool, but 1 was given"),
        (only, b'{"x": [1, "a"]}', "'x' must be an array of elements of one type, but 'a'"),
        (only, b'{"x": [true, 1]}', "'x' must be an array of elements of one type, but true"),
        (whole, b'{"x": 1.5}', "'x': Input should be a valid integer"),
        (whole, b'{"x": null}', "'x': Input should be a valid integer"),
        (whole, b'{"x": ' + b"1" * 5000 + b"}", "the body is not JSON: Exceeds the limit"),
        (blob, b'{"x": "?"}', "has content type base64, but its data is not base64"),
        (blob, b'{"x": 1}', "'x' must be text in base64, but 1 was given"),
        (moment, b'{"x": 1}', "'x' must be text in ISO 8601, but 1 was given"),
        (moment, b'{"x": "soon"}', "'x': Input should be a valid datetime"),
        (frame, b'{"frame": 1}', "'frame' must be a list of rows, or an object of columns"),
        (frame, b'{"frame": null}', "'frame' must be a list of rows, or an object of columns"),
        (frame, b'{"frame": [{"a": 1}, {"b": 2}]}', "row 1 of 'frame' has the columns ['b']"),
        (frame, b'{"frame": [{}]}', "row 0 of 'frame' has the columns []"),
        (frame, b'{"frame": {"a": [1], "b": []}}', "the columns differ in length"),
        (anything, b'{"x": ' + b"[" * 300 + b"]" * 300 + b"}", "nested more than"),
    ],
)
def test_a_wrong_call_is_refused_with_the_name_of_the_argument(
    function: Callable[..., Any], sent: bytes, problem: str
) -> None:
    with pytest.raises(PayloadError) as refused:
        read_arguments(Signature.of(function), sent)
    assert problem in str(refused.value)


def test_arguments_that_are_left_out_have_their_defaults() -> None:
    signature = Signature.of(optional)
    assert read_arguments(signature, b" { } ") == {"x": None}
    assert read_arguments(signature, b'{"y": null}') == {"x": None, "y": None}


def test_integers_of_any_size_arrive_exactly() -> None:
    sent = f'{{"x": {10**40}}}'.encode()
    for function in (whole, anything):
        assert read_arguments(Signature.of(function), sent) == {"x": 10**40}
    rows = read_arguments(Signature.of(only), b'{"x": [18446744073709551615]}')["x"]
    assert (rows.dtype, rows.tolist()) == (np.uint64, [2**64 - 1])


def test_null_and_the_words_are_numbers_in_an_array() -> None:
    signature = Signature.of(several)
    rows = read_arguments(
        signature, b'{"labels": [], "rows": [null, "NaN", "Infinity", "-Infinity", 1]}'
    )["rows"]
    assert same(rows, np.array([np.nan, np.nan, np.inf, -np.inf, 1.0]))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, None], "float64"),
        ([1.5, None, "Infinity"], "object"),
        ([2**53 + 1, None], "object"),
        ([2**70, 1], "object"),
        (["a", None], "object"),
        ([True, None], "object"),
        ([True, 1], "object"),
        ([{"a": 1}, [2]], "object"),
        ([None, None], "object"),
        ([], "object"),
    ],
)
def test_a_column_keeps_each_of_its_values(values: list[Any], dtype: str) -> None:
    column = read_arguments(Signature.of(frame), body(frame={"a": values}))["frame"]["a"]
    assert column.dtype == dtype
    kept = [None if item != item else item for item in column.tolist()]
    assert kept == values
    assert dtype != "object" or list(map(type, kept)) == list(map(type, values))


def test_a_dataframe_has_a_limit_of_columns() -> None:
    sent = body(frame={str(number): [1] for number in range(9)})
    with pytest.raises(PayloadError, match=r"there are 9 tensors .* `max_columns`"):
        read_arguments(Signature.of(frame), sent, DecodingLimits(max_columns=8))


INF = float("inf")


@pytest.mark.parametrize(
    ("annotation", "value", "written"),
    [
        (
            np.ndarray,
            np.array([[1.5, np.nan], [np.inf, -np.inf]]),
            '[[1.5,null],["Infinity","-Infinity"]]',
        ),
        (np.ndarray, np.zeros((0, 2)), "[]"),
        (np.ndarray, np.zeros((2, 0)), "[[],[]]"),
        (np.ndarray, np.array(0.5), "0.5"),
        (np.ndarray, np.array(2**64 - 1, np.uint64), "18446744073709551615"),
        (np.ndarray, np.array([[1, 2], [3, 4]], ">i2").T, "[[1,3],[2,4]]"),
        (np.ndarray, np.float32([0.1]), "[0.10000000149011612]"),
        (np.ndarray, np.array([["a"], ["b"]]), '[["a"],["b"]]'),
        (float, float("nan"), "null"),
        (float, INF, '"Infinity"'),
        (int, 10**40, str(10**40)),
        (bool, True, "true"),
        (str, "a", '"a"'),
        (bytes, b"\xff", '"/w=="'),
        (list[str], ["a"], '["a"]'),
        (list[bytes], [b"a"], '["YQ=="]'),
        (list[dt.datetime], [dt.datetime(2020, 1, 1)], '["2020-01-01T00:00:00"]'),
        (dict[str, float], {"a": INF, "b": float("nan")}, '{"a":"Infinity","b":null}'),
        (dict, {"a": [INF, 10**40, "NaN"]}, f'{{"a":["Infinity",{10**40},"NaN"]}}'),
        (Optional[int], None, "null"),  # noqa: UP045
        (tuple[np.ndarray, str, int], (np.array([1]), "a", 2), '[[1],"a",2]'),
        (tuple[int, ...], (1, 2), "[1,2]"),
        (Parts, Parts(np.array([1.0]), "a"), '{"rows":[1.0],"label":"a","count":null}'),
        (dict[str, np.ndarray], {"a": np.array([1])}, '{"a":[1]}'),
        (Any, None, "null"),
        (Any, 5, "5"),
        (Any, [5], "[5]"),
        (Any, np.array([5]), "[5]"),
        (Any, np.int8(5), "5"),
        (Any, "a", '"a"'),
        (Any, ["a"], '["a"]'),
        (Any, {"a": 1}, '{"a":1}'),
        (Any, {"a": np.array([1])}, '{"a":[1]}'),
        (Any, {"output-0": np.array([1]), "output-1": 2}, '{"output-0":[1],"output-1":2}'),
        (Any, (np.array([1]), "a"), '[[1],"a"]'),
        (Any, pd.DataFrame({"a": [1, 2], "b": ["x", None]}), '[{"a":1,"b":"x"},{"a":2,"b":null}]'),
        (pd.DataFrame, pd.DataFrame({"a": [0.5, np.inf]}), '[{"a":0.5},{"a":"Infinity"}]'),
    ],
)
def test_a_result_is_plain_json(annotation: Any, value: Any, written: str) -> None:
    assert write_result(gives(annotation), value).decode() == written


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (int, "a", "Input should be a valid integer"),
        (tuple[int, int], (1, 2, 3), "the result must have 2 parts"),
        (Any, {"a": (1, 2)}, "plain JSON does not have"),
        (str, "\ud800", "cannot be encoded as UTF-8"),
        (pd.DataFrame, 3, "a DataFrame is expected, but a int was given"),
    ],
)
def test_a_result_that_plain_json_cannot_hold_is_refused(
    annotation: Any, value: Any, problem: str
) -> None:
    with pytest.raises(PayloadError) as refused:
        write_result(gives(annotation), value)
    assert problem in str(refused.value)


def test_an_empty_list_of_rows_has_the_annotated_length_of_a_row() -> None:
    def total(rows: np.ndarray[tuple[int, Literal[2]], np.dtype[np.float64]]) -> float: ...

    signature = Signature.of(total)
    assert read_arguments(signature, b'{"rows": []}')["rows"].shape == (0, 2)


def test_integers_beside_floats_must_be_exact_in_an_array() -> None:
    def total(rows: np.ndarray) -> float: ...

    with pytest.raises(
        PayloadError, match="'rows' holds integers that an array of floats cannot hold"
    ):
        read_arguments(Signature.of(total), b'{"rows": [9007199254740993, 0.5]}')


def test_a_name_given_twice_is_found_in_one_pass() -> None:
    """Comparing each with all others would keep the loop busy for minutes."""

    def total(prices: dict[str, int]) -> float: ...

    names = ",".join(f'"k{number}":1' for number in range(200_000))
    body = f'{{"prices": {{{names},"z":1,"z":1}}}}'.encode()
    with pytest.raises(PayloadError, match="the name 'z' twice"):
        read_arguments(Signature.of(total), body)
