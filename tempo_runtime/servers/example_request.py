"""Write shell lines with a request for a model, as a starting point for people."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

_LARGEST = 10_000  # maximum number of an input's values on a line
_TEXTS = {
    "base64": "dGV4dA==",
    "datetime": "2026-01-31T12:00:00",
}


@dataclass(frozen=True)
class Example:
    """A call of a model.

    Attributes:
        request: Its V2 request.
        arguments: The words for `predict` with the same arguments; None if it cannot make this call.
        guessed: Names of the inputs with guessed values, because the signature does not describe a
            JSON value or the number of columns of an array.
        streams: Whether the model answers in parts.
    """

    request: Mapping[str, Any]
    arguments: tuple[str, ...] | None
    guessed: tuple[str, ...] = ()
    streams: bool = False

    def curl(self, url: str, model: str) -> str:
        """Write a shell line that sends the request.

        Args:
            url: The server.
            model: Name of the model.
        """
        body = shlex.quote(json.dumps(self.request, separators=(",", ":")))
        curl, verb = ("curl -sN", "infer_stream") if self.streams else ("curl -s", "infer")
        place = shlex.quote(f"{url}/v2/models/{model}/{verb}")
        return f"{curl} {place} -H 'content-type: application/json' -d {body}"

    def predict(self, target: str) -> str | None:
        """Write a shell line that makes the same call with values.

        Args:
            target: The target for `tempo-runtime predict`.

        Returns:
            The line; None if the values cannot be written on a line.
        """
        if self.arguments is None:
            return None
        return shlex.join(("tempo-runtime", "predict", target, *self.arguments))


def of_inputs(
    inputs: Sequence[Mapping[str, Any]],
    values: Mapping[str, Any] | None = None,
    *,
    features: int | None = None,
    streams: bool = False,
) -> Example | None:
    """Make an example from a model's inputs.

    Args:
        inputs: V2 metadata tensors, as in model-settings.json.
        values: Example values of inputs, in JSON, as in an artifact's description.
        features: Number of columns of an array with an open shape.
        streams: Whether the model answers in parts.

    Returns:
        The example; None if an input is a DataFrame, whose columns are unknown, or too large for a
        line.
    """
    known = values or {}
    needed = [_Input(tensor, known, features) for tensor in inputs if not _is_optional(tensor)]
    if any(needed_input.content_type == "pd" or needed_input.is_large for needed_input in needed):
        return None
    words = [
        word
        for needed_input in needed
        for word in ("--arg", f"{needed_input.name}={needed_input.argument()}")
    ]
    guessed = tuple(needed_input.name for needed_input in needed if needed_input.is_guess)
    return Example(
        {"inputs": [needed_input.tensor() for needed_input in needed]},
        tuple(words),
        guessed,
        streams,
    )


def _is_optional(tensor: Mapping[str, Any]) -> bool:
    return bool((tensor.get("parameters") or {}).get("optional"))


class _Input:
    """An input of a model, and a value for it.

    Args:
        described: Its V2 metadata tensor.
        values: Known values, by the names of inputs.
        features: See `of_inputs`.
    """

    def __init__(
        self, described: Mapping[str, Any], values: Mapping[str, Any], features: int | None
    ) -> None:
        self.name: str = described["name"]
        self.content_type: str = (described.get("parameters") or {}).get("content_type") or ""
        self._datatype: str = described["datatype"]
        self._is_known = self.name in values
        # An annotation without a shape is also described as a one-dimensional array.
        self._is_open = self.content_type == "np" and described["shape"] == [-1]
        shape = [1, features] if self._is_open and features else described["shape"]
        self._shape = [max(length, 1) for length in shape]
        self._is_scalar = described["shape"] == [1]
        self.is_large = prod(self._shape) > _LARGEST
        self._value = values[self.name] if self._is_known else self._element()
        if self._is_known and not self._is_scalar and self.content_type != "json":
            self._shape = [len(self._value), *self._shape[1:]]

    @property
    def is_guess(self) -> bool:
        """Whether the value may not fit the model."""
        return not self._is_known and (self._is_open or self.content_type == "json")

    def tensor(self) -> dict[str, Any]:
        """Make the tensor of a V2 request."""
        if self.content_type == "json":
            data = [json.dumps(self._value)]
        elif self._is_known:
            data = [self._value] if self._is_scalar else self._value
        else:
            data = [self._value] * prod(self._shape)
        tensor: dict[str, Any] = {
            "name": self.name,
            "shape": [1] if self.content_type == "json" else self._shape,
            "datatype": self._datatype,
            "data": data,
        }
        # This tells an input of any type how to read the bytes.
        if self.content_type and self._datatype == "BYTES":
            tensor["parameters"] = {"content_type": self.content_type}
        return tensor

    def argument(self) -> str:
        """Write the value as JSON."""
        value = self._value
        if not (self._is_known or self._is_scalar or self.content_type == "json"):
            # MLServer's lists of strings have a second dimension, which the list itself does not have.
            is_list = self._datatype == "BYTES" and self.content_type != "np"
            for length in reversed(self._shape[:1] if is_list else self._shape):
                value = [value] * length
        return json.dumps(value)

    def _element(self) -> Any:
        if self.content_type == "json":
            return {}
        if self._datatype == "BYTES":
            return _TEXTS.get(self.content_type, "text")
        if self._datatype == "BOOL":
            return True
        return 1.0 if self._datatype.startswith("FP") else 1
