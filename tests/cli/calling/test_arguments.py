"""Files and JSON as the arguments of a call."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tempo_runtime import PayloadError
from tempo_runtime.cli.calling import arguments, results, tables
from tempo_runtime.cli.calling.arguments import Arguments
from tempo_runtime.protocol.codec import describe, spec_described
from tempo_runtime.protocol.messages import Request
from tempo_runtime.protocol.signature import Kind, Signature, TensorSpec
from tests.helpers import pipelines

ARRAY = Signature((TensorSpec("rows", Kind.ARRAY),))
SHAPES = npst.array_shapes(min_dims=2, max_dims=2, max_side=5)
NUMBERS = st.sampled_from((np.int64, np.uint64, np.float64, np.bool_)).flatmap(
    lambda dtype: npst.arrays(dtype, SHAPES)
)
# Quotation marks, commas and all; CSV cannot tell what looks like a number from one.
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=5).map(
    "w{}".format
)


def of(function: Callable[..., Any]) -> Signature:
    return Signature.of(function)


def read(signature: Signature | None = ARRAY, body: Any = None, **given: Any) -> dict[str, Any]:
    content = None if body is None else json.dumps(body).encode()
    found = arguments.read(signature, body=content, **given)
    assert isinstance(found, Arguments)
    return found.values


def written(folder: Path | str, name: str, content: str | bytes) -> str:
    path = Path(folder, name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def equal(one: np.ndarray, two: np.ndarray) -> bool:
    """Equal in values, shape and kind; NaN is NaN."""
    numbers = one.dtype.kind == "f"
    return one.dtype.kind == two.dtype.kind and np.array_equal(one, two, equal_nan=numbers)


@given(NUMBERS)
def test_numbers_come_back_from_npy(array: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/rows.npy"
        results.write(path, array)
        assert equal(read(file=path)["rows"], array)


@given(npst.arrays(np.float64, SHAPES))
def test_floats_come_back_from_json(array: np.ndarray) -> None:
    assert equal(np.asarray(read(body=results.plain(array))["rows"], float), array)


@given(npst.arrays(np.int64, SHAPES) | npst.arrays(np.bool_, SHAPES))
def test_whole_numbers_come_back_from_json(array: np.ndarray) -> None:
    assert equal(read(body=results.plain(array))["rows"], array)


@given(NUMBERS)
def test_numbers_come_back_from_csv(array: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/rows.csv"
        results.write(path, array)
        assert np.array_equal(read(file=path)["rows"], array, equal_nan=array.dtype.kind == "f")


@given(st.lists(st.tuples(WORDS, st.booleans(), st.integers(-9, 9), st.floats()), min_size=1))
def test_columns_of_each_kind_come_back_from_csv(rows: list[Any]) -> None:
    frame = pd.DataFrame(rows, columns=["text", "truth", "n", "x"])
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/rows.csv"
        results.write(path, frame)
        pd.testing.assert_frame_equal(tables.read(path), frame, rtol=0, atol=0)


def test_a_table_comes_back_from_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="parquet takes pyarrow", exc_type=ImportError)
    frame = pd.DataFrame({"n": [1, 2], "x": [0.5, np.nan], "text": ["a", "b"]})
    results.write(str(tmp_path / "rows.parquet"), frame)
    pd.testing.assert_frame_equal(tables.read(str(tmp_path / "rows.parquet")), frame)


def test_parquet_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PayloadError, match="pip install pyarrow"):
        read(file="rows.parquet")


@pytest.mark.parametrize(
    ("lines", "header", "expected"),
    [
        ("a,b\n1,2\n", None, [[1, 2]]),
        ("1,2\n3,4\n", None, [[1, 2], [3, 4]]),
        ("0,1\n3,4\n", True, [[3, 4]]),
        ("0,1\n3,4\n", False, [[0, 1], [3, 4]]),
        ("a, b\n1, 2.5\n", None, [[1, 2.5]]),
        ("a,b\n1,\n", None, [[1, np.nan]]),
        ("true\nfalse\n", False, [[True], [False]]),
        ("a\n1_000\n", None, [["1_000"]]),
        ("18446744073709551615,-1\n", None, [[18446744073709551615, -1.0]]),
    ],
)
def test_the_lines_of_a_csv_are_rows(
    tmp_path: Path, lines: str, header: bool | None, expected: list[Any]
) -> None:
    found = read(file=written(tmp_path, "rows.csv", lines), header=header)["rows"]
    assert equal(found, np.array(expected))


def test_a_first_line_that_could_be_a_header_or_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PayloadError, match="Use --header or --no-header"):
        read(file=written(tmp_path, "rows.csv", "0,1,2\n3,4,5\n"))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("rows.csv", "", "cannot be read: No columns"),
        ("rows.csv", "a,b\n1,2,3\n4,5\n6,7,8,9\n", "cannot be read"),
        ("rows.csv", "a,b\n1,x\n", "column 'a' is numbers, column 'b' is text"),
        ("rows.npy", "no array", "cannot be read"),
        ("rows.json", "[1,", "is not JSON"),
        ("rows.txt", "1", "does not end with a known extension"),
    ],
)
def test_a_file_that_does_not_hold_an_array_is_refused(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    with pytest.raises(PayloadError, match=told):
        read(file=written(tmp_path, name, content))


def test_numbers_get_the_dtype_of_the_signature(tmp_path: Path) -> None:
    def wants(rows: np.ndarray[Any, np.dtype[np.int64]], on: np.ndarray[Any, np.dtype[np.bool_]]):
        """Whole numbers, and truth values."""

    path = written(tmp_path, "rows.csv", "a\n1.0\n2.0\n")
    found = arguments.read(of(wants), file=path, args=["on=[0, 1]"], to="rows")
    assert isinstance(found, Arguments)
    assert [tensor.datatype for tensor in found.request().tensors] == ["INT64", "BOOL"]


def test_numbers_that_would_change_are_refused(tmp_path: Path) -> None:
    def wants(rows: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Whole numbers."""

    found = arguments.read(of(wants), file=written(tmp_path, "rows.csv", "a\n1.5\n"))
    assert isinstance(found, Arguments)
    with pytest.raises(PayloadError, match="'rows' must be int64"):
        found.request()


