"""Read the arguments of a call from the command line: JSON, files, and values by name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tempo_runtime.cli.calling import tables
from tempo_runtime.clients.child import rows_of
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.binding import encode_arguments
from tempo_runtime.protocol.codec.dataframes import FRAME
from tempo_runtime.protocol.messages import Request, request_from_json
from tempo_runtime.protocol.signature import Kind, Signature, TensorSpec
from tempo_runtime.protocol.tensor import Tensor

# Kinds whose values may be given as text without JSON's quotation marks.
_TEXTS = (Kind.STRING, Kind.BYTES, Kind.DATETIME, Kind.ANY)
_TABLES = (Kind.ARRAY, Kind.FRAME)
_LISTS_OF_TEXT = (Kind.STRINGS, Kind.BYTES_LIST, Kind.DATETIMES)
_UNNAMED = "input-0"
_WORDS = ("NaN", "Infinity", "-Infinity")


@dataclass
class Arguments:
    """The arguments of one call, or of several calls that differ only in their rows.

    Attributes:
        signature: Signature of the target; None if it is unknown.
        values: The arguments by name.
        rows: Name of the argument that has rows; None if no argument has any.
    """

    signature: Signature | None
    values: dict[str, Any]
    rows: str | None = None

    def __len__(self) -> int:
        return rows_of(self.values.get(self.rows or ""))

    def only(self, start: int, stop: int) -> Arguments:
        """Return the same arguments with only these rows."""
        if self.rows is None or (start, stop) == (0, len(self)):
            return self
        value = self.values[self.rows]
        selected = value.iloc[start:stop] if hasattr(value, "iloc") else value[start:stop]
        return replace(self, values={**self.values, self.rows: selected})

    def parts(self, size: int) -> Iterator[tuple[range, Arguments]]:
        """Yield the arguments in parts of `size` rows, each with the numbers of its rows.

        Raises:
            PayloadError: If it is not clear which argument has the rows.
        """
        if self.rows is None:
            raise PayloadError(
                "exactly one argument must have rows to be sent in batches; give that argument as INPUT"
            )
        for start in range(0, max(1, len(self)), size):
            rows = range(start, min(start + size, len(self)))
            yield rows, self.only(rows.start, rows.stop)

    def request(self, *, tagged: bool = False) -> Request:
        """Build the request of one call with all arguments; `tagged` is that of `encode_arguments`.

        Raises:
            PayloadError: If the arguments do not fit the signature.
        """
        tensors = encode_arguments(self.signature, (), self.values, tagged=tagged)
        frame = [codec.kind_of(value) for value in self.values.values()] == [Kind.FRAME]
        return Request(tensors, parameters={"content_type": FRAME} if frame else {})


def read(
    signature: Signature | None,
    *,
    body: bytes | None = None,
    file: str | None = None,
    args: Sequence[str] = (),
    to: str | None = None,
    header: bool | None = None,
    dtypes: Mapping[str, str] | None = None,
) -> Arguments | Request:
    """Read the arguments of a call.

    Args:
        signature: Signature of the target; None if it is unknown.
        body: JSON: a V2 request, an object of arguments by name, or the value of the only array.
        file: A file with such JSON, or with a table: .csv, .npy, .parquet.
        args: Arguments as `NAME=JSON` or `NAME=@FILE`.
        to: Name of the argument whose value is a table or bare JSON; None if only one can be.
        header: See `tables.read`.
        dtypes: See `tables.read`; for the columns of a DataFrame.

    Returns:
        The arguments, or the request if the JSON is one.

    Raises:
        PayloadError: If something cannot be read, or is not an argument.
    """
    dtypes_by_column = dtypes or {}
    values = dict(_named(signature, text, header, dtypes_by_column) for text in args)
    if file is not None and not file.lower().endswith(".json"):
        name = to or _one_with_rows(signature, file, set(values))
        return _with(
            signature, values, {name: _file(_spec(signature, name), file, header, dtypes_by_column)}
        )
    source = file or "standard input"
    if file is not None:
        body = _bytes(file)
    if body is None or not body.strip():
        return Arguments(signature, values, _argument_with_rows(signature, values))
    content = _json(body, source)
    if _is_request(content):
        if values:
            raise PayloadError(
                f"{source} is a complete V2 request; leave out --arg, or put it into the request"
            )
        return request_from_json(body)
    if to is not None or not isinstance(content, dict):
        content = {to or _one_with_rows(signature, source, set(values)): content}
    given = {
        name: _value(_spec(signature, name), part, dtypes_by_column)
        for name, part in content.items()
    }
    return _with(signature, values, given)


def _with(
    signature: Signature | None, values: Mapping[str, Any], given: Mapping[str, Any]
) -> Arguments:
    for name in values.keys() & given.keys():
        raise PayloadError(f"{name!r} is given twice, by --arg and by the input; leave one out")
    rows = next(iter(given)) if len(given) == 1 else _argument_with_rows(signature, given)
    return Arguments(signature, {**given, **values}, rows)


def _argument_with_rows(signature: Signature | None, values: Mapping[str, Any]) -> str | None:
    """Return the name of the only argument that has rows; None if there is not exactly one."""
    kinds = {}
    for name, value in values.items():
        spec = _spec(signature, name)
        kinds[name] = codec.kind_of(value) if spec is None else spec.kind
    with_rows = [name for name, kind in kinds.items() if kind in _TABLES]
    return with_rows[0] if len(with_rows) == 1 else None


def _one_with_rows(signature: Signature | None, source: str, given: set[str]) -> str:
    if signature is None:
        return _UNNAMED
    specs = [spec for spec in signature.inputs if spec.name not in given]
    for wanted in (
        [spec for spec in specs if spec.kind in _TABLES and spec.required],
        [spec for spec in specs if spec.kind in _TABLES],
        [spec for spec in specs if spec.required],
        specs,
    ):
        if len(wanted) == 1:
            return wanted[0].name
        if wanted:
            break
    names = ", ".join(spec.name for spec in specs) or "none"
    raise PayloadError(
        f"which argument is {source}? The arguments are {names}; use --input-name, or --arg for each"
    )


def _spec(signature: Signature | None, name: str) -> TensorSpec | None:
    """Return what is known about an argument; an unknown name is refused when it is encoded."""
    return None if signature is None else signature.input(name) or codec.spec_of(name)


def _named(
    signature: Signature | None, text: str, header: bool | None, dtypes: Mapping[str, str]
) -> tuple[str, Any]:
    name, equals, given = text.partition("=")
    if not equals or not name:
        raise PayloadError(f"--arg {text!r:.80} is neither NAME=JSON nor NAME=@FILE")
    spec = _spec(signature, name)
    if given.startswith("@"):
        path = given[1:]
        if path.lower().endswith(".json"):
            return name, _value(spec, _json(_bytes(path), path), dtypes)
        return name, _file(spec, path, header, dtypes)
    texts = spec is None or spec.kind in _TEXTS
    try:
        value = _json(given.encode(), f"--arg {name}")
    except PayloadError:
        if not texts or given[:1] in ("{", "["):
            raise
        value = given
    if spec is not None and spec.kind is Kind.STRING and not isinstance(value, str):
        value = given  # text that looks like a number
    return name, _value(spec, value, dtypes)


def _json(content: bytes, source: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"{source} is not JSON: {error}") from error


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise PayloadError(f"{path} cannot be read: {error.strerror}") from error


def _file(
    spec: TensorSpec | None, path: str, header: bool | None, dtypes: Mapping[str, str]
) -> Any:
    """Read the table in a file; the argument's kind decides the types of the cells."""
    if os.path.splitext(path)[1].lower() not in tables.ENDINGS:
        raise PayloadError(
            f"{path} does not end with a known extension: .json, {', '.join(tables.ENDINGS)}"
        )
    kind = Kind.ANY if spec is None else spec.kind
    element = spec.dtype.kind if spec is not None and spec.dtype is not None else ""
    text = kind in _LISTS_OF_TEXT or (kind is Kind.ARRAY and element in ("U", "O"))
    numbers = kind is Kind.ARRAY and element in ("b", "i", "u", "f")
    if dtypes and kind not in (Kind.FRAME, Kind.ANY):
        raise PayloadError(
            f"{path} is not read as a DataFrame, so its columns have no dtypes; leave out --dtype"
        )

    def table(as_text: bool) -> Any:
        content = tables.read(path, header, as_text=as_text, as_numbers=numbers, dtypes=dtypes)
        return content if dtypes and spec is None else _fit(spec, content)

    if kind is not Kind.JSON:
        return table(text)
    try:
        return table(False)
    except PayloadError:
        # A nested annotation may be text although the cells look like numbers.
        return table(True)


