"""Results of a call come back as they were, or are refused by name."""

from __future__ import annotations

import collections
import json
from typing import Any, NamedTuple, Optional

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from dateutil.tz import tzlocal
from hypothesis import given, settings
from typing_extensions import NotRequired, TypedDict

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.binding import decode_results, encode_results, results_by_name
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.protocol.tensor import BYTES, Tensor
from tests.fidelity.frames import cases
from tests.fidelity.frames import same as same_frame
from tests.helpers.value_strategies import WAYS, Point, frames, same, whole_frames

ROWS = np.array([[1.0, 2.0], [3.0, 4.0]])
FRAME = pd.DataFrame({"age": [1, 2], "job": ["a", "b"]})
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


class Scores(NamedTuple):
    label: str
    probabilities: np.ndarray
    note: str = "none"


class Maybe(NamedTuple):
    value: int | None


class Report(TypedDict):
    score: float
    rows: npt.NDArray[np.float64]
    why: Optional[str]  # noqa: UP045
    extra: NotRequired[int]


Bare = collections.namedtuple("Bare", "first second")


class Table(pd.DataFrame):
    """A DataFrame that is more than one."""


def _with_attrs(attrs: dict[str, Any]) -> pd.DataFrame:
    frame = FRAME.copy()
    frame.attrs = attrs
    return frame


CASES = cases()
HOLIDAYS = pd.offsets.CustomBusinessDay(holidays=["2020-01-02"])


def answer(hint: Any, way: Any, value: Any) -> Any:
    signature = result_of(hint)
    tensors, content_type = encode_results(signature, value, tagged=True)
    return decode_results(signature, way(tensors), content_type)


def result_of(hint: Any) -> Signature:
    def predict() -> None: ...

    predict.__annotations__["return"] = hint
    return Signature.of(predict)


REPORT = {"score": 0.5, "rows": ROWS, "why": None}


@ways
@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (np.ndarray, ROWS),
        (str, "a"),
        (None, None),
        (Point, Point(x=1)),
        (list[str], ["a"]),
        (tuple[str, np.ndarray], ("a", ROWS)),
        (tuple[int, Optional[str]], (1, None)),  # noqa: UP045
        (tuple[int, ...], (1, 2)),
        (Scores, Scores("a", ROWS)),
        (Scores, Scores("a", ROWS, "b")),
        (Bare, Bare(["x"], "a")),
        (Report, REPORT),
        (Report, {**REPORT, "why": "x", "extra": 1}),
        (dict[str, np.ndarray], {"a": ROWS, "b": ROWS[0]}),
        (dict[str, np.ndarray], {}),
        (dict[str, float], {"a": 1.0}),
        (dict, {"a": [1, None]}),
        (pd.DataFrame, FRAME),
        (Optional[Any], FRAME),  # noqa: UP045
        (Optional[Any], None),  # noqa: UP045
        (Any, ROWS),
        (Any, "a"),
        (Any, None),
        (Any, {"a": 1}),
        (Any, (ROWS, "a", None)),
        (Any, {"a": ROWS, "b": "x"}),
        (Any, FRAME),
    ],
)
def test_result_comes_back_as_it_was(way: Any, hint: Any, value: Any) -> None:
    assert same(answer(hint, way, value), value)


def test_named_result_may_be_returned_as_another_container() -> None:
    assert same(answer(Scores, WAYS[0], ["a", ROWS, "b"]), Scores("a", ROWS, "b"))
    assert same(answer(Scores, WAYS[0], {"label": "a", "probabilities": ROWS}), Scores("a", ROWS))
    assert same(answer(Report, WAYS[0], REPORT), REPORT)


def test_declared_outputs_are_a_dict_by_name() -> None:
    signature = Signature.declared(np.ndarray, {"output-0": str, "rows": np.ndarray})
    assert signature is not None
    value = {"output-0": "a", "rows": ROWS}
    tensors, content_type = encode_results(signature, value)
    assert same(decode_results(signature, tensors, content_type), value)


def test_a_missing_optional_output_becomes_none() -> None:
    assert decode_results(result_of(Maybe), []) == Maybe(None)


def test_single_output_of_another_server_may_have_any_name() -> None:
    tensor = Tensor("predict", "FP64", [1], [1.0])
    assert decode_results(result_of(float), [tensor]) == 1.0
    assert same(decode_results(None, [tensor]), np.array([1.0]))


