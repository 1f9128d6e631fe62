"""A whole call: arguments -> tensors -> arguments, and results -> tensors -> results.

A signature says which tensor is which argument. DataFrames are bound here and not by a codec,
because each of their columns is a tensor.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from tempo_runtime import codec
from tempo_runtime.errors import PayloadError
from tempo_runtime.signature import OUTPUT_PREFIX, Kind, Signature, TensorSpec
from tempo_runtime.tensor import BYTES, Tensor

INPUT_PREFIX = "input-"
FRAME = "pd"  # MLServer's content type for a request or response that is one DataFrame
_LISTS: dict[Kind, Any] = {Kind.STRINGS: list[str], Kind.BYTES_LIST: list[bytes]}


def encode_arguments(
    signature: Signature | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Tensor]:
    """The tensors of a call, as a caller writes it.

    Args:
        signature: What the model takes; None when that is not known, and each value is then
            written as what it is, positional ones named `input-0`, `input-1`, ...
        args: Positional arguments.
        kwargs: Named arguments.

    Raises:
        PayloadError: If they do not fit the signature.
    """
    if signature is None or not signature.inputs:
        named = {f"{INPUT_PREFIX}{i}": value for i, value in enumerate(args)} | kwargs
        specs = {name: TensorSpec(name) for name in named}
    else:
        specs = {spec.name: spec for spec in signature.inputs}
        if len(args) > len(specs):
            raise PayloadError(f"{len(args)} values were given, and it takes {len(specs)}")
        named = dict(zip(specs, args))
        for name in kwargs:
            if name not in specs:
                raise _unknown(name, list(specs))
        _refuse_twice([*named, *kwargs])
        named |= kwargs
    tensors: list[Tensor] = []
    for name, spec in specs.items():
        if name not in named:
            if spec.required:
                raise PayloadError(f"{name!r} is missing; it takes {', '.join(specs)}")
            continue
        value = named[name]
        # With a default, None is said: the default may be another value.
        if value is None and spec.nullable and (spec.kind is Kind.FRAME or not spec.has_default):
            continue
        if spec.kind is Kind.FRAME or (
            spec.kind is Kind.ANY and codec.kind_of(value) is Kind.FRAME
        ):
            tensors += _encode_frame(value)
        else:
            tensors.append(codec.encode(spec, value))
    _refuse_twice(tensor.name for tensor in tensors)
    return tensors


def decode_arguments(
    signature: Signature, tensors: list[Tensor], parameters: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a predict method, from a request.

    Args:
        signature: What the predict method takes.
        tensors: The request's inputs.
        parameters: The request's own parameters; small arguments may come in them.

    Raises:
        PayloadError: If one is missing, unknown, given twice, or of the wrong type.
    """
    specs = {spec.name: spec for spec in signature.inputs if spec.kind is not Kind.FRAME}
    tensors = _name_positional(signature, tensors)
    _refuse_twice(tensor.name for tensor in tensors)
    arguments: dict[str, Any] = {}
    columns: list[Tensor] = []
    for tensor in tensors:
        spec = specs.get(tensor.name)
        if spec is None and signature.frame is not None:
            columns.append(tensor)
            continue
        if spec is None:
            raise _unknown(tensor.name, list(specs))
        arguments[tensor.name] = codec.decode(spec, tensor)
    frame = signature.frame
    if frame is not None and (columns or not frame.has_default):
        arguments[frame.name] = _decode_frame(columns) if columns or frame.required else None
    for name, spec in specs.items():
        if name in arguments:
            continue
        if name in parameters:
            arguments[name] = codec.parameter(spec, parameters[name])
        elif spec.required:
            given = ", ".join(repr(tensor.name) for tensor in tensors) or "none"
            raise PayloadError(
                f"tensor {name!r} is missing (given: {given}); send it in inputs"
                + ("" if spec.kind is Kind.ARRAY else ", or in the request's parameters")
            )
        elif not spec.has_default:
            arguments[name] = None
    return arguments