def _is_request(content: Any) -> bool:
    inputs = content.get("inputs") if isinstance(content, dict) else None
    return isinstance(inputs, list) and all(
        isinstance(tensor, dict) and {"name", "datatype", "shape"} <= tensor.keys()
        for tensor in inputs
    )


def _fit(spec: TensorSpec | None, table: Any) -> Any:
    """Convert a table from a file to the argument's kind."""
    frame = codec.kind_of(table) is Kind.FRAME
    kind = Kind.ARRAY if spec is None else spec.kind
    if kind is Kind.FRAME:
        if not frame:
            raise PayloadError(
                f"{spec and spec.name!r} is a DataFrame, but .npy has no column names; send a CSV"
            )
        return table
    if frame and kind not in (Kind.ARRAY, Kind.ANY):
        one = len(table.columns) == 1
        return _value(spec, table.iloc[:, 0].tolist() if one else table.to_dict("records"))
    try:
        array = tables.as_array(table) if frame else table
    except PayloadError:
        if spec is None or kind is Kind.ANY:  # then it may be a DataFrame
            return table
        raise
    if kind in (Kind.ARRAY, Kind.ANY):
        return array if spec is None else _cast(spec, array)
    return _value(spec, array.tolist())


def _value(spec: TensorSpec | None, value: Any, dtypes: Mapping[str, str] | None = None) -> Any:
    """Convert a JSON value to the argument's kind; without a kind, lists of numbers become arrays."""
    kind = Kind.ARRAY if spec is None and isinstance(value, list) else spec and spec.kind
    if kind is Kind.ARRAY:
        array = _numbers(value)
        if array is not None:
            return array if spec is None else _cast(spec, array)
    if kind is Kind.FRAME and isinstance(value, list | dict):
        return tables.typed(_frame(value), dtypes or {})
    return value if spec is None else codec.parameter(spec, value)