def test_a_table_becomes_the_only_argument_that_fits(tmp_path: Path) -> None:
    path = written(tmp_path, "rows.csv", "n,t\n1,a\n")
    found = read(pipelines.frames.signature, file=path, args=["factor=3"])
    assert found["factor"] == 3
    assert found["frame"].to_dict("list") == {"n": [1], "t": ["a"]}


def test_a_table_that_fits_several_arguments_is_refused(tmp_path: Path) -> None:
    def wants(one: np.ndarray, two: np.ndarray) -> None:
        """Two arrays."""

    path = written(tmp_path, "rows.csv", "n\n1\n")
    with pytest.raises(PayloadError, match="The arguments are one, two; use --input-name"):
        read(of(wants), file=path)
    assert list(read(of(wants), file=path, args=["one=[1]"])) == ["two", "one"]


def test_json_is_arguments_by_name() -> None:
    found = read(pipelines.bill.signature, {"orders": [{"item": "pen"}], "price": 3})
    assert found == {"orders": [pipelines.Order(item="pen")], "price": 3.0}


def test_rows_in_json_are_a_dataframe() -> None:
    found = read(pipelines.frames.signature, {"frame": [{"n": 1}, {"n": 2}]})
    assert found["frame"].to_dict("list") == {"n": [1, 2]}


def test_bare_json_becomes_the_only_array() -> None:
    assert equal(
        read(body=[[1, None], ["Infinity", 2]])["rows"], np.array([[1, np.nan], [np.inf, 2]])
    )


def test_a_v2_request_is_sent_as_it_stands() -> None:
    tensor = {"name": "rows", "shape": [2], "datatype": "INT64", "data": [1, 2]}
    found = arguments.read(ARRAY, body=json.dumps({"id": "7", "inputs": [tensor]}).encode())
    assert isinstance(found, Request)
    assert (found.id, found.tensors[0].data) == ("7", [1, 2])


def test_without_a_signature_lists_of_numbers_become_arrays(tmp_path: Path) -> None:
    assert equal(read(None, [[1, 2]])["input-0"], np.array([[1, 2]]))
    frame = read(None, file=written(tmp_path, "rows.csv", "n,t\n1,a\n"))["input-0"]
    assert isinstance(frame, pd.DataFrame)