@ways
@settings(deadline=None, max_examples=25)
@given(frame=frames())
def test_frame_comes_back_as_it_was(way: Any, frame: pd.DataFrame) -> None:
    assert same(answer(pd.DataFrame, way, frame), frame)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(pd.to_datetime(["2020-03-29", "2020-06-01T00:00:00.5"], format="ISO8601")),
        pd.Series(pd.to_datetime(["2020-03-28", "2020-06-01"]).tz_localize("UTC")),
        pd.Series([pd.NaT, pd.Timestamp("2020-01-01 00:00:00.000000001")]),
        pd.Series([b"\xff", b"a\0"]),
        pd.Series([None, None], dtype=object),
        pd.Series([[1, 2], {"a": None}]),
        pd.Series([], dtype=object),
        pd.Series([], dtype="datetime64[ns]"),
        pd.Series([], dtype="int8"),
        pd.Series([1.0, np.nan, np.inf], dtype="float32"),
    ],
    ids=str,
)
def test_column_comes_back_as_it_was(column: pd.Series[Any]) -> None:
    for way in WAYS:
        frame = pd.DataFrame({"x": column})
        assert same(answer(pd.DataFrame, way, frame), frame)


@ways
@pytest.mark.parametrize("name", CASES)
def test_a_frame_of_each_kind_comes_back_whole(way: Any, name: str) -> None:
    same_frame(answer(pd.DataFrame, way, CASES[name]), CASES[name])


@ways
@settings(deadline=None, max_examples=25)
@given(frame=whole_frames())
def test_any_frame_comes_back_whole(way: Any, frame: pd.DataFrame) -> None:
    same_frame(answer(Any, way, frame), frame)


def test_a_result_is_a_copy_that_can_be_written_to() -> None:
    frame = pd.DataFrame({"n": [1.0, 2.0], "s": pd.array([1, 2], "Int64"), "o": [[1], [2]]})
    before = frame.copy(deep=True)
    read = answer(pd.DataFrame, WAYS[0], frame)
    read.iloc[0, 0] = 5.0
    read["s"].array[0] = 7
    read["o"][0].append(3)
    read.loc[0, "n"] = 6.0
    same_frame(frame, before)
    assert frame["o"][0] == [1]


def test_columns_that_were_asked_for_are_taken_of_a_whole_frame() -> None:
    frame = pd.DataFrame({"a": [1], "b": pd.Categorical(["x"]), 3: [2]}, index=["one"])
    tensors, content_type = encode_results(result_of(pd.DataFrame), frame, tagged=True)
    read = decode_results(None, tensors, content_type, asked=["3", "b"])
    same_frame(read, frame[["b", 3]])


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["S", "L", None], dtype=pd.CategoricalDtype(["S", "M", "L"], ordered=True)),
        pd.Series([1, None], dtype="Int64"),
        pd.Series(["a", None], dtype="string"),
        pd.Series(pd.to_datetime(["2020-01-01", "2020-07-01"]).tz_localize("Europe/Berlin")),
        pd.Series(pd.array([0, 1], pd.SparseDtype(int))),
    ],
    ids=lambda column: str(column.dtype),
)
def test_other_servers_read_the_data_of_a_column(column: pd.Series[Any]) -> None:
    tensors, _ = encode_results(result_of(pd.DataFrame), pd.DataFrame({"x": column}), tagged=True)
    del tensors[0].parameters["pandas"]
    read = decode_results(None, tensors, "pd")["x"]
    held = column.dt.tz_convert("UTC") if isinstance(column.dtype, pd.DatetimeTZDtype) else column
    assert read.tolist() == [None if pd.isna(value) else value for value in held]


