"""Show the results of calls, and write them to files."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas
from pydantic_core import to_jsonable_python

from tempo_runtime._util import atomic_files
from tempo_runtime.cli.calling import tables
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.signature import OUTPUT_PREFIX, Kind
from tempo_runtime.protocol.tensor import plain_numbers

ENDINGS = (".json", *tables.ENDINGS)
_WIDTH = 100


def joined(results: Sequence[Any]) -> Any:
    """Join the results of calls on parts of the rows into the result for all rows.

    Arrays, DataFrames and lists are joined, also as parts of a dict or tuple; other results are returned
    as a list.
    """
    first = results[0]
    if len(results) == 1:
        return first
    if all(isinstance(result, np.ndarray) and result.ndim for result in results):
        if len({result.shape[1:] for result in results}) == 1:
            return np.concatenate(results)
    elif all(codec.kind_of(result) is Kind.FRAME for result in results):
        return pandas.concat(results, ignore_index=True)
    elif all(isinstance(result, list) for result in results):
        return [element for result in results for element in result]
    elif all(isinstance(result, dict) and result.keys() == first.keys() for result in results):
        return {name: joined([result[name] for result in results]) for name in first}
    elif all(isinstance(result, tuple) and len(result) == len(first) for result in results):
        return tuple(joined(parts) for parts in zip(*results))
    return list(results)


def plain(value: Any) -> Any:
    """Convert a value to JSON's types: NaN is null, infinity a word, a DataFrame a list of rows."""
    if codec.kind_of(value) is Kind.FRAME:
        columns = {str(name): plain(column.tolist()) for name, column in value.items()}
        return [dict(zip(columns, row)) for row in zip(*columns.values())]
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.kind != "f":
            return plain(array.tolist())
        words = np.empty(array.size, object)
        words[:] = plain_numbers(array)
        return words.reshape(array.shape).tolist()
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return plain_numbers(np.array([value]))[0]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return to_jsonable_python(value, fallback=str)


def text(value: Any) -> str:
    """Format a value as readable JSON; a value too long for a line gets a line for each part."""
    return _text(plain(value), "")


def check(path: str) -> None:
    """Refuse a file that cannot be written, before there is a result to write.

    Raises:
        PayloadError: If its extension is unknown, or its folder does not exist.
    """
    folder = os.path.dirname(path) or "."
    if not path.lower().endswith(ENDINGS):
        raise PayloadError(f"{path} must end with one of {', '.join(ENDINGS)}")
    if not os.path.isdir(folder):
        raise PayloadError(
            f"{path} cannot be written: there is no folder {folder}; create it first"
        )
    if path.lower().endswith(".parquet"):
        tables.parquet(path)


def write(path: str, value: Any) -> None:
    """Write a value in the format of its file's extension, completely or not at all.

    Raises:
        PayloadError: If such a file cannot hold the value, or the file cannot be written.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending == ".json":
        content = f"{text(value)}\n".encode()
    elif ending == ".npy":
        content = tables.npy(_array(path, value))
    else:
        content = tables.dump(path, _table(path, value))
    try:
        atomic_files.write(os.path.dirname(os.path.abspath(path)), os.path.basename(path), content)
    except OSError as error:
        raise PayloadError(f"{path} cannot be written: {error.strerror}") from error


def _array(path: str, value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ndarray):
        return value
    raise PayloadError(
        f"{path}: the result is a {_named(value)}, but .npy holds an array; use .json"
    )


def _table(path: str, value: Any) -> pandas.DataFrame:
    """Convert a result that has rows to a DataFrame."""
    if isinstance(value, pandas.DataFrame):
        return value
    parts = value if isinstance(value, dict) else {"output": value}
    if isinstance(value, tuple):
        parts = {f"{OUTPUT_PREFIX}{position}": part for position, part in enumerate(value)}
    columns = [_columns(name, part) for name, part in parts.items()]
    lengths = {len(column) for part_columns in columns for column in part_columns.values()}
    if not all(columns) or len(lengths) != 1:
        raise PayloadError(f"{path}: the result is a {_named(value)}, not a table; use .json")
    table: pandas.DataFrame = pandas.DataFrame(
        {name: part_columns[name] for part_columns in columns for name in part_columns}
    )
    return table


def _columns(name: str, part: Any) -> dict[str, Any]:
    """Return a part of a result as columns; none if it cannot be columns."""
    if isinstance(part, list) and not any(isinstance(item, list | dict) for item in part):
        return {name: part}
    if isinstance(part, np.ndarray) and part.ndim == 2:
        return {f"{name}-{position}": column for position, column in enumerate(part.T)}
    return {name: part} if isinstance(part, np.ndarray) and part.ndim == 1 else {}


def _named(value: Any) -> str:
    shape = f" of shape {list(value.shape)}" if isinstance(value, np.ndarray) else ""
    return f"{type(value).__name__}{shape}"


def _text(value: Any, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    parts = value.values() if isinstance(value, dict) else value
    nested = isinstance(value, dict | list) and any(isinstance(part, dict | list) for part in parts)
    if len(indent) + len(line) <= _WIDTH or not (nested or isinstance(value, dict)):
        return line
    inner = f"{indent}  "
    if isinstance(value, dict):
        items = [f"{json.dumps(name, ensure_ascii=False)}: " for name in value]
        lines = [f"{inner}{name}{_text(part, inner)}" for name, part in zip(items, parts)]
    else:
        lines = [f"{inner}{_text(part, inner)}" for part in parts]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(lines) + f"\n{indent}{closing}"