@pytest.mark.parametrize(
    ("hint", "text", "expected"),
    [
        (str, "007", "007"),
        (str, '"007"', "007"),
        (int, "7", 7),
        (list[str], '["a"]', ["a"]),
        (dict, '{"a": 1}', {"a": 1}),
        (Any, "pen", "pen"),
        (Literal["a", "b"], '"a"', "a"),
    ],
)
def test_an_argument_gets_the_kind_of_its_signature(hint: Any, text: str, expected: Any) -> None:
    signature = Signature((TensorSpec.of("x", hint),))
    assert read(signature, args=[f"x={text}"]) == {"x": expected}


def test_an_argument_may_be_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, "rows.csv", "a\n1\n")
    assert equal(read(args=[f"rows=@{path}"])["rows"], np.array([[1]]))


@pytest.mark.parametrize(
    ("arg", "told"),
    [
        ("rows", "is neither NAME=JSON nor NAME=@FILE"),
        ("rows=[1,", "--arg rows is not JSON"),
        ("rows=@none.csv", "none.csv cannot be read"),
        ("rows=@none.json", "none.json cannot be read"),
    ],
)
def test_an_argument_that_cannot_be_read_is_named(arg: str, told: str) -> None:
    with pytest.raises(PayloadError, match=told):
        read(args=[arg])


@given(npst.arrays(np.int64, st.tuples(st.integers(0, 20), st.just(2))), st.integers(1, 25))
def test_parts_together_are_all_rows_in_order(array: np.ndarray, size: int) -> None:
    given = Arguments(ARRAY, {"rows": array, "labels": [1, 2]}, "rows")
    parts = list(given.parts(size))
    assert equal(np.concatenate([part.values["rows"] for _, part in parts]), array)
    assert [row for rows, _ in parts for row in rows] == list(range(len(array)))
    assert all(part.values["labels"] == [1, 2] for _, part in parts)


@pytest.mark.parametrize(
    "hint",
    [bool, int, float, str, list[str], bytes, list[bytes], dict, Any, pd.DataFrame, np.ndarray],
    ids=str,
)
def test_metadata_gives_the_kind_of_an_argument(hint: Any) -> None:
    spec = TensorSpec.of("x", hint, has_default=True)
    datatype, shape, parameters = describe(spec)
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "parameters": parameters}
    found = spec_described(tensor)
    assert (found.kind, found.required) == (spec.kind, False)


@given(st.sampled_from((np.int32, np.float32, np.bool_)), st.lists(st.integers(-1, 4), min_size=2))
def test_metadata_gives_the_dtype_of_an_array(dtype: Any, shape: list[int]) -> None:
    spec = TensorSpec("x", Kind.ARRAY, dtype=np.dtype(dtype), shape=tuple(shape))
    datatype, dimensions, parameters = describe(spec)
    tensor = {"name": "x", "datatype": datatype, "shape": dimensions, "parameters": parameters}
    found = spec_described(tensor)
    assert (found.dtype, found.shape) == (spec.dtype, spec.shape)


CODES = "zip,n\n02134,1\n10115,2\n"


@pytest.mark.parametrize(
    "lines", ["02134\n10115\n", "Nan\nInf\n", "True\nNA\n", "2134\n7\n", "nan\ninf\n", '"1"\n2\n']
)
@pytest.mark.parametrize(
    "hint",
    [list[str], list[str] | None, npt.NDArray[np.str_], npt.NDArray[np.object_], tuple[str, ...]],
)
def test_cells_for_an_argument_of_text_stay_text(tmp_path: Path, hint: Any, lines: str) -> None:
    signature = Signature((TensorSpec.of("x", hint),))
    found = read(signature, file=written(tmp_path, "rows.csv", "name\n" + lines))["x"]
    expected = lines.replace('"', "").split()
    assert np.asarray(found).ravel().tolist() == expected


def test_an_empty_cell_for_a_list_of_text_is_empty_text(tmp_path: Path) -> None:
    signature = Signature((TensorSpec.of("x", list[str]),))
    assert read(signature, file=written(tmp_path, "rows.csv", 'name\na\n""\n')) == {"x": ["a", ""]}