@pytest.mark.parametrize(
    ("hint", "value", "match"),
    [
        (tuple[int, str], None, "2 parts .output-0, output-1., but is a NoneType"),
        (tuple[int, str], (1,), "2 parts .output-0, output-1., but has 1$"),
        (tuple[int, str], np.zeros((2, 3)), "but is a ndarray"),
        (tuple[int, str], ("a", "b"), "'output-0'.*integer"),
        (Report, {"score": 1.0}, "the result lacks rows; it must have score, rows, why, extra"),
        (Report, {**REPORT, "scores": 1}, "'scores' is unknown.*did you mean 'score'"),
        (dict[str, np.ndarray], [ROWS], "must be a dict, but is a list"),
        (dict[str, npt.NDArray[np.int64]], {"a": ROWS}, "'a' must be int64"),
        (pd.DataFrame, {"a": [1]}, "a DataFrame is expected, but a dict was given"),
        (Any, (FRAME, 1), "'output-0' is a DataFrame"),
        (Any, {"a": ROWS, "b": object()}, "'b': b is of type object"),
        (
            pd.DataFrame,
            pd.DataFrame({"a": ["x", object()]}),
            "column 'a' of dtype object cannot be sent: element 1 is of type object",
        ),
        (
            pd.DataFrame,
            pd.DataFrame({"a": np.array([1], np.longdouble)}),
            "column 'a' of dtype float128 cannot be sent",
        ),
        (
            pd.DataFrame,
            pd.DataFrame({"a": ["\ud800"]}),
            "'a' is text that cannot be encoded as UTF-8",
        ),
        (pd.DataFrame, pd.DataFrame({"\ud800": [1]}), "labels of the DataFrame cannot be written"),
        (
            pd.DataFrame,
            Table({"a": [1]}),
            r"a Table was given, but would arrive as a plain DataFrame; pass pandas.DataFrame",
        ),
        (pd.DataFrame, pd.DataFrame({"a": [1]}, index=[object()]), "the index.*type object"),
        (
            pd.DataFrame,
            pd.DataFrame([[1]], columns=[object()]),
            "the index of columns.*type object",
        ),
        (
            pd.DataFrame,
            pd.DataFrame({"a": [1]}, index=pd.Index([1], name=(1, object))),
            "name of the index",
        ),
        (pd.DataFrame, _with_attrs({"a": object()}), "attrs of the DataFrame"),
        (
            pd.DataFrame,
            pd.DataFrame({"a": [1]}, index=pd.date_range("2020", periods=1, freq=HOLIDAYS)),
            "the index has the frequency .*set its freq to None",
        ),
        (
            pd.DataFrame,
            pd.DataFrame({"a": pd.to_datetime(["2020"]).tz_localize(tzlocal())}),
            "column 'a' of dtype datetime64.*time zone does not come from zoneinfo",
        ),
        (pd.DataFrame, pd.DataFrame(index=range(2**20 + 1)), "1048577 rows but no columns"),
    ],
)
def test_wrong_result_is_not_sent(hint: Any, value: Any, match: str) -> None:
    with pytest.raises(PayloadError, match=match):
        encode_results(result_of(hint), value, tagged=True)


A = Tensor("a", "FP64", [1, 1], [1.0])
B = Tensor("b", "FP64", [2, 1], [1.0, 2.0])


@pytest.mark.parametrize(
    ("hint", "tensors", "match"),
    [
        (float, [], "one output was expected"),
        (float, [A, B], "one output was expected.*'a', 'b'"),
        (float, [A, A], "'a' is given twice"),
        (Scores, [A], "output 'label' is missing .given: .'a'.."),
        (dict[str, npt.NDArray[np.int64]], [A], "'a' must be int64"),
        (pd.DataFrame, [A, B], "differ in length: {'a': 1, 'b': 2}"),
        (pd.DataFrame, [A, A], "'a' is given twice"),
        (pd.DataFrame, [Tensor("a", "FP64", [1, 2], [1, 2])], r"'a' must have shape \[N, 1\]"),
        (pd.DataFrame, [Tensor("a", BYTES, [1], [b"\xff"])], "'a' is not UTF-8"),
        (pd.DataFrame, [Tensor("a", BYTES, [1], [None])], "'a' holds None"),
    ],
)
def test_wrong_response_is_refused_by_name(hint: Any, tensors: list[Tensor], match: str) -> None:
    with pytest.raises(PayloadError, match=match) as caught:
        decode_results(result_of(hint), tensors)
    assert caught.value.status == 422


def test_outputs_of_a_tuple_may_have_other_names() -> None:
    signature = result_of(tuple[np.ndarray, np.ndarray])
    assert same(decode_results(signature, [B, A]), (B.numbers(), A.numbers()))


def test_outputs_that_are_not_a_tuple_of_that_length_are_refused() -> None:
    with pytest.raises(PayloadError, match=r"output 'output-0' is missing .given: .'a', 'b'.."):
        decode_results(result_of(tuple[float, float, float]), [A, B])


