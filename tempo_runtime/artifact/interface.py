"""The part of an artifact that its callers need: it goes into an OpenAPI document."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import orjson

from tempo_runtime._util import json_files
from tempo_runtime.artifact import store
from tempo_runtime.artifact.description import Description
from tempo_runtime.errors import ArtifactDamaged, TempoError
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.binding import decode_arguments
from tempo_runtime.protocol.messages import request_from_object
from tempo_runtime.protocol.openapi import DescribedPipeline
from tempo_runtime.protocol.plain import write_arguments
from tempo_runtime.protocol.signature import Signature

_LARGEST = 100_000  # bytes of a recorded example; a document is read by people


def described(folder: str, description: Description, name: str | None = None) -> DescribedPipeline:
    """Return what is known of a pipeline without its code.

    Args:
        folder: The artifact.
        description: Its description.
        name: Name it is served under, if that differs.
    """
    request = _recorded(folder)
    return DescribedPipeline(
        name or description.name,
        description.description,
        description.signature.streams,
        description.schemas,
        _arguments(description, request) or description.example,
        request,
    )


def _arguments(
    description: Description, request: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """Return the arguments of the recorded example as plain JSON, if a plain call can send them."""
    if request is None:
        return None
    inputs = description.signature.metadata()["inputs"]
    signature = Signature(tuple(map(codec.spec_described, inputs)))
    try:
        recorded = request_from_object(dict(request))
        values = decode_arguments(signature, recorded.tensors, recorded.parameters)
        arguments: dict[str, Any] = orjson.loads(write_arguments(signature, values))
    except (TempoError, ValueError, TypeError):
        return None
    return arguments


def _recorded(folder: str) -> dict[str, Any] | None:
    """Return the request of the recorded example, if there is one that people can read."""
    path = os.path.join(folder, store.EXAMPLE)
    try:
        if os.path.getsize(path) > _LARGEST:
            return None
        request = json_files.read_object(path, "record it again").get("request")
    except (OSError, ArtifactDamaged):
        return None
    return request if isinstance(request, dict) and len(json.dumps(request)) < _LARGEST else None
