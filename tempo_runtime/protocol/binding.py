"""Convert the values of a call: arguments and results to tensors, and back.

The signature maps tensors to arguments, and to the columns of a DataFrame.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tempo_runtime.errors import PayloadError, PipelineFailed
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.codec.dataframes import (
    FRAME,
    PANDAS,
    DescribedFrame,
    build,
    decode_frame,
    encode_frame,
    split,
)
from tempo_runtime.protocol.signature import OUTPUT_PREFIX, Kind, Signature, TensorSpec
from tempo_runtime.protocol.sizes import DecodingLimits
from tempo_runtime.protocol.tensor import BYTES, Tensor, refuse_twice, refuse_unwritable, shown

INPUT_PREFIX = "input-"
_NAMED = "named"  # tensor parameter: the output is an entry of a dict, although its name does not show it
_LISTED = "listed"  # tensor parameter: the outputs are the elements of a list
ARRAY = {"content_type": "np"}  # parameters of an array
_LIMITS = DecodingLimits()
Encode = Callable[[TensorSpec, Any], Tensor]


def encode_arguments(
    signature: Signature | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    tagged: bool = False,
) -> list[Tensor]:
    """Encode the arguments of a call as tensors.

    Args:
        signature: The model's signature. None if it is not known: then values are encoded by their own
            types, and positional arguments are named `input-0`, `input-1`, ...
        args: Positional arguments.
        kwargs: Named arguments.
        tagged: Whether the model reads tagged JSON and descriptions of DataFrames: pipelines do.

    Raises:
        PayloadError: If the arguments do not match the signature, or cannot be sent.
    """
    untyped = signature is None or not signature.inputs
    if untyped and len(args) == 1 and not kwargs and type(args[0]) is np.ndarray:
        # Most calls send one array: there is nothing to sort out.
        return [codec.encode(codec.spec_of(f"{INPUT_PREFIX}0"), args[0], tagged=tagged)]
    if signature is None or not signature.inputs:
        named = {f"{INPUT_PREFIX}{i}": value for i, value in enumerate(args)} | kwargs
        specs = {name: codec.spec_of(name) for name in named}
    else:
        specs = {spec.name: spec for spec in signature.inputs}
        if len(args) > len(specs):
            raise PayloadError(f"{len(args)} values were given, but {len(specs)} are expected")
        named = dict(zip(specs, args))
        for name in kwargs:
            if name not in specs:
                raise unknown_name(name, list(specs))
        refuse_twice([*named, *kwargs])
        named |= kwargs
    tensors: dict[str, list[Tensor]] = {}
    frames: dict[str, Any] = {}
    for name, spec in specs.items():
        if name not in named:
            if spec.required:
                raise PayloadError(f"{name!r} is missing; expected: {', '.join(specs)}")
            continue
        value = named[name]
        # If there is a default, None must be sent, because the default may be another value.
        if value is None and spec.nullable and not (spec.has_default and tagged):
            continue
        tensors[name] = []
        if value is None and spec.nullable:
            tensors[name] = [codec.encode(spec, None)]
        elif spec.kind is Kind.FRAME or (
            spec.kind is Kind.ANY and codec.kind_of(value) is Kind.FRAME
        ):
            frames[name] = value
        else:
            tensors[name] = [codec.encode(spec, value, tagged=tagged)]
    # DataFrames come last: their columns can be renamed if other arguments have the same names.
    taken = {tensor.name for parts in tensors.values() for tensor in parts}
    for name, frame in frames.items():
        try:
            tensors[name] = encode_frame(frame, name, taken=taken, described=tagged)
        except PayloadError as error:
            raise PayloadError(f"{name!r}: {error}") from error
        taken |= {tensor.name for tensor in tensors[name]}
    flat = [tensor for parts in tensors.values() for tensor in parts]
    refuse_twice([tensor.name for tensor in flat])
    refuse_unwritable(tensor.name for tensor in flat)
    return flat


def decode_arguments(
    signature: Signature,
    tensors: list[Tensor],
    parameters: dict[str, Any],
    limits: DecodingLimits = _LIMITS,
) -> dict[str, Any]:
    """Decode the arguments of a predict method from a request.

    Args:
        signature: The signature of the predict method.
        tensors: The inputs of the request.
        parameters: The parameters of the request, which may contain small arguments.
        limits: Limits for decoding.

    Raises:
        PayloadError: If an argument is missing, unknown, given twice, of the wrong type, or too large.
    """
    specs = signature.named
    limits.check_count(len(tensors))
    refuse_twice([tensor.name for tensor in tensors])
    if signature.frame is None and all(_is_alone(tensor, specs) for tensor in tensors):
        # The usual request: each tensor is an argument.
        arguments = {
            tensor.name: codec.decode(specs[tensor.name], tensor, limits) for tensor in tensors
        }
        return _completed(signature, arguments, tensors, parameters)
    frames, tensors = split(tensors)
    if any(tensor.name not in specs for tensor in tensors):
        tensors = _name_positional(signature, tensors)
    arguments = {}
    for described in frames:
        arguments[_argument(signature, described)] = build(described)
    refuse_twice([*arguments, *(tensor.name for tensor in tensors)])
    columns: list[Tensor] = []
    for tensor in tensors:
        spec = specs.get(tensor.name)
        if spec is None and signature.frame is not None and not frames:
            columns.append(tensor)
            continue
        if spec is None:
            raise unknown_name(tensor.name, list(specs))
        arguments[tensor.name] = codec.decode(spec, tensor, limits)
    frame = signature.frame
    if frame is None or frame.name in arguments:
        pass
    elif len(columns) == 1 and columns[0].name == frame.name and codec.is_null(columns[0]):
        arguments[frame.name] = None
    elif columns or not frame.has_default:
        arguments[frame.name] = decode_frame(columns) if columns or frame.required else None
    return _completed(signature, arguments, tensors, parameters)


def _is_alone(tensor: Tensor, specs: Mapping[str, TensorSpec]) -> bool:
    """Return whether a tensor is an argument, and does not describe a DataFrame."""
    return tensor.name in specs and PANDAS not in tensor.parameters


def _completed(
    signature: Signature,
    arguments: dict[str, Any],
    tensors: list[Tensor],
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """Add the arguments that are not tensors; raise as `decode_arguments` does."""
    for name, spec in signature.named.items():
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


def encode_results(
    signature: Signature,
    value: Any,
    *,
    tempo_0_5: bool = False,
    tagged: bool = False,
    encode: Encode | None = None,
) -> tuple[list[Tensor], str | None]:
    """Encode a result as tensors, and return them with the response's content type, if it has one.

    Args:
        signature: The signature of the predict method.
        value: The result.
        tempo_0_5: Whether the client is one of tempo 0.5, over HTTP. Then everything except arrays of
            numbers is spelled as integers, and outputs without names are called `output0`, `output1`.
        tagged: Whether the client reads tagged JSON: those of this package do.
        encode: Encodes each of the results; None for the codecs themselves.

    Raises:
        PayloadError: If the value does not match the signature.
    """
    if encode is None:
        encode = codec.spell if tempo_0_5 else partial(codec.encode, tagged=tagged)
    tensors, content_type = _encode_results(signature, value, encode, tagged and not tempo_0_5)
    refuse_unwritable(tensor.name for tensor in tensors)
    if tempo_0_5 and content_type != FRAME:  # the columns of a DataFrame have names
        tensors = [_as_tempo_0_5_names_it(tensor) for tensor in tensors]
    return tensors, content_type


def decode_results(
    signature: Signature | None,
    tensors: list[Tensor],
    content_type: str | None = None,
    asked: Sequence[str] = (),
    limits: DecodingLimits = _LIMITS,
) -> Any:
    """Decode the result of a call from a response.

    Without a signature, a single output becomes its value, and several become a dict by name, or a tuple
    if they do not have names.

    Args:
        signature: The model's signature; None if it is not known.
        tensors: The outputs of the response; those that are not in the signature are ignored.
        content_type: The content type of the response.
        asked: Names of the requested outputs; a server may return more.
        limits: Limits for decoding.

    Raises:
        PayloadError: If an output of the signature is missing, of the wrong type, or too large.
    """
    limits.check_count(len(tensors))
    form = "dynamic" if signature is None else signature.form
    if len(tensors) == 1 and content_type is None and _gives_any_array(signature):
        [tensor] = tensors
        if tensor.datatype != BYTES and tensor.parameters == ARRAY:
            return tensor.numbers()  # the answer of most models, which no codec would change
    refuse_twice([tensor.name for tensor in tensors])
    frames, rest = split(tensors)
    is_frame = content_type == FRAME or (bool(frames) and not rest)
    if asked and not frames:
        tensors = [tensor for tensor in tensors if tensor.name in asked] or tensors
    if signature is None or form == "dynamic":
        if is_frame:
            return decode_frame(tensors, asked)
        values = _untyped(tensors, limits)
        names = list(values)
        if not asked and is_named(tensors):
            return values
        if not asked and any(tensor.parameters.get(_LISTED) is True for tensor in tensors):
            return list(values.values())
        if len(names) == 1:
            return values[names[0]]
        if names and names == [f"{OUTPUT_PREFIX}{i}" for i in range(len(names))]:
            return tuple(values.values())
        return values
    outputs = signature.outputs
    if form == "mapping":
        return {
            tensor.name: codec.decode(replace(outputs[0], name=tensor.name), tensor, limits)
            for tensor in tensors
        }
    if form == "list":
        return [
            codec.decode(replace(outputs[0], name=tensor.name), tensor, limits)
            for tensor in tensors
        ]
    if form == "single":
        if len(tensors) == 1 and outputs[0].nullable and codec.is_null(tensors[0]):
            return None
        any_frame = outputs[0].kind is Kind.ANY and is_frame
        if any_frame or outputs[0].kind is Kind.FRAME:
            return decode_frame(tensors, asked)
        named = {tensor.name: tensor for tensor in tensors}
        # Other servers choose their own name for a single output.
        only = named.get(outputs[0].name) or (tensors[0] if len(tensors) == 1 else None)
        if only is None and outputs[0].kind is Kind.JSON and tensors:
            # tempo 0.5 returns a dict as one output for each of its keys.
            return codec.parameter(outputs[0], _untyped(tensors, limits))
        if only is None:
            raise PayloadError(
                f"one output was expected, but the answer has {list(named)}; name one of them in the "
                "child's setting `output`"
            )
        return codec.decode(outputs[0], only, limits)
    named = {tensor.name: tensor for tensor in tensors}
    unnamed = form == "tuple" and not any(spec.name in named for spec in outputs)
    if unnamed and len(tensors) == len(outputs):
        # Other servers choose their own names for outputs that do not have names here.
        named = {spec.name: tensor for spec, tensor in zip(outputs, tensors)}
    values = {}
    for spec in outputs:
        if spec.name in named:
            values[spec.name] = codec.decode(spec, named[spec.name], limits)
        elif spec.required:
            raise PayloadError(f"output {spec.name!r} is missing (given: {list(named)})")
        elif not spec.has_default:
            values[spec.name] = None
    return tuple(values.values()) if form == "tuple" else signature.container(**values)


def results_by_name(
    signature: Signature | None, tensors: list[Tensor], content_type: str | None, value: Any
) -> dict[str, Any]:
    """Return a decoded result as a dict by the names of its outputs.

    A single value, a DataFrame among them, is an entry by its output's name.

    Args:
        signature: The model's signature; None if it is not known.
        tensors: The outputs of the response.
        content_type: The content type of the response.
        value: What `decode_results` made of them.
    """
    form = "dynamic" if signature is None else signature.form
    specs = () if signature is None else signature.outputs
    if form == "named" and hasattr(value, "_asdict"):
        return dict(value._asdict())
    if form in ("named", "mapping"):
        return dict(value)
    if form == "tuple":
        return dict(zip((spec.name for spec in specs), value))
    if form == "single":
        return {specs[0].name: value}
    listed = any(tensor.parameters.get(_LISTED) is True for tensor in tensors)
    if form == "list" or listed or isinstance(value, tuple):
        return {f"{OUTPUT_PREFIX}{i}": part for i, part in enumerate(value)}
    is_entry = any(tensor.parameters.get(_NAMED) is True for tensor in tensors)
    if type(value) is dict and (is_entry or len(tensors) != 1) and content_type != FRAME:
        return value
    name = f"{OUTPUT_PREFIX}0" if len(tensors) != 1 or content_type == FRAME else tensors[0].name
    return {name: value}


def _gives_any_array(signature: Signature | None) -> bool:
    """Return whether a single array of numbers is the result as it is."""
    if signature is None or signature.form == "dynamic":
        return True
    if signature.form != "single":
        return False
    [spec] = signature.outputs
    return spec.kind in (Kind.ARRAY, Kind.ANY) and spec.dtype is None and spec.shape is None


def _untyped(tensors: list[Tensor], limits: DecodingLimits) -> dict[str, Any]:
    return {
        tensor.name: codec.decode(codec.spec_of(tensor.name), tensor, limits) for tensor in tensors
    }


def _name_positional(signature: Signature, tensors: list[Tensor]) -> list[Tensor]:
    """Rename tensors called `input-N` to the arguments at these positions."""
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


def _argument(signature: Signature, frame: DescribedFrame) -> str:
    """Return the name of the argument that a described DataFrame belongs to."""
    named = frame.argument or ""
    position = named.removeprefix(INPUT_PREFIX)
    if signature.input(named) is None and position != named and position.isdecimal():
        # Clients that do not know the name of an argument call it `input-N`.
        named = next((spec.name for spec in signature.inputs[int(position) :]), named)
    spec = signature.input(named) or signature.frame
    if spec is None:
        raise unknown_name(named, [spec.name for spec in signature.inputs])
    if spec.kind not in (Kind.FRAME, Kind.ANY):
        raise PayloadError(
            f"{spec.name!r} must be {spec.kind.value}, but a DataFrame was given; convert it first"
        )
    return spec.name


def unknown_name(name: str, known: list[str], role: str = "tensor") -> PayloadError:
    """Return the error of a name that a signature does not have, with the names that it has."""
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return PayloadError(
        f"{role} {name!r} is unknown; expected: {', '.join(known) or '(none)'}{meant}"
    )


def _as_tempo_0_5_names_it(tensor: Tensor) -> Tensor:
    position = tensor.name.removeprefix(OUTPUT_PREFIX)
    if position == tensor.name or not position.isdecimal():
        return tensor
    return replace(tensor, name=f"output{position}")


def _encode_results(
    signature: Signature, value: Any, encode: Encode, tagged: bool = False
) -> tuple[list[Tensor], str | None]:
    form, outputs = signature.form, signature.outputs
    if form == "dynamic":
        return _encode_dynamic(value, encode, tagged)
    if form == "single" and value is None and outputs[0].nullable:
        return [encode(outputs[0], None)], None
    if form == "single" and (
        outputs[0].kind is Kind.FRAME
        or (outputs[0].kind is Kind.ANY and codec.kind_of(value) is Kind.FRAME)
    ):
        return encode_frame(value, described=tagged), FRAME
    if form == "single":
        return [encode(outputs[0], value)], None
    if form == "mapping":
        if not isinstance(value, dict):
            raise PayloadError(f"the result must be a dict, but is a {type(value).__name__}")
        odd = next((name for name in value if type(name) is not str), None)
        if odd is not None:
            raise PayloadError(
                f"the result has the key {shown(odd)} of type {type(odd).__name__}, but its keys become "
                "names of tensors; use text"
            )
        tensors = [encode(replace(outputs[0], name=name), part) for name, part in value.items()]
        return _named(tensors), None
    if form == "list":
        if not isinstance(value, list | tuple):
            raise PayloadError(f"the result must be a list, but is a {type(value).__name__}")
        tensors = [
            encode(replace(outputs[0], name=f"{OUTPUT_PREFIX}{i}"), part)
            for i, part in enumerate(value)
        ]
        if tensors:
            tensors[0].parameters[_LISTED] = True
        return tensors, None
    names = [spec.name for spec in outputs]
    if isinstance(value, tuple | list) and len(value) == len(outputs):
        value = dict(zip(names, value))
    if not isinstance(value, dict):
        is_sequence = isinstance(value, tuple | list)
        actual = f"has {len(value)}" if is_sequence else f"is a {type(value).__name__}"
        raise PayloadError(
            f"the result must have {len(outputs)} parts ({', '.join(names)}), but {actual}"
        )
    for name in value:
        if name not in names:
            raise unknown_name(name, names)
    missing = [spec.name for spec in outputs if spec.required and spec.name not in value]
    if missing:
        raise PayloadError(
            f"the result lacks {', '.join(missing)}; it must have {', '.join(names)}"
        )
    tensors = [encode(spec, value[spec.name]) for spec in outputs if spec.name in value]
    return _named(tensors) if form == "named" else tensors, None


def _encode_dynamic(value: Any, encode: Encode, tagged: bool) -> tuple[list[Tensor], str | None]:
    if codec.kind_of(value) is Kind.FRAME:
        return encode_frame(value, described=tagged), FRAME
    if type(value) is tuple and len(value) > 1:
        named = {f"{OUTPUT_PREFIX}{i}": part for i, part in enumerate(value)}
    elif _is_mapping(value):
        return _named([encode(codec.spec_of(name), part) for name, part in value.items()]), None
    else:
        named = {f"{OUTPUT_PREFIX}0": value}
    return [encode(codec.spec_of(name), part) for name, part in named.items()], None


def is_named(tensors: list[Tensor]) -> bool:
    """Return whether encoded results are marked as the entries of a dict."""
    return any(tensor.parameters.get(_NAMED) is True for tensor in tensors)


def _named(tensors: list[Tensor]) -> list[Tensor]:
    """Mark outputs as entries of a dict if their names and number do not show it."""
    names = [tensor.name for tensor in tensors]
    if len(names) == 1 or (names and names == [f"{OUTPUT_PREFIX}{i}" for i in range(len(names))]):
        tensors[0].parameters[_NAMED] = True
    return tensors


def _is_mapping(value: Any) -> bool:
    """Return whether a value is a dict whose values are separate outputs."""
    return (
        type(value) is dict
        and any(type(part) is np.ndarray for part in value.values())
        and all(type(name) is str for name in value)
    )


# -- calls within a process ------------------------------------------------------------------------


def handed_over(tensors: list[Tensor]) -> list[Tensor]:
    """Copy the arrays of tensors for a receiver in this process, which may change them."""
    return [
        replace(tensor, data=tensor.data.copy()) if isinstance(tensor.data, np.ndarray) else tensor
        for tensor in tensors
    ]


def bound_arguments(
    signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Convert the arguments of a predict method in the same way as a request.

    Raises:
        PayloadError: If they do not match the signature, or cannot be sent.
    """
    tensors = encode_arguments(signature, args, kwargs, tagged=True)
    return decode_arguments(signature, handed_over(tensors), {})


def bound_result(signature: Signature, name: str, value: Any) -> Any:
    """Convert the result of a predict method to the value that a client would receive.

    Raises:
        PipelineFailed: If it does not match the signature, or cannot be sent.
    """
    try:
        tensors, content_type = encode_results(signature, value, tagged=True)
        return decode_results(signature, handed_over(tensors), content_type)
    except PayloadError as error:
        raise undeclared(name, error) from error


def undeclared(name: str, error: PayloadError) -> PipelineFailed:
    """Return the error of a pipeline whose result cannot be sent."""
    return PipelineFailed(f"pipeline {name!r} returned a result that cannot be sent: {error}")
