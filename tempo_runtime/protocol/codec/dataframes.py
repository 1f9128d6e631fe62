"""Convert DataFrames to tensors and back.

A DataFrame does not have a codec, because each of its columns is a tensor. A parameter of the first
tensor describes the parts that the tensors lack (dtypes, labels, the index): JSON text in the form that
pandas documents for Arrow and Parquet files. Other V2 servers read the columns without it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.codec.columns import (
    MOST_BARE_ROWS,
    decode_column,
    decode_index,
    decode_object,
    encode_column,
    encode_index,
    encode_object,
    read_alone,
)
from tempo_runtime.protocol.signature import OUTPUT_PREFIX, Kind
from tempo_runtime.protocol.tensor import BYTES, Tensor, refuse_twice, shown

FRAME = "pd"  # MLServer's content type for a request or response that is one DataFrame
PANDAS = "pandas"  # parameter of the first column: the description of the DataFrame
_CREATOR = {"library": "tempo_runtime"}
_TEXT_LABELS = {
    "name": None,
    "field_name": None,
    "pandas_type": "unicode",
    "numpy_type": "object",
    "metadata": {"encoding": "UTF-8"},
}


@dataclass(frozen=True)
class DescribedFrame:
    """The tensors of a DataFrame with its description.

    Attributes:
        argument: Name of the argument; None if the sender did not name it.
        tensors: The columns; for a DataFrame without columns, the tensor with the description.
        description: The description by the sender.
    """

    argument: str | None
    tensors: list[Tensor]
    description: dict[str, Any]


def encode_frame(
    frame: Any,
    argument: str | None = None,
    *,
    taken: Collection[str] = (),
    described: bool = True,
) -> list[Tensor]:
    """Encode a DataFrame as tensors, one for each column.

    Args:
        frame: The DataFrame.
        argument: Name of its argument.
        taken: Names that its tensors must not have, because other arguments have them.
        described: Whether the receiver reads descriptions. Otherwise the tensors are plain V2, and a
            column that would be misunderstood is refused.

    Raises:
        PayloadError: If a column, a label, the index or `attrs` cannot be sent.
    """
    _refuse_others(frame)
    labels = frame.columns
    names = [str(label) for label in labels]
    if described:
        names = _distinct(names, taken)
    tensors, columns = [], []
    for name, (label, column) in zip(names, frame.items()):
        dtype = column.dtype
        values = column.to_numpy() if isinstance(dtype, np.dtype) else column.array
        title = f"column {label!r}"
        tensor, description = encode_column(name, values, title, described=described)
        tensors.append(tensor)
        columns.append({"name": str(label), "field_name": name, **description})
    if not described:
        if not tensors:
            raise PayloadError(
                "the DataFrame has no columns, but the server reads only columns; add a column"
            )
        refuse_twice(names)
        return tensors
    if not tensors:
        if len(frame) > MOST_BARE_ROWS:
            raise PayloadError(
                f"the DataFrame has {len(frame)} rows but no columns; add a column, or drop the rows"
            )
        [name] = _distinct([argument or f"{OUTPUT_PREFIX}0"], taken)
        tensors = [Tensor(name, BYTES, [0], [], {"content_type": "str"})]
    text = _described(frame, columns, argument)
    tensors[0].parameters = {**tensors[0].parameters, PANDAS: text}
    return tensors


def decode_frame(tensors: list[Tensor], asked: Collection[str] = ()) -> Any:
    """Decode the DataFrame whose columns the tensors are.

    Args:
        tensors: All of the tensors.
        asked: Names of the tensors whose columns to return; if it is empty, all columns.

    Raises:
        PayloadError: If the tensors are not columns, or do not match their description.
    """
    refuse_twice([tensor.name for tensor in tensors])
    frames, rest = split(tensors)
    if not frames:
        return _of_columns(tensors)
    if len(frames) > 1 or rest:
        other = frames[1].tensors[0] if len(frames) > 1 else rest[0]
        raise PayloadError(
            f"tensor {other.name!r} is not one of the columns that the pandas metadata of "
            f"{frames[0].tensors[0].name!r} names"
        )
    whole = build(frames[0])
    wanted = [i for i, tensor in enumerate(frames[0].tensors) if tensor.name in asked]
    return whole.iloc[:, wanted] if wanted else whole


def split(tensors: Sequence[Tensor]) -> tuple[list[DescribedFrame], list[Tensor]]:
    """Split tensors into DataFrames with a description, and the rest.

    Raises:
        PayloadError: If a description is invalid, or a tensor that it names is missing.
    """
    if not any(PANDAS in tensor.parameters for tensor in tensors):
        return [], list(tensors)
    left = {tensor.name: tensor for tensor in tensors}
    frames = []
    for first in tensors:
        if PANDAS not in first.parameters:
            continue
        description = _parsed(first)
        fields = [column["field_name"] for column in description["columns"]] or [first.name]
        named = [left.pop(field, None) for field in fields]
        for field, tensor in zip(fields, named):
            if tensor is None:
                raise PayloadError(
                    f"column {field!r} is missing, which the pandas metadata of {first.name!r} names"
                )
        argument = description.get("argument")
        columns = [tensor for tensor in named if tensor is not None]
        frames.append(
            DescribedFrame(argument if isinstance(argument, str) else None, columns, description)
        )
    return frames, list(left.values())


def build(frame: DescribedFrame) -> Any:
    """Build a DataFrame from its tensors and description.

    Raises:
        PayloadError: If the tensors do not match the description.
    """
    import pandas

    description = frame.description
    columns = description["columns"]
    arrays = [
        decode_column(tensor, column, f"column {shown(column['name'])}")
        for tensor, column in zip(frame.tensors, columns)
    ]
    index = decode_index(description["index_columns"], "the index")
    for column, array in zip(columns, arrays):
        if len(array) != len(index):
            raise PayloadError(
                f"column {shown(column['name'])} has {len(array)} rows, but the index has {len(index)}; "
                "send the same number"
            )
    if not arrays and len(index) > MOST_BARE_ROWS:
        raise PayloadError(f"the index has {len(index)} rows, but there are no columns")
    labels: Any = description["column_indexes"]
    if labels == [_TEXT_LABELS]:
        labels = pandas.Index([column["name"] for column in columns], dtype=object)
    else:
        labels = decode_index(labels, "the index of columns")
    if len(labels) != len(columns):
        raise PayloadError(f"there are {len(columns)} columns, but {len(labels)} column labels")
    built = _frame(dict(enumerate(arrays)), index)
    built.columns = labels
    for array, (position, dtype) in zip(arrays, enumerate(built.dtypes)):
        if dtype != array.dtype:
            raise PayloadError(
                f"column {shown(columns[position]['name'])} is {array.dtype}, which pandas "
                f"{pandas.__version__} converts to {dtype}; convert it first"
            )
    try:
        if "attributes" in description:
            built.attrs = decode_object(description["attributes"])
        if description.get("unique") is True:
            built.flags.allows_duplicate_labels = False
    except Exception as error:
        raise PayloadError(f"the pandas metadata's attributes are not usable: {error}") from error
    return built


def _refuse_others(frame: Any) -> None:
    if codec.kind_of(frame) is Kind.FRAME:
        return
    name = type(frame).__name__
    if any(
        base.__name__ == "DataFrame" and base.__module__.startswith("pandas.")
        for base in type(frame).__mro__
    ):
        raise PayloadError(
            f"a {name} was given, but would arrive as a plain DataFrame; pass pandas.DataFrame(...) of "
            "it, and its other parts as separate values"
        )
    raise PayloadError(f"a DataFrame is expected, but a {name} was given")


def _distinct(names: list[str], taken: Collection[str]) -> list[str]:
    """Make names distinct: append a number to each duplicate."""
    if len(set(names)) == len(names) and not any(name in taken for name in names):
        return names
    used, known = set(taken), {*names, *taken}
    numbers: dict[str, Iterator[int]] = {}
    distinct = []
    for name in names:
        if name in used:
            count = numbers.setdefault(name, itertools.count(1))
            numbered = (f"{name}.{number}" for number in count)
            name = next(other for other in numbered if other not in known)
            known.add(name)
        used.add(name)
        distinct.append(name)
    return distinct


def _described(frame: Any, columns: list[dict[str, Any]], argument: str | None) -> str:
    import pandas

    description: dict[str, Any] = {
        "index_columns": encode_index(frame.index, "the index"),
        "column_indexes": _labels(frame.columns),
        "columns": columns,
        "creator": _CREATOR,
        "pandas_version": pandas.__version__,
    }
    if argument is not None:
        description["argument"] = argument
    if frame.attrs:
        description["attributes"] = encode_object(frame.attrs, "attrs of the DataFrame")
    if not frame.flags.allows_duplicate_labels:
        description["unique"] = True
    try:
        return orjson.dumps(description, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except (TypeError, ValueError) as error:
        raise PayloadError(f"the labels of the DataFrame cannot be written: {error}") from error


def _labels(labels: Any) -> list[dict[str, Any]]:
    import pandas

    plain = type(labels) is pandas.Index and labels.dtype == object and labels.name is None
    if plain and all(type(label) is str for label in labels):
        return [_TEXT_LABELS]
    return encode_index(labels, "the index of columns")


def _parsed(first: Tensor) -> dict[str, Any]:
    """Parse a description, and check the parts that identify the tensors."""
    try:
        description = orjson.loads(first.parameters[PANDAS])
        columns = description["columns"]
        whole = all(
            isinstance(column["field_name"], str) and isinstance(column["name"], str)
            for column in columns
        )
        whole = whole and isinstance(columns, list) and bool(description["index_columns"])
        whole = whole and isinstance(description["column_indexes"], list)
    except (ValueError, TypeError, KeyError) as error:
        raise PayloadError(
            f"tensor {first.name!r} has a parameter {PANDAS!r} that does not describe a DataFrame: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not whole:
        raise PayloadError(
            f"tensor {first.name!r} has a parameter {PANDAS!r} that does not describe a DataFrame"
        )
    parsed: dict[str, Any] = description
    return parsed


def _of_columns(tensors: list[Tensor]) -> Any:
    """Build a DataFrame from columns without a description."""
    import pandas

    columns = {tensor.name: read_alone(tensor) for tensor in tensors}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise PayloadError(
            f"the columns differ in length: {shown(lengths, 1000)}; send the same number of rows"
        )
    return _frame(columns, pandas.RangeIndex(next(iter(lengths.values()), 0)))


def _frame(columns: dict[Any, Any], index: Any) -> Any:
    """Build a DataFrame from arrays, without converting columns of objects.

    pandas converts an array of date objects to dates, but not a Series of them. Only these columns become
    Series, because they take more time. The arrays are copied, so that the result is not shared and can
    be modified.
    """
    import pandas

    kept = {
        label: pandas.Series(array, index, object, copy=False) if array.dtype == object else array
        for label, array in columns.items()
    }
    return pandas.DataFrame(kept, index=index)
