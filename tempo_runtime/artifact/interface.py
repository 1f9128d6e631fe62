"""The part of an artifact that its callers need: it goes into an OpenAPI document."""

from __future__ import annotations

import json
import os

from tempo_runtime._util import json_files
from tempo_runtime.artifact import store
from tempo_runtime.artifact.description import Description
from tempo_runtime.errors import ArtifactDamaged
from tempo_runtime.protocol.openapi import DescribedPipeline

_LARGEST = 100_000  # bytes of a recorded example; a document is read by people


def described(folder: str, description: Description, name: str | None = None) -> DescribedPipeline:
    """Return what is known of a pipeline without its code.

    Args:
        folder: The artifact.
        description: Its description.
        name: Name it is served under, if that differs.
    """
    return DescribedPipeline(
        name or description.name,
        description.description,
        description.signature.streams,
        description.schemas,
        description.example,
        _recorded(folder),
    )


def _recorded(folder: str) -> dict[str, object] | None:
    """Return the request of the recorded example, if there is one that people can read."""
    path = os.path.join(folder, store.EXAMPLE)
    try:
        if os.path.getsize(path) > _LARGEST:
            return None
        request = json_files.read_object(path, "record it again").get("request")
    except (OSError, ArtifactDamaged):
        return None
    return request if isinstance(request, dict) and len(json.dumps(request)) < _LARGEST else None
