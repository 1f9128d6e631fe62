"""The names of columns that `save` is given, for pipelines whose code does not have them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress

from pydantic import TypeAdapter, ValidationError

from tempo_runtime._util import json_files
from tempo_runtime.artifact.description import ColumnDescription, Description
from tempo_runtime.errors import ArtifactDamaged, AuthoringError
from tempo_runtime.protocol.columns import Columns
from tempo_runtime.protocol.json_schema import COLUMNS
from tempo_runtime.protocol.signature import Kind, Signature, TensorSpec
from tempo_runtime.protocol.tensor import BYTES

EXAMPLE = "example.json"
_COLUMNS = TypeAdapter(list[ColumnDescription])
logger = logging.getLogger(__name__)


def given_or_kept(
    given: Mapping[str, Columns] | None,
    signature: Signature,
    folder: str,
    committed: Description | None,
) -> dict[str, Columns]:
    """Return the names for an artifact: those that are given, or else those that it was saved with.

    Args:
        given: Argument -> its columns; None to keep those of the artifact that is there.
        signature: The signature of the pipeline.
        folder: The folder of the artifact.
        committed: The description of the artifact that is there.

    Raises:
        AuthoringError: If those that are given, or those in annotations, do not fit the signature or the
            recorded example.
    """
    check(signature, folder)
    if given is not None:
        check(signature.with_columns(given), folder)
        return dict(given)
    kept = {}
    for argument, columns in _saved(committed).items():
        try:
            check(signature.with_columns({argument: columns}), folder)
        except AuthoringError as error:
            logger.warning(
                "the names of columns that %s was saved with do not fit any more, and are left out: %s",
                folder,
                error,
            )
        else:
            kept[argument] = columns
    return kept


def check(signature: Signature, folder: str) -> None:
    """Refuse names whose number is not that of the columns in the recorded example.

    Args:
        signature: The signature, with the names.
        folder: The folder of the artifact.

    Raises:
        AuthoringError: With the argument at fault.
    """
    for tensor in _recorded(folder):
        spec = signature.input(str(tensor.get("name")))
        count = None if spec is None else _count(spec, tensor)
        if spec is None or spec.columns is None or count in (None, len(spec.columns.names)):
            continue
        raise AuthoringError(
            f"{spec.name}: {len(spec.columns.names)} columns are named, and the example in "
            f"{os.path.join(folder, EXAMPLE)} has {count}; correct the names, or remove that file if it "
            "is out of date"
        )


def described(columns: Mapping[str, Columns]) -> dict[str, list[ColumnDescription]]:
    """Return names of columns as tempo.json has them."""
    return {
        argument: [ColumnDescription(**column) for column in named.described()]
        for argument, named in columns.items()
    }


def of(description: Description) -> dict[str, list[ColumnDescription]]:
    """Return the columns of each argument that names them: in its annotation, or when it was saved."""
    arguments = description.schemas.get("arguments")
    properties = arguments.get("properties") if isinstance(arguments, dict) else None
    found = {}
    for argument, schema in (properties if isinstance(properties, dict) else {}).items():
        with suppress(ValidationError, AttributeError):  # not written by `save`
            if (columns := schema.get(COLUMNS)) is not None:
                found[argument] = _COLUMNS.validate_python(columns)
    return found


def _saved(committed: Description | None) -> dict[str, Columns]:
    saved = {}
    for argument, columns in ({} if committed is None else committed.columns).items():
        with suppress(AuthoringError):  # not written by `save`
            saved[argument] = Columns(
                [column.name for column in columns],
                {column.name: column.categories for column in columns if column.categories},
            )
    return saved


def _recorded(folder: str) -> list[Mapping[str, object]]:
    """Return the tensors of the recorded request; none if there is no example that can be read."""
    try:
        request = json_files.read_object(os.path.join(folder, EXAMPLE)).get("request")
    except (OSError, ArtifactDamaged):
        return []
    inputs = request.get("inputs") if isinstance(request, dict) else None
    return [tensor for tensor in inputs or () if isinstance(tensor, dict)]


def _count(spec: TensorSpec, tensor: Mapping[str, object]) -> int | None:
    """Return the number of columns of an array in the recorded request; None if it is not an array."""
    is_array = spec.kind is Kind.ARRAY or (
        spec.kind is Kind.ANY and tensor.get("datatype") != BYTES
    )
    shape = tensor.get("shape")
    return shape[-1] if is_array and isinstance(shape, list) and shape else None