@pytest.mark.parametrize(
    ("hint", "asked", "expected"),
    [
        (Any, ["b"], B.numbers()),
        (np.ndarray, ["b"], B.numbers()),
        (Any, ["b", "a"], {"a": A.numbers(), "b": B.numbers()}),
        (Any, ["c"], {"a": A.numbers(), "b": B.numbers()}),
    ],
)
def test_of_more_outputs_than_were_asked_for_those_are_taken(
    hint: Any, asked: list[str], expected: Any
) -> None:
    assert same(decode_results(result_of(hint), [A, B], asked=asked), expected)


def test_a_dict_may_come_as_an_output_for_each_key() -> None:
    text = Tensor("c", BYTES, [1], ["x"], {"content_type": "str"})
    expected = {"a": A.numbers(), "c": "x"}
    assert same(decode_results(result_of(dict), [A, text]), expected)


def test_a_dict_of_outputs_is_checked() -> None:
    with pytest.raises(PayloadError, match=r"'output-0\.a'.*integer"):
        decode_results(result_of(dict[str, int]), [A, B])


@pytest.mark.parametrize(
    ("hint", "value", "names"),
    [
        (str, "a", ["output0"]),
        (Any, (ROWS, "a"), ["output0", "output1"]),
        (tuple[np.ndarray, str], (ROWS, "a"), ["output0", "output1"]),
        (Scores, Scores("a", ROWS), ["label", "probabilities", "note"]),
        (dict[str, np.ndarray], {"output-x": ROWS}, ["output-x"]),
        (pd.DataFrame, FRAME, ["age", "job"]),
    ],
)
def test_a_client_of_tempo_05_is_given_its_names(hint: Any, value: Any, names: list[str]) -> None:
    tensors, _ = encode_results(result_of(hint), value, tempo_0_5=True)
    assert [tensor.name for tensor in tensors] == names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("it's", "it's"),
        (None, "None"),
        (True, "True"),
        (2**70, f"{2**70}"),
        (np.float64(0.5), "0.5"),
        (["a"], "['a']"),
        (b"\xff", r"b'\xff'"),
        ({1: ("a", 2)}, "{1: ('a', 2)}"),
        ({"a": np.arange(2)}, None),
        ({"a": Point(x=1)}, "{'a': {'x': 1.0, 'label': None}}"),
        (np.array(["a", "b"]), "['a', 'b']"),
    ],
)
def test_a_client_of_tempo_05_is_given_what_it_reads(value: Any, text: str | None) -> None:
    [tensor], _ = encode_results(result_of(Any), value, tempo_0_5=True)
    if text is None:
        assert same(tensor.numbers(), np.arange(2))
    else:
        assert (tensor.shape, bytes(tensor.data).decode()) == ([len(text)], text)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"pandas": "{"}, "does not describe a DataFrame"),
        ({"pandas": 5}, "does not describe a DataFrame"),
        ({"pandas": "[]"}, "does not describe a DataFrame"),
        ({"columns": None}, "does not describe a DataFrame"),
        ({"columns": {"a": 1}}, "does not describe a DataFrame"),
        ({"index_columns": []}, "does not describe a DataFrame"),
        ({"index_columns": [{"kind": "range"}]}, "the index does not match the pandas metadata"),
        ({"index_columns": [5]}, "the index does not match the pandas metadata"),
        (
            {"index_columns": [{"kind": "range", "start": 0, "stop": 10**30, "step": 1}]},
            "the index does not match the pandas metadata",
        ),
        (
            {"index_columns": [{"kind": "range", "start": 0, "stop": 7, "step": 1}]},
            "column 'age' has 2 rows, but the index has 7",
        ),
        (
            {"column_indexes": [{"kind": "range", "start": 0, "stop": 9, "step": 1}]},
            "but 9 column labels",
        ),
        ({"column_indexes": [{}]}, "the index of columns does not match the pandas metadata"),
        ({"attributes": "{"}, "attributes are not usable"),
        ({"attributes": "5"}, "attributes are not usable"),
        ({"pandas_type": "os.system"}, "column 'age': .*not a known type"),
        ({"pandas_type": ["int64"]}, "column 'age': .*not a known type"),
        ({"numpy_type": "int32"}, "column 'age' does not match its pandas metadata"),
        ({"numpy_type": "os.system"}, "column 'age' does not match its pandas metadata"),
        ({"pandas_type": "datetime"}, "column 'age' does not match its pandas metadata"),
        ({"pandas_type": "categorical"}, "column 'age' does not match its pandas metadata"),
        ({"pandas_type": "period", "numpy_type": "M; x"}, "invalid frequency 'M; x'"),
        ({"pandas_type": "sparse"}, "column 'age' does not match its pandas metadata"),
        ({"field_name": "agee"}, "column 'agee' is missing"),
        ({"field_name": "job"}, "column 'job' is missing"),
        ({"field_name": 5}, "does not describe a DataFrame"),
    ],
    ids=str,
)
def test_a_wrong_description_is_refused_by_name(change: dict[str, Any], match: str) -> None:
    tensors, content_type = encode_results(result_of(pd.DataFrame), FRAME, tagged=True)
    description = json.loads(tensors[0].parameters["pandas"])
    whole = change.keys() <= description.keys() | {"attributes"}
    (description if whole else description["columns"][0]).update(change)
    tensors[0].parameters = {"pandas": json.dumps(description), **change}
    with pytest.raises(PayloadError, match=match):
        decode_results(None, tensors, content_type)


