"""Read specs of values from V2 metadata."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tempo_runtime.protocol.codec.elements import ELEMENT_TYPE
from tempo_runtime.protocol.codec.untyped import MEANT, spec_of
from tempo_runtime.protocol.signature import Kind, TensorSpec
from tempo_runtime.protocol.tensor import BYTES, DATATYPES

_NUMBERS = {"BOOL": Kind.BOOL, "INT64": Kind.INT, "FP64": Kind.FLOAT}


def spec_described(tensor: dict[str, Any]) -> TensorSpec:
    """Return the spec that a tensor of a model's V2 metadata describes, as far as possible.

    Servers other than ours describe less, so that parts of the spec stay open.

    Args:
        tensor: The tensor in the metadata, as `describe` or another server writes it.
    """
    parameters = tensor.get("parameters") or {}
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    content_type = parameters.get("content_type")
    kind, dtype = Kind.ANY, None
    if content_type == "np" and shape == [1] and ELEMENT_TYPE not in parameters:
        kind = _NUMBERS.get(str(datatype), Kind.ARRAY)
    elif datatype != BYTES or content_type == "np":
        kind = Kind.ARRAY
    elif content_type == "json":
        kind = Kind.JSON if shape == [1] else Kind.ANY
    elif content_type == "pd":
        kind = Kind.FRAME
    elif content_type in MEANT:
        kind = MEANT[content_type][shape != [1]]
    if kind is Kind.ARRAY and ELEMENT_TYPE not in parameters:
        dtype = DATATYPES.get(str(datatype))
    limits = content_type == "np" and kind is Kind.ARRAY and shape and shape != [-1]
    return replace(
        spec_of(str(tensor.get("name")), kind),
        dtype=dtype,
        shape=tuple(shape) if shape and limits else None,
        has_default=bool(parameters.get("optional")),
        nullable=bool(parameters.get("optional")),
    )
