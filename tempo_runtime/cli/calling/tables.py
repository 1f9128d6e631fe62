"""Read and write tables in files: CSV, npy and parquet."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
import pandas

from tempo_runtime.errors import PayloadError

ENDINGS = (".csv", ".npy", ".parquet")
_INTEGER = re.compile(r"\s*[-+]?[0-9]+\s*")
_NUMBER = re.compile(  # an empty cell is a missing number
    r"(?i:\s*([-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|[-+]?inf(inity)?|nan)?\s*)"
)
_TRUTH = {"True": True, "False": False, "true": True, "false": False}


# Types that --dtype accepts for a column of a DataFrame, and pandas' names for them.
DTYPES: dict[str, str] = {
    "str": "object",
    "int": "int64",
    "float": "float64",
    "datetime": "datetime64[ns]",
    **{name: name for name in ("bool", "category", "string", "boolean", "Int64", "Float64")},
    **{name: name for name in ("int8", "int16", "int32", "int64", "float32", "float64")},
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64")},
}
# Text that is certainly a number: a leading zero or plus suggests a code, and "Nan" is a name.
_PLAIN_INTEGER = re.compile(r"\s*-?(0|[1-9][0-9]*)\s*")
_PLAIN_NUMBER = re.compile(
    r"\s*(-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|nan|NaN|-?(inf|Infinity))?\s*"
)
_CELL = re.compile(r'(?:"((?:[^"]|"")*)"([^,\r\n]*)|([^,\r\n]*))(,|\r\n|\n|\r|\Z)')


class _Quoted(str):
    """A cell in quotation marks, which is text."""


def read(
    path: str,
    header: bool | None = None,
    *,
    as_text: bool = False,
    as_numbers: bool = False,
    dtypes: Mapping[str, str] | None = None,
) -> Any:
    """Read a table.

    In a CSV, a cell in quotation marks is text. A column holds numbers or booleans only if all of its
    cells are written that way: 02134, +49 and Nan are text.

    Args:
        path: A file that ends with .csv, .npy or .parquet.
        header: Whether the first line of a CSV has column names. None: unless it is all numbers.
        as_text: Whether to keep each cell of a CSV as text.
        as_numbers: Whether to read the cells of a CSV as numbers wherever possible.
        dtypes: Names of columns, and the one of `DTYPES` that each has.

    Returns:
        An array from .npy, otherwise a DataFrame.

    Raises:
        PayloadError: If it cannot be read, or it is not clear whether its first line is a header.
    """
    ending = os.path.splitext(path)[1].lower()
    try:
        if ending == ".npy":
            return np.load(path, allow_pickle=False)
        if ending == ".parquet":
            parquet(path)
            return typed(pandas.read_parquet(path), dtypes or {})
        with open(path, encoding="utf-8-sig", newline="") as file:
            content = file.read()
        texts = _quoted(content) if '"' in content else _unquoted(content)
    except (OSError, ValueError, EOFError, ImportError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PayloadError(f"{path} cannot be read: {reason}") from error
    if _has_header(path, list(texts.iloc[0]), header):
        names = [str(name).strip() for name in texts.iloc[0]]
        texts = texts.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)
    requested = dict(dtypes or {})
    for name in requested:
        _check_requested(name, requested[name], texts)
    columns = [
        _converted(column, requested[str(name)])
        if str(name) in requested
        else _texts(column)
        if as_text or not len(texts)
        else _typed(column, lenient=as_numbers)
        for name, column in texts.items()
    ]
    table = pandas.concat(columns, axis=1) if columns else texts
    return table.set_axis(texts.columns, axis=1)


def typed(table: Any, dtypes: Mapping[str, str]) -> Any:
    """Convert columns of a DataFrame to the requested dtypes.

    Raises:
        PayloadError: If there is no such column or dtype, or a value cannot be converted.
    """
    converted = table.copy() if dtypes else table
    for name, dtype in dtypes.items():
        _check_requested(name, dtype, table)
        try:
            if dtype == "str":
                converted[name] = table[name].astype(str).where(table[name].notna(), None)
            else:
                converted[name] = table[name].astype(DTYPES[dtype])
        except (ValueError, TypeError, OverflowError) as error:
            raise PayloadError(f"column {name!r} is not {dtype}: {error}") from error
    return converted


def _check_requested(name: str, dtype: str, table: pandas.DataFrame) -> None:
    known = [str(column) for column in table.columns]
    if known.count(name) != 1:
        many = "more than one column is named" if name in known else "there is no column"
        raise PayloadError(f"{many} {name!r}; the table has {', '.join(known)}")
    if dtype not in DTYPES:
        raise PayloadError(
            f"column {name!r}: {dtype!r} is not a dtype; use one of {', '.join(DTYPES)}"
        )


def _unquoted(content: str) -> Any:
    return pandas.read_csv(io.StringIO(content), header=None, dtype=str, keep_default_na=False)


def _quoted(content: str) -> Any:
    """Read the cells of a CSV, and mark those in quotation marks."""
    rows: list[list[str]] = [[]]
    position = 0
    while position < len(content):
        match = _CELL.match(content, position)
        if match is None or (match[3] is not None and match[3].startswith('"')):
            raise ValueError(f"line {len(rows)}: a quotation mark is not closed")
        quoted, rest, plain, end = match.groups()
        rows[-1].append(plain if quoted is None else _Quoted(quoted.replace('""', '"') + rest))
        position = match.end()
        if end != ",":
            rows.append([])
        elif position == len(content):
            rows[-1].append("")
    rows = [row for row in rows if row and (len(row) > 1 or row[0] or type(row[0]) is _Quoted)]
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        wrong = next(i for i, row in enumerate(rows) if len(row) != len(rows[0]))
        raise ValueError(
            f"line {wrong + 1} has {len(rows[wrong])} cells, but the first has {len(rows[0])}"
        )
    if not rows:
        raise ValueError("it is empty")
    return pandas.DataFrame(rows, dtype=object)


def dump(path: str, table: pandas.DataFrame) -> bytes:
    """Return the content of a .csv or .parquet file from which `read` gets this DataFrame back.

    Raises:
        PayloadError: If it cannot be written in that format.
    """
    if not path.lower().endswith(".parquet"):
        misread = any(
            column.dtype == object
            and len(column)
            and _typed(column.map(lambda cell: "" if pandas.isna(cell) else str(cell))).dtype
            != object
            for column in (table.iloc[:, position] for position in range(table.shape[1]))
        )
        quoting: Any = csv.QUOTE_NONNUMERIC if misread else csv.QUOTE_MINIMAL
        return str(table.to_csv(index=False, quoting=quoting)).encode()
    parquet(path)
    try:
        return bytes(table.to_parquet())
    except (ValueError, TypeError, ImportError) as error:
        raise PayloadError(f"{path} cannot be written: {error}") from error


def npy(array: np.ndarray[Any, Any]) -> bytes:
    """Return the content of a .npy file that holds an array.

    Raises:
        PayloadError: If the array holds Python objects.
    """
    content = io.BytesIO()
    try:
        np.save(content, array, allow_pickle=False)
    except ValueError as error:
        raise PayloadError(f"the array cannot be written as .npy: {error}; use .json") from error
    return content.getvalue()


def parquet(path: str) -> None:
    """Refuse a .parquet file if no package for it is installed.

    Raises:
        PayloadError: The message says what to install.
    """
    for package in ("pyarrow", "fastparquet"):
        with suppress(ImportError):
            import_module(package)
            return
    raise PayloadError(
        f"{path}: parquet needs a package that is not installed: pip install pyarrow"
    )


def as_array(table: pandas.DataFrame) -> np.ndarray[Any, Any]:
    """Convert a DataFrame to an array.

    Raises:
        PayloadError: If its columns are not all of one kind.
    """
    kinds = {_kind(column): name for name, column in table.items()}
    if len(kinds) > 1:
        shown = ", ".join(f"column {str(name)!r} is {kind}" for kind, name in kinds.items())
        raise PayloadError(f"the table is not an array: {shown}; send columns of one kind")
    if "text" in kinds:
        return table.to_numpy(dtype=str)
    return table.to_numpy()


def _kind(column: pandas.Series[Any]) -> str:
    kinds = {"b": "true or false", "i": "numbers", "u": "numbers", "f": "numbers"}
    return kinds.get(column.dtype.kind, "text")


def _has_header(path: str, first: list[str], header: bool | None) -> bool:
    if header is not None:
        return header
    if not all(_NUMBER.fullmatch(text) for text in first):
        return True
    if first == [str(position) for position in range(len(first))]:
        raise PayloadError(
            f"the first line of {path} is {','.join(first)[:40]}: column names, as pandas writes them, "
            "or a row? Use --header or --no-header"
        )
    return False


def _texts(cells: pandas.Series[str]) -> pandas.Series[Any]:
    return cells.map(str).astype(object)


def _typed(cells: pandas.Series[str], *, lenient: bool = False) -> pandas.Series[Any]:
    """Convert a column to numbers or booleans if all cells allow it, else to text."""
    # An empty cell decides nothing, with or without quotation marks.
    quoted = any(type(cell) is _Quoted and cell for cell in cells)
    texts = _texts(cells)
    if quoted and not lenient:
        return texts
    if texts.isin(list(_TRUTH)).all():
        return texts.map(_TRUTH).astype(bool)
    integer, number = (_INTEGER, _NUMBER) if lenient else (_PLAIN_INTEGER, _PLAIN_NUMBER)
    integers = texts.str.fullmatch(integer)
    if integers.all():
        numbers = [int(text) for text in texts]
        for dtype in (np.int64, np.uint64):
            with suppress(OverflowError):
                return pandas.Series(np.array(numbers, dtype), name=texts.name)
    if not texts.str.fullmatch(number).all():
        return texts
    floats = texts.str.strip().replace("", "nan").astype(np.float64)
    if not lenient and any(
        int(text) != parsed for text, parsed in zip(texts[integers], floats[integers])
    ):
        return texts  # digits would be lost
    return floats


def _converted(cells: Any, dtype: str) -> Any:
    """Convert a column to the dtype that `--dtype` requests."""
    texts: Any = _texts(cells)
    if dtype == "str":
        return texts
    known: Any = DTYPES[dtype]
    present = texts.where(texts != "", None)
    try:
        if dtype in ("bool", "boolean"):
            wrong = present[~present.isin([*_TRUTH, *([None] if dtype == "boolean" else [])])]
            if len(wrong):
                raise ValueError(f"{wrong.iloc[0]!r} is neither true nor false")
            return present.map(_TRUTH).astype(known)
        if dtype in ("category", "string"):
            return present.astype(known)
        if dtype == "datetime":
            return pandas.to_datetime(present, format="ISO8601").astype(known)
        if "int" in dtype.lower():
            whole = [None if dtype == "Int64" and not text else int(text) for text in texts]
            limits = np.iinfo(known.lower())
            over = [n for n in whole if n is not None and not limits.min <= n <= limits.max]
            if over:
                raise ValueError(f"{over[0]} is out of range")
            return pandas.Series(whole, dtype=known, name=texts.name)
        return texts.str.strip().replace("", "nan").astype(np.float64).astype(known)
    except (ValueError, TypeError, OverflowError) as error:
        raise PayloadError(f"column {str(texts.name)!r} is not {dtype}: {error}") from error
