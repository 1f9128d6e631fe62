"""Write the lines that `serve` and `deploy` print for calling the served models."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tempo_runtime.errors import ArtifactMissing, TempoError

if TYPE_CHECKING:
    from tempo_runtime.artifact.description import Description
    from tempo_runtime.protocol.messages import Request
    from tempo_runtime.servers.example_request import Example

_LONGEST = 4000  # characters of a recorded request that a line may hold
_COLUMNS = ("sklearn", "mlserver_sklearn.SKLearnModel")


def lines(
    name: str,
    folder: str,
    inputs: Sequence[Mapping[str, Any]],
    url: str,
    target: str,
    implementation: str | None = None,
) -> Iterator[str]:
    """Write the lines that call a model, with notes about them as comments.

    Each line can be run as it stands. It sends the artifact's recorded example, or one made from its
    signature.

    Args:
        name: The model's name.
        folder: Its artifact, or its folder.
        inputs: Its inputs, as V2 metadata.
        url: Its server.
        target: The target for `tempo-runtime predict`.
        implementation: The runtime that serves it, if that is not ours.
    """
    example, note = example_of(name, folder, inputs, implementation)
    if example is not None:
        yield example.curl(url, name)
        if (line := example.predict(target)) is not None:
            yield line
    if note:
        yield note


def example_of(
    name: str,
    folder: str,
    inputs: Sequence[Mapping[str, Any]],
    implementation: str | None = None,
) -> tuple[Example | None, str]:
    """Find the artifact's recorded example, or make one from the signature.

    Args:
        name: The model's name.
        folder: Its artifact, or its folder.
        inputs: Its inputs, as V2 metadata.
        implementation: The runtime that serves it, if that is not ours.

    Returns:
        The example, if there is one, and a comment about it; empty if there is nothing to say.
    """
    description = _description(folder)
    recorded = _recorded(folder, inputs, description)
    example = recorded or _from_signature(folder, inputs, description, implementation)
    if example is None:
        takes = "an array that is too large for a line" if inputs else "unknown"
        if any((tensor.get("parameters") or {}).get("content_type") == "pd" for tensor in inputs):
            takes = "a DataFrame with unknown columns"
        remedy = f"; `tempo-runtime check {folder} INPUT` records an example" if description else ""
        return None, f"# {name}: no line, because its input is {takes}{remedy}"
    if recorded is not None:
        return example, f"# {name}: the example recorded in its artifact"
    if example.guessed:
        guessed = ", ".join(example.guessed)
        return example, f"# {name}: {guessed}: the values are guessed; replace them"
    return example, ""


def _description(folder: str) -> Description | None:
    from tempo_runtime.artifact import store

    # A model's file, as other servers' models are named, and a remote URI have none.
    with contextlib.suppress(ArtifactMissing):
        return store.read_description(folder, to_run=False) if os.path.isdir(folder) else None
    return None


def _recorded(
    folder: str, inputs: Sequence[Mapping[str, Any]], description: Description | None
) -> Example | None:
    """Read the example that `tempo-runtime check` recorded, if a line can hold it."""
    from tempo_runtime.cli.calling import checking
    from tempo_runtime.servers.example_request import Example

    recorded = checking.example(folder) if os.path.isdir(folder) else None
    if recorded is None:
        return None
    body = _body(recorded[0])
    if len(json.dumps(body)) > _LONGEST:
        return None
    return Example(body, _arguments(recorded[0], body, inputs), (), _streams(description))


def _body(request: Request) -> dict[str, Any]:
    from tempo_runtime.protocol.messages import request_to_json

    body: dict[str, Any] = json.loads(request_to_json(request))
    body.pop("id", None)
    return body


def _arguments(
    request: Request, body: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]
) -> tuple[str, ...] | None:
    """Write a request's arguments for `predict`; None if `predict` would not make the same request."""
    from tempo_runtime.cli.calling import arguments as reading
    from tempo_runtime.cli.calling import results
    from tempo_runtime.protocol import codec
    from tempo_runtime.protocol.binding import decode_arguments
    from tempo_runtime.protocol.signature import Signature

    signature = Signature(tuple(map(codec.spec_described, map(dict, inputs))))
    with contextlib.suppress(TempoError, ValueError, TypeError):
        values = decode_arguments(signature, request.tensors, {})
        given = [f"{name}={json.dumps(results.plain(value))}" for name, value in values.items()]
        again = reading.read(signature, args=given)
        if isinstance(again, reading.Arguments) and _body(again.request(tagged=True)) == body:
            return tuple(word for text in given for word in ("--arg", text))
    return None


def _from_signature(
    folder: str,
    inputs: Sequence[Mapping[str, Any]],
    description: Description | None,
    implementation: str | None,
) -> Example | None:
    from tempo_runtime.artifact import pickle_imports, topology
    from tempo_runtime.servers import example_request as example

    if inputs or description is not None:
        called = {} if description is None else topology.described(description, folder)
        children = [child.folder for child in called.values() if child.platform in _COLUMNS]
        known = {names for place in children if place and (names := pickle_imports.features(place))}
        columns = known.pop() if len(known) == 1 else None
        values = None if description is None else description.example
        return example.of_inputs(inputs, values, features=columns, streams=_streams(description))
    columns = pickle_imports.features(folder) if implementation in _COLUMNS else None
    if columns is None:
        return None
    tensor = {"name": "input-0", "datatype": "FP64", "shape": [-1, columns]}
    return example.of_inputs([{**tensor, "parameters": {"content_type": "np"}}])


def _streams(description: Description | None) -> bool:
    return description is not None and description.signature.streams