def _frame(value: Any) -> Any:
    import pandas

    try:
        return pandas.DataFrame(value)
    except ValueError as error:
        raise PayloadError(
            f"the value is not a DataFrame: {error}; send its rows as objects"
        ) from error


def _numbers(value: Any) -> np.ndarray[Any, Any] | None:
    """Return a number or nested lists of numbers as an array; None for anything else.

    As in V2's JSON, null is NaN, and infinity is a word.
    """
    try:
        array = np.asarray(value, object)
    except ValueError:  # ragged; the codec refuses it
        return None
    flat = array.ravel().tolist()
    others = [item for item in flat if not isinstance(item, int | float)]
    if len(others) == len(flat) and None not in others:
        return None
    if not all(item is None or (isinstance(item, str) and item in _WORDS) for item in others):
        return None
    numbers = Tensor("", "FP64", list(array.shape), flat).numbers() if others else np.asarray(value)
    return numbers if numbers.dtype.kind in "biuf" else None


def _cast(spec: TensorSpec, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert numbers to the argument's dtype if that changes no value: 1.0 is 1, and 1 is true."""
    wanted = spec.dtype
    if wanted is None or array.dtype.kind not in "biuf" or wanted.kind not in "biu":
        return array
    with np.errstate(invalid="ignore"):
        converted = array.astype(wanted)
    return converted if np.array_equal(converted, array) else array