def encode_results(signature: Signature, value: Any) -> tuple[list[Tensor], str | None]:
    """The tensors of a result, and the response's content type (None but for a DataFrame).

    Raises:
        PayloadError: If the value is not what the signature says.
    """
    form, outputs = signature.form, signature.outputs
    if form == "dynamic":
        return _encode_dynamic(value)
    if form == "single" and (
        outputs[0].kind is Kind.FRAME
        or (outputs[0].kind is Kind.ANY and codec.kind_of(value) is Kind.FRAME)
    ):
        return _encode_frame(value), FRAME
    if form == "single":
        return [codec.encode(outputs[0], value)], None
    if form == "mapping":
        if not isinstance(value, dict):
            raise PayloadError(f"the result must be a dict, and a {type(value).__name__} was given")
        return [
            codec.encode(replace(outputs[0], name=str(name)), part) for name, part in value.items()
        ], None
    names = [spec.name for spec in outputs]
    if isinstance(value, tuple | list) and len(value) == len(outputs):
        value = dict(zip(names, value))
    if not isinstance(value, dict):
        what = f"{len(value)} parts" if isinstance(value, tuple | list) else type(value).__name__
        raise PayloadError(
            f"the result must have {len(outputs)} parts ({', '.join(names)}), and {what} was given"
        )
    for name in value:
        if name not in names:
            raise _unknown(name, names)
    missing = [spec.name for spec in outputs if spec.required and spec.name not in value]
    if missing:
        raise PayloadError(
            f"the result lacks {', '.join(missing)}; it must have {', '.join(names)}"
        )
    return [codec.encode(spec, value[spec.name]) for spec in outputs if spec.name in value], None


def decode_results(
    signature: Signature | None, tensors: list[Tensor], content_type: str | None = None
) -> Any:
    """The result of a call, from a response.

    Without a signature: one output is its value, several are a dict by name, or a tuple where they
    have no names of their own.

    Raises:
        PayloadError: If an output the signature names is missing or of the wrong type.
    """
    _refuse_twice(tensor.name for tensor in tensors)
    form = "dynamic" if signature is None else signature.form
    if signature is None or form == "dynamic":
        if content_type == FRAME:
            return _decode_frame(tensors)
        values = {tensor.name: codec.decode(TensorSpec(tensor.name), tensor) for tensor in tensors}
        names = list(values)
        if len(names) == 1:
            return values[names[0]]
        if names == [f"{OUTPUT_PREFIX}{i}" for i in range(len(names))]:
            return tuple(values.values())
        return values
    outputs = signature.outputs
    if form == "mapping":
        return {
            tensor.name: codec.decode(replace(outputs[0], name=tensor.name), tensor)
            for tensor in tensors
        }
    if form == "single":
        any_frame = outputs[0].kind is Kind.ANY and content_type == FRAME
        if any_frame or outputs[0].kind is Kind.FRAME:
            return _decode_frame(tensors)
        named = {tensor.name: tensor for tensor in tensors}
        # Another server gives its own name to a single output.
        only = named.get(outputs[0].name) or (tensors[0] if len(tensors) == 1 else None)
        if only is None:
            raise PayloadError(f"one output was expected, and these were given: {list(named)}")
        return codec.decode(outputs[0], only)
    named = {tensor.name: tensor for tensor in tensors}
    values = {}
    for spec in outputs:
        if spec.name in named:
            values[spec.name] = codec.decode(spec, named[spec.name])
        elif spec.required:
            raise PayloadError(f"output {spec.name!r} is missing (given: {list(named)})")
        elif not spec.has_default:
            values[spec.name] = None
    return tuple(values.values()) if form == "tuple" else signature.container(**values)


def _name_positional(signature: Signature, tensors: list[Tensor]) -> list[Tensor]:
    """Gives tensors named `input-N`, as clients call what they have no name for, their names."""
    names = {
        f"{INPUT_PREFIX}{position}": spec.name
        for position, spec in enumerate(signature.inputs)
        if spec.kind is not Kind.FRAME
    }
    return [
        replace(tensor, name=names.get(tensor.name, tensor.name))
        if signature.input(tensor.name) is None
        else tensor
        for tensor in tensors
    ]


