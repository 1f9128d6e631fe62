"""Tables in files: CSV, npy and parquet."""

from __future__ import annotations

import io
import os
import re
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
import pandas

from tempo_runtime.errors import PayloadError

ENDINGS = (".csv", ".npy", ".parquet")
_INTEGER = re.compile(r"\s*[-+]?[0-9]+\s*")
_NUMBER = re.compile(  # an empty cell is a number that is missing
    r"(?i:\s*([-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|[-+]?inf(inity)?|nan)?\s*)"
)
_TRUTH = {"True": True, "False": False, "true": True, "false": False}


def read(path: str, header: bool | None = None) -> Any:
    """Reads a table.

    Args:
        path: File that ends with .csv, .npy or .parquet.
        header: Whether the first line of a CSV is names. None: it is, unless it is numbers only.

    Returns:
        An array from .npy, otherwise a DataFrame.

    Raises:
        PayloadError: If it cannot be read, or it is open what its first line is.
    """
    ending = os.path.splitext(path)[1].lower()
    try:
        if ending == ".npy":
            return np.load(path, allow_pickle=False)
        if ending == ".parquet":
            parquet(path)
            return pandas.read_parquet(path)
        texts = pandas.read_csv(
            path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (OSError, ValueError, EOFError, ImportError) as error:
        raise PayloadError(f"{path} cannot be read: {error}") from error
    if _has_header(path, list(texts.iloc[0]), header):
        names = [name.strip() for name in texts.iloc[0]]
        texts = texts.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)
    return texts.apply(_typed) if len(texts) else texts


def dump(path: str, table: pandas.DataFrame) -> bytes:
    """What a .csv or .parquet file of a DataFrame holds, so that `read` gives it back.

    Raises:
        PayloadError: If it cannot be written so.
    """
    if not path.lower().endswith(".parquet"):
        return str(table.to_csv(index=False)).encode()
    parquet(path)
    try:
        return bytes(table.to_parquet(index=False))
    except (ValueError, TypeError, ImportError) as error:
        raise PayloadError(f"{path} cannot be written: {error}") from error


def npy(array: np.ndarray[Any, Any]) -> bytes:
    """What a .npy file of an array holds.

    Raises:
        PayloadError: If it holds Python's objects.
    """
    content = io.BytesIO()
    try:
        np.save(content, array, allow_pickle=False)
    except ValueError as error:
        raise PayloadError(f"the array cannot be written as .npy: {error}; use .json") from error
    return content.getvalue()


def parquet(path: str) -> None:
    """Refuses a .parquet file where nothing can read or write it.

    Raises:
        PayloadError: With what to install.
    """
    for package in ("pyarrow", "fastparquet"):
        with suppress(ImportError):
            import_module(package)
            return
    raise PayloadError(f"{path}: parquet takes a package that is not here: pip install pyarrow")


def as_array(table: pandas.DataFrame) -> np.ndarray[Any, Any]:
    """A DataFrame as the array of its rows.

    Raises:
        PayloadError: If its columns are not of one kind, as an array's are.
    """
    kinds = {_kind(column): name for name, column in table.items()}
    if len(kinds) > 1:
        shown = ", ".join(f"column {str(name)!r} is {kind}" for kind, name in kinds.items())
        raise PayloadError(f"the table is no array: {shown}; send columns of one kind")
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
            f"the first line of {path} is {','.join(first)[:40]}: names, as pandas writes them, or a "
            "row? Say --header or --no-header"
        )
    return False


def _typed(texts: pandas.Series[str]) -> pandas.Series[Any]:
    """A column as the numbers or truth values that all its texts are, and else as text."""
    if texts.isin(list(_TRUTH)).all():
        return texts.map(_TRUTH).astype(bool)
    if texts.str.fullmatch(_INTEGER).all():
        numbers = [int(text) for text in texts]
        for dtype in (np.int64, np.uint64):
            with suppress(OverflowError):
                return pandas.Series(np.array(numbers, dtype), name=texts.name)
    if texts.str.fullmatch(_NUMBER).all():
        return texts.str.strip().replace("", "nan").astype(np.float64)
    return texts
