"""Read and write V2's binary tensor data over HTTP, the extension `binary_tensor_data`.

A body is a JSON object, whose length is in the header `Inference-Header-Content-Length`, and then the raw
contents of tensors in the order of the object. Such a tensor has the parameter `binary_data_size` in
place of `data`. A request asks for outputs in this form by its parameter `binary_data_output`, or by the
parameter `binary_data` of one output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.messages import (
    Request,
    Response,
    load_object,
    request_object,
    response_from_object,
    tensor_from_json,
    tensor_to_json,
    to_json,
)
from tempo_runtime.protocol.raw import from_raw, to_raw
from tempo_runtime.protocol.sizes import LARGE_BYTES
from tempo_runtime.protocol.tensor import BYTES, DATATYPES, Tensor, shown

EXTENSION = "binary_tensor_data"
HEADER = "Inference-Header-Content-Length"
MEDIA_TYPE = "application/octet-stream"
SIZE = "binary_data_size"
ASKED = "binary_data"
ALL_ASKED = "binary_data_output"
_LONGEST = 18  # digits of a length
_LARGE_COPY = 10_000_000  # bytes


@dataclass(frozen=True)
class AskedOutputs:
    """The outputs that a request asks for as binary data.

    Attributes:
        by_default: Whether it asks for those that it does not name.
        named: Whether it asks for those that it names.
    """

    by_default: bool = False
    named: Mapping[str, bool] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.by_default or any(self.named.values())

    def __contains__(self, name: str) -> bool:
        return self.named.get(name, self.by_default)

    @staticmethod
    def take(content: dict[str, Any]) -> AskedOutputs:
        """Remove from a request's object what it says about binary outputs, and return that.

        Raises:
            PayloadError: If it is neither true nor false.
        """
        default = _flag(content, ALL_ASKED, "the request")
        named = {}
        outputs = content.get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            name = output.get("name") if isinstance(output, dict) else None
            if (
                isinstance(name, str)
                and (asked := _flag(output, ASKED, f"output {name!r}")) is not None
            ):
                named[name] = asked
        return AskedOutputs(default is True, named)


def request_to_body(request: Request, *, with_text: bool = False) -> tuple[bytes, int]:
    """Return the body of a request that asks for all outputs as binary data, and the length of its JSON.

    Only arrays of their tensors' datatypes are binary. Text stays in the JSON, which is read faster,
    unless `with_text` is true.
    """
    parts: list[bytes] = []
    inputs = []
    for tensor in request.tensors:
        dtype = DATATYPES.get(tensor.datatype)
        if dtype is not None and isinstance(tensor.data, np.ndarray) and tensor.data.dtype == dtype:
            inputs.append(_detached(tensor, tensor.data.tobytes(), parts))
        elif with_text and tensor.datatype == BYTES:
            inputs.append(_detached(tensor, to_raw(tensor), parts))
        else:
            inputs.append(tensor_to_json(tensor))
    asking = replace(request, parameters={**request.parameters, ALL_ASKED: True})
    head = to_json(request_object(asking, inputs))
    return b"".join([head, *parts]), len(head)


def split_body(body: bytes, lengths: Sequence[str]) -> tuple[dict[str, Any], memoryview]:
    """Return the JSON object of a body, and its raw contents.

    Args:
        body: The body.
        lengths: The values of its header `Inference-Header-Content-Length`.

    Raises:
        PayloadError: If the header does not state where a JSON object ends.
    """
    if len(lengths) != 1:
        raise PayloadError(f"the header {HEADER} is given {len(lengths)} times; send it once")
    [text] = lengths
    if not (text.isascii() and text.isdecimal()) or len(text) > _LONGEST:
        raise PayloadError(
            f"the header {HEADER} is {shown(text)}; it must be the number of bytes of the body's JSON"
        )
    length = int(text)
    if not 0 < length <= len(body):
        raise PayloadError(
            f"the header {HEADER} is {length}, but the body has {len(body)} bytes; it must be the number "
            "of bytes of the JSON that the body begins with"
        )
    try:
        content = load_object(body[:length])
        if b"\\u" in body[:length]:
            _refuse_surrogates(content)
    except PayloadError as error:
        raise PayloadError(
            f"the first {length} bytes of the body, which are its JSON by the header {HEADER}: {error}"
        ) from error
    return content, memoryview(body)[length:]


def _refuse_surrogates(content: dict[str, Any]) -> None:
    """Refuse text that is not Unicode, as a strict reader of JSON does: nothing could send it on."""
    try:
        to_json(content)
    except TypeError as error:
        raise PayloadError(f"not JSON: {error}") from error


def is_slow(content: dict[str, Any], raw: memoryview) -> bool:
    """Return whether `attach_inputs` would block an event loop: arrays are only copied, unlike text."""
    if len(raw) <= LARGE_BYTES:
        return False
    inputs = content.get("inputs")
    items = inputs if isinstance(inputs, list) else []
    has_text = any(isinstance(item, dict) and item.get("datatype") == BYTES for item in items)
    return has_text or len(raw) > _LARGE_COPY


def attach_inputs(content: dict[str, Any], raw: memoryview) -> None:
    """Give the binary inputs in a request's object their arrays or lists as data.

    Raises:
        PayloadError: If the raw contents do not have the form that the object states.
    """
    for tensor in _attach(content.get("inputs"), raw, "input"):
        if tensor.datatype == BYTES:
            tensor.elements()
        elif tensor.datatype in DATATYPES:
            tensor.numbers()
        else:
            raise PayloadError(
                f"input {tensor.name!r} has datatype {shown(tensor.datatype)}, which is not supported "
                f"as binary data; convert it to one of {', '.join(DATATYPES)} or {BYTES}"
            )


def response_to_body(
    head: dict[str, Any], tensors: Sequence[Tensor], asked: AskedOutputs
) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON; None if it has no binary data.

    Args:
        head: Its JSON object, without the outputs.
        tensors: The outputs. One whose elements do not match its datatype or shape stays in the JSON.
        asked: The outputs that the request asks for as binary data.
    """
    parts: list[bytes] = []
    outputs = []
    for tensor in tensors:
        raw = _raw_or_none(tensor) if tensor.name in asked else None
        outputs.append(tensor_to_json(tensor) if raw is None else _detached(tensor, raw, parts))
    content = to_json({**head, "outputs": outputs})
    return b"".join([content, *parts]), len(content) if parts else None