@pytest.mark.parametrize("hint", [npt.NDArray[np.int64], npt.NDArray[np.float64]])
def test_cells_for_an_argument_of_numbers_are_numbers(tmp_path: Path, hint: Any) -> None:
    signature = Signature((TensorSpec.of("x", hint),))
    found = read(signature, file=written(tmp_path, "rows.csv", 'n\n02134\n"7"\n+5\n'))["x"]
    assert found.ravel().tolist() == [2134, 7, 5]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("02134\n10115\n", ["02134", "10115"]),
        ('"1"\n"2"\n', ["1", "2"]),
        ('1\n"2"\n', ["1", "2"]),
        ("Nan\nInf\nTrue\n", ["Nan", "Inf", "True"]),
        ("Nan\nInf\n", ["Nan", "Inf"]),
        ("+4930\n1\n", ["+4930", "1"]),
        ("123456789012345678901\n1\n", ["123456789012345678901", "1"]),
        ("9007199254740993\n0.5\n", ["9007199254740993", "0.5"]),
        ("NA\nDE\n", ["NA", "DE"]),
        ('"a ""b"", c\nd"\ne\n', ['a "b", c\nd', "e"]),
        ("1\n-2\n", [1, -2]),
        ("1.5\n1e3\n", [1.5, 1000.0]),
        ('"true"\ntrue\n', ["true", "true"]),
        ("true\nFalse\n", [True, False]),
    ],
)
def test_a_column_of_a_dataframe_is_numbers_only_where_nothing_is_lost(
    tmp_path: Path, lines: str, expected: list[Any]
) -> None:
    signature = Signature((TensorSpec.of("x", pd.DataFrame),))
    found = read(signature, file=written(tmp_path, "rows.csv", "c\n" + lines))["x"]
    assert found["c"].tolist() == expected


def test_text_that_looks_like_numbers_comes_back_from_csv(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"zip": ["2134", "7"], "n": [1, 2], "x": [0.5, np.nan], "yes": [True, False]}
    )
    results.write(str(tmp_path / "rows.csv"), frame)
    pd.testing.assert_frame_equal(tables.read(str(tmp_path / "rows.csv")), frame)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("str", ["02134", "10115"]),
        ("int", [2134, 10115]),
        ("float64", [2134.0, 10115.0]),
        ("Int64", [2134, 10115]),
        ("category", ["02134", "10115"]),
    ],
)
def test_a_column_gets_the_requested_dtype(tmp_path: Path, dtype: str, expected: list[Any]) -> None:
    signature = Signature((TensorSpec.of("x", pd.DataFrame),))
    path = written(tmp_path, "rows.csv", CODES)
    found = arguments.read(signature, file=path, dtypes={"zip": dtype})
    assert isinstance(found, Arguments)
    assert found.values["x"]["zip"].tolist() == expected
    assert found.values["x"]["n"].tolist() == [1, 2]


def test_rows_in_json_get_the_requested_dtype() -> None:
    signature = Signature((TensorSpec.of("x", pd.DataFrame),))
    found = arguments.read(signature, body=b'[{"n": 1}, {"n": 2}]', dtypes={"n": "str"})
    assert isinstance(found, Arguments)
    assert found.values["x"]["n"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("dtypes", "match"),
    [
        ({"zap": "str"}, "there is no column 'zap'; the table has zip, n"),
        ({"zip": "text"}, "'text' is not a dtype; use one of str, int"),
        ({"zip": "bool"}, "column 'zip' is not bool: '02134' is neither true nor false"),
        ({"zip": "int8"}, "column 'zip' is not int8: 2134 is out of range"),
    ],
)
def test_a_dtype_that_a_column_does_not_have_is_refused(
    tmp_path: Path, dtypes: dict[str, str], match: str
) -> None:
    signature = Signature((TensorSpec.of("x", pd.DataFrame),))
    with pytest.raises(PayloadError, match=match):
        arguments.read(signature, file=written(tmp_path, "rows.csv", CODES), dtypes=dtypes)


@pytest.mark.parametrize("lines", ['a,b\n"1,2\n', 'a,b\n"1"\n'])
def test_a_csv_that_is_not_a_table_is_refused(tmp_path: Path, lines: str) -> None:
    with pytest.raises(PayloadError, match="cannot be read: line"):
        tables.read(written(tmp_path, "rows.csv", lines))
