"""A request that a model's signature allows, for people to begin with."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from math import prod
from typing import Any

_TEXTS = {
    "base64": "dGV4dA==",
    "datetime": "2026-01-31T12:00:00",
    "json": "{}",
}


def request(inputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A V2 request with a value for each input that must be there.

    Args:
        inputs: V2 metadata tensors, as model-settings.json has them.
    """
    return {"inputs": [_example(tensor) for tensor in _needed(inputs)]}


def guessed(inputs: Sequence[dict[str, Any]]) -> list[str]:
    """Names of inputs whose values in a request are a guess.

    A signature does not say what is in JSON, or how many columns there are, and which.
    """
    return [tensor["name"] for tensor in _needed(inputs) if _is_guess(tensor)]


def curl(url: str, model: str, inputs: Sequence[dict[str, Any]]) -> str:
    """A line for a shell that sends the request."""
    body = shlex.quote(json.dumps(request(inputs), separators=(",", ":")))
    return f"curl -s {url}/v2/models/{model}/infer -H 'content-type: application/json' -d {body}"


def predict(target: str, inputs: Sequence[dict[str, Any]]) -> str:
    """A line for a shell that makes the same call of a target with values."""
    words = ["tempo-runtime", "predict", target]
    for tensor in _needed(inputs):
        words += ["--arg", shlex.quote(f"{tensor['name']}={_value(tensor)}")]
    return " ".join(words)


def _needed(inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [tensor for tensor in inputs if not _parameters(tensor).get("optional")]


def _example(tensor: dict[str, Any]) -> dict[str, Any]:
    shape = [max(length, 1) for length in tensor["shape"]]
    content_type = _content_type(tensor)
    example = {
        "name": tensor["name"],
        "shape": shape,
        "datatype": tensor["datatype"],
        "data": [_element(tensor)] * prod(shape),
    }
    # Bytes are read by it where an input may be of any type.
    if content_type and tensor["datatype"] == "BYTES":
        example["parameters"] = {"content_type": content_type}
    return example


def _value(tensor: dict[str, Any]) -> str:
    """The value of a tensor as JSON."""
    value, shape = _element(tensor), tensor["shape"]
    if _content_type(tensor) == "json":
        return str(value)
    if shape != [1]:
        # MLServer's lists of texts have a second dimension, which is none of the list's.
        for length in reversed(shape[:1] if tensor["datatype"] == "BYTES" else shape):
            value = [value] * max(length, 1)
    return json.dumps(value)


def _element(tensor: dict[str, Any]) -> Any:
    datatype = tensor["datatype"]
    if datatype == "BYTES":
        return _TEXTS.get(_content_type(tensor), "text")
    if datatype == "BOOL":
        return True
    return 1.0 if datatype.startswith("FP") else 1


def _is_guess(tensor: dict[str, Any]) -> bool:
    # An array of one dimension is also what an annotation without a shape is described as.
    unshaped = _content_type(tensor) == "np" and tensor["shape"] == [-1]
    return unshaped or _content_type(tensor) in ("json", "pd")


def _content_type(tensor: dict[str, Any]) -> str:
    return _parameters(tensor).get("content_type") or ""


def _parameters(tensor: dict[str, Any]) -> dict[str, Any]:
    return tensor.get("parameters") or {}