def response_from_body(body: bytes, lengths: Sequence[str]) -> Response:
    """Read an answer; the arguments are those of `split_body`.

    Raises:
        PayloadError: If it is not a V2 response, or does not have the form that its header and JSON
            state.
    """
    content, raw = split_body(body, lengths)
    _attach(content.get("outputs"), raw, "output")
    return response_from_object(content)


def _attach(items: Any, raw: memoryview, role: str) -> list[Tensor]:
    """Set the data of tensors whose contents are raw, in their objects; return these tensors."""
    attached: list[Tensor] = []
    position = 0
    for item in items if isinstance(items, list) else ():
        parameters = item.get("parameters") if isinstance(item, dict) else None
        if not isinstance(parameters, dict) or SIZE not in parameters:
            continue
        size = parameters.pop(SIZE)
        both = item.get("data") is not None
        tensor = tensor_from_json({**item, "data": ()})
        if both:
            raise PayloadError(
                f"{role} {tensor.name!r} has both data and the parameter {SIZE}; send one of them"
            )
        if type(size) is not int or size < 0:
            raise PayloadError(
                f"{role} {tensor.name!r} has {SIZE} {shown(size)}; it must be its number of bytes"
            )
        if size > len(raw) - position:
            raise PayloadError(
                f"{role} {tensor.name!r} has {SIZE} {size}, but the body has only "
                f"{len(raw) - position} more bytes; correct the size, or send all bytes"
            )
        tensor.data = item["data"] = from_raw(tensor, raw[position : position + size], role)
        attached.append(tensor)
        position += size
    if position != len(raw):
        after = f"{role} {attached[-1].name!r}" if attached else "the JSON"
        raise PayloadError(
            f"{len(raw) - position} bytes follow {after}, and no {role} states them as its {SIZE}; "
            "correct the sizes, or leave out these bytes"
        )
    return attached


def _detached(tensor: Tensor, raw: bytes, parts: list[bytes]) -> dict[str, Any]:
    """Return the object of a tensor whose raw contents are appended to the parts of the body."""
    parts.append(raw)
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
        "parameters": {**tensor.parameters, SIZE: len(raw)},
    }


def _raw_or_none(tensor: Tensor) -> bytes | None:
    try:
        return to_raw(tensor)
    except PayloadError:
        return None


def _flag(holder: dict[str, Any], name: str, owner: str) -> bool | None:
    """Remove a parameter and return it; None if it is missing."""
    parameters = holder.get("parameters")
    value = parameters.pop(name, None) if isinstance(parameters, dict) else None
    if value is not None and not isinstance(value, bool):
        raise PayloadError(
            f"{owner} has the parameter {name!r} {shown(value)}; it must be true or false"
        )
    return value