def _refuse_twice(names: Iterable[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise PayloadError(f"tensor {name!r} is given twice; send it once")


def _unknown(name: str, known: list[str]) -> PayloadError:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return PayloadError(f"tensor {name!r} is unknown; it takes {', '.join(known) or 'none'}{meant}")


def _encode_dynamic(value: Any) -> tuple[list[Tensor], str | None]:
    if codec.kind_of(value) is Kind.FRAME:
        return _encode_frame(value), FRAME
    if isinstance(value, tuple) and len(value) > 1:
        named = {f"{OUTPUT_PREFIX}{i}": part for i, part in enumerate(value)}
    elif isinstance(value, dict) and any(isinstance(part, np.ndarray) for part in value.values()):
        named = {str(name): part for name, part in value.items()}
    else:
        named = {f"{OUTPUT_PREFIX}0": value}
    return [codec.encode(TensorSpec(name), part) for name, part in named.items()], None


def _encode_frame(frame: Any) -> list[Tensor]:
    if codec.kind_of(frame) is not Kind.FRAME:
        raise PayloadError(f"a DataFrame is expected, and a {type(frame).__name__} was given")
    tensors = [_encode_column(str(name), column) for name, column in frame.items()]
    _refuse_twice(tensor.name for tensor in tensors)
    return tensors


def _encode_column(name: str, column: Any) -> Tensor:
    if getattr(column.dtype, "tz", None) is not None:
        # One zone: pandas cannot read a column of several offsets, as summer time makes.
        column = column.dt.tz_convert("UTC")
    shape = [len(column), 1]
    if column.dtype.kind == "M":
        moments = [moment.isoformat().encode() for moment in column]
        return Tensor(name, BYTES, shape, moments, {"content_type": "datetime"})
    if column.hasnans and not isinstance(column.dtype, np.dtype):
        column = column.astype(object)  # numpy has no missing integer, and would make it a float
    array = column.to_numpy()
    if array.dtype.kind in "biuf":
        return codec.encode(TensorSpec(name, Kind.ARRAY), array.reshape(shape))
    values = array.tolist()
    kind = codec.kind_of(values) if values else Kind.STRINGS
    if kind in _LISTS:
        return codec.encode(TensorSpec(name, kind, _LISTS[kind]), values)
    # MLServer's content type for a column of anything: JSON, an element at a time.
    try:
        data = [json.dumps(_plain(element)).encode() for element in array]
    except (TypeError, ValueError) as error:
        raise PayloadError(
            f"column {name!r} cannot travel: {error}; convert it to numbers, text or datetime64"
        ) from error
    return Tensor(name, BYTES, shape, data, {"content_type": "pd_json"})


def _plain(element: Any) -> Any:
    import pandas

    if element is pandas.NA:
        return None
    if isinstance(element, np.generic) and element.dtype.kind in "biufU":
        return element.item()
    return element


def _decode_frame(tensors: list[Tensor]) -> Any:
    import pandas

    _refuse_twice(tensor.name for tensor in tensors)
    columns = {tensor.name: pandas.Series(_column(tensor)) for tensor in tensors}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise PayloadError(f"the columns differ in length: {lengths}; send the same number of rows")
    return pandas.DataFrame(columns)


def _column(tensor: Tensor) -> Any:
    import pandas

    if prod(tensor.shape[1:]) != 1:
        raise PayloadError(f"column {tensor.name!r} must have shape [N, 1], not {tensor.shape}")
    if tensor.datatype != BYTES:
        return tensor.numbers().reshape(-1)
    kind = Kind.BYTES_LIST if tensor.content_type == "base64" else Kind.STRINGS
    values = codec.decode(TensorSpec(tensor.name, kind, _LISTS[kind]), tensor)
    try:
        if tensor.content_type == "datetime":
            return pandas.to_datetime(values, format="ISO8601")
        if tensor.content_type == "pd_json":
            values = [json.loads(element) for element in values]
    except ValueError as error:
        raise PayloadError(
            f"column {tensor.name!r} is not what its content type {tensor.content_type} says: {error}"
        ) from error
    return pandas.Series(values, dtype=object)