def test_a_column_that_no_description_names_is_refused() -> None:
    tensors, content_type = encode_results(result_of(pd.DataFrame), FRAME, tagged=True)
    with pytest.raises(
        PayloadError, match="'a' is not one of the columns that the pandas metadata"
    ):
        decode_results(None, [*tensors, A], content_type)


@pytest.mark.parametrize("content_type", ["datetime", "pd_json", "base64"])
def test_column_that_is_not_of_its_content_type_is_refused(content_type: str) -> None:
    tensor = Tensor("a", BYTES, [1], ["{"], {"content_type": content_type})
    with pytest.raises(PayloadError, match=f"'a'.*content type {content_type}"):
        decode_results(None, [tensor], "pd")


def one(x: Any) -> float: ...
def several(x: Any) -> tuple[np.ndarray, str]: ...
def scored(x: Any) -> Scores: ...
def reported(x: Any) -> Report: ...
def mapped(x: Any) -> dict[str, np.ndarray]: ...
def listed(x: Any) -> list[np.ndarray]: ...
def framed(x: Any) -> pd.DataFrame: ...
def free(x: Any) -> Any: ...


@pytest.mark.parametrize("known", [True, False], ids=["with signature", "without"])
@pytest.mark.parametrize(
    ("function", "result", "named"),
    [
        (one, 1.5, {"output-0": 1.5}),
        (several, (ROWS, "a"), {"output-0": ROWS, "output-1": "a"}),
        (
            scored,
            Scores("a", ROWS),
            {"label": "a", "probabilities": ROWS, "note": "none"},
        ),
        (
            reported,
            {"score": 1.0, "rows": ROWS, "why": None},
            {"score": 1.0, "rows": ROWS, "why": None},
        ),
        (mapped, {"only": ROWS}, {"only": ROWS}),
        (listed, [ROWS, ROWS[:1]], {"output-0": ROWS, "output-1": ROWS[:1]}),
        (listed, [ROWS], {"output-0": ROWS}),
        (framed, FRAME, {"output-0": FRAME}),
        (free, {"a": 1}, {"output-0": {"a": 1}}),
        (free, (1, "a"), {"output-0": 1, "output-1": "a"}),
        (free, ROWS, {"output-0": ROWS}),
    ],
)
def test_results_by_name_have_the_names_of_the_outputs(
    function: Any, result: Any, named: dict[str, Any], known: bool
) -> None:
    signature = Signature.of(function)
    tensors, content_type = encode_results(signature, result, tagged=True)
    reader = signature if known else None
    value = decode_results(reader, tensors, content_type)
    found = results_by_name(reader, tensors, content_type, value)
    if not known and function is one:
        found["output-0"] = float(found["output-0"])  # an array of one number
    assert same(found, named)


@pytest.mark.parametrize("parts", [[], [ROWS], [ROWS, ROWS[:1], ROWS[0]]], ids=len)
@ways
def test_a_list_of_arrays_comes_back_as_a_list(way: Any, parts: list[Any]) -> None:
    signature = Signature.of(listed)
    tensors, content_type = encode_results(signature, parts)
    assert same(decode_results(signature, way(tensors), content_type), parts)
    if parts:
        assert same(decode_results(None, way(tensors), content_type), parts)
