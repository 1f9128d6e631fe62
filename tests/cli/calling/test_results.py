"""Results of calls, as text and in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tempo_runtime import PayloadError
from tempo_runtime.cli.calling import results

ROWS = np.array([[1, 2], [3, 4]])


@given(npst.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(2))), st.integers(1, 7))
def test_results_of_parts_are_the_result_of_all(array: np.ndarray, size: int) -> None:
    parts = [array[start : start + size] for start in range(0, len(array), size)]
    np.testing.assert_array_equal(results.joined(parts), array)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([["a"], ["b", "c"]], ["a", "b", "c"]),
        ([{"y": ROWS}, {"y": ROWS}], {"y": np.concatenate([ROWS, ROWS])}),
        ([(ROWS, ["a"]), (ROWS, ["b"])], (np.concatenate([ROWS, ROWS]), ["a", "b"])),
        ([{"a": 1}, {"b": 1}], [{"a": 1}, {"b": 1}]),
        ([ROWS, ROWS[:, :1]], [ROWS, ROWS[:, :1]]),
        (["one", "two"], ["one", "two"]),
        ([np.array(1), np.array(2)], [np.array(1), np.array(2)]),
    ],
)
def test_parts_of_each_kind_are_joined(parts: list[Any], expected: Any) -> None:
    assert results.plain(results.joined(parts)) == results.plain(expected)


def test_dataframes_are_joined_row_by_row() -> None:
    frame = pd.DataFrame({"n": [1, 2]})
    assert results.joined([frame, frame])["n"].tolist() == [1, 2, 1, 2]


@given(st.recursive(st.none() | st.floats() | st.text(), st.lists))
def test_text_is_json(value: Any) -> None:
    assert json.loads(results.text(value), parse_constant=pytest.fail) == results.plain(value)


def test_text_has_a_line_for_each_row_that_is_long() -> None:
    text = results.text({"rows": np.arange(60).reshape(3, 20), "n": 3})
    assert text.splitlines()[1] == '  "rows": ['
    assert text.splitlines()[2].startswith("    [0, 1, 2,")
    assert len(text.splitlines()) == 8


def test_values_without_a_json_form_are_written_as_in_v2() -> None:
    assert results.text(np.array([np.nan, np.inf, 1.0])) == '[null, "Infinity", 1.0]'
    assert results.text(b"\xff") == '"/w=="'
    assert results.text(pd.DataFrame({"n": [1], "t": ["a"]})) == '[{"n": 1, "t": "a"}]'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ROWS, "output-0,output-1\n1,2\n3,4\n"),
        (np.array([1.5, 2.0]), "output\n1.5\n2.0\n"),
        (["a", "b"], "output\na\nb\n"),
        ({"y": np.array([1, 2]), "p": ROWS}, "y,p-0,p-1\n1,1,2\n2,3,4\n"),
        ((np.array([1, 2]), ["a", "b"]), "output-0,output-1\n1,a\n2,b\n"),
        (pd.DataFrame({"n": [1]}), "n\n1\n"),
    ],
)
def test_a_result_with_rows_is_written_as_csv(value: Any, expected: str, tmp_path: Path) -> None:
    results.write(str(tmp_path / "out.csv"), value)
    assert (tmp_path / "out.csv").read_text() == expected


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("out.csv", {"total": 6.0}, "a dict, not a table; use .json"),
        ("out.csv", {"y": np.array([1]), "z": np.array([1, 2])}, "not a table"),
        ("out.csv", np.zeros((1, 1, 1)), "ndarray of shape"),
        ("out.npy", ["a"], "a list, but .npy holds an array"),
        ("out.npy", np.array([None]), "use .json"),
    ],
)
def test_a_result_that_a_file_cannot_hold_is_refused_and_the_old_file_stays(
    name: str, value: Any, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(PayloadError, match=told):
        results.write(str(tmp_path / name), value)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "old")]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("out.txt", "must end with one of .json, .csv, .npy"),
        ("no/such/out.csv", "there is no folder no/such"),
    ],
)
def test_a_file_that_could_never_be_written_is_refused_first(path: str, told: str) -> None:
    with pytest.raises(PayloadError, match=told):
        results.check(path)
