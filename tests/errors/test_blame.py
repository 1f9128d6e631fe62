"""Whose line an exception is blamed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tempo_runtime.execution.blame import author_line

FILE = __file__


def line_of(function: Callable[[], Any]) -> int:
    return function.__code__.co_firstlineno + 1  # type: ignore[attr-defined,no-any-return]


def pandas_column() -> Any:
    return pd.DataFrame({"a": [1]})["b"]


def numpy_index() -> Any:
    return np.zeros(3)[np.array([7])]


def numpy_function() -> Any:
    return np.concatenate([np.zeros((1, 2)), np.zeros((1, 3))])


def standard_library() -> Any:
    return __import__("json").loads("{")


def own_exception() -> Any:
    raise ValueError("mine")


CASES = [pandas_column, numpy_index, numpy_function, standard_library, own_exception]


def raised(function: Callable[[], Any]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError(f"{function} raised nothing")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_line_is_the_last_of_the_authors_and_never_a_librarys(case: Callable[[], Any]) -> None:
    assert author_line(raised(case)) == f"{FILE}:{line_of(case)}"


def test_library_that_wraps_what_a_callback_raised_is_looked_through() -> None:
    def library() -> None:
        exec(  # a library's frame: it has a file of its own among the installed ones
            compile(
                "try:\n    call()\nexcept Exception as error:\n    raise TypeError('wrapped') from error",
                np.__file__,
                "exec",
            ),
            {"call": pandas_column, "__file__": np.__file__},
        )

    assert author_line(raised(library)) == f"{FILE}:{line_of(pandas_column)}"


def test_authors_own_exception_from_another_is_blamed_where_it_was_raised() -> None:
    def own() -> None:
        try:
            pandas_column()
        except KeyError as error:
            raise LookupError("no such price") from error

    assert author_line(raised(own)) == f"{FILE}:{own.__code__.co_firstlineno + 4}"


def test_code_that_a_library_generates_is_not_the_authors() -> None:
    @dataclass
    class Row:
        price: float

        def __post_init__(self) -> None:
            raise ValueError("no price")

    line = author_line(raised(lambda: Row(1.0)))
    assert line is not None
    assert line.startswith(f"{FILE}:")


def test_exception_that_never_came_through_the_authors_code_has_no_line() -> None:
    error = raised(pandas_column)
    assert author_line(error.__cause__ or error) is None
