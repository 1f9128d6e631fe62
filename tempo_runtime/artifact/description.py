"""Read an artifact's description, its tempo.json, and check all of it before any is used.

Code that reads a description relies on its types, and a description may be damaged or hostile.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tempo_runtime import __version__
from tempo_runtime._util import json_files
from tempo_runtime._util.printable import shortened
from tempo_runtime.errors import ArtifactDamaged, ArtifactIncompatible

FORMAT_VERSION = 1
_REMEDY = "copy the whole folder again, or save again"
_LONGEST_PATH, _LONGEST_NAME = 4096, 255  # bytes, as file systems have it
_SHOWN = 3  # faults


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character")
    return text


def _inside(path: str) -> str:
    parts = path.split("/")
    if os.path.isabs(path) or not {"", ".", ".."}.isdisjoint(parts):
        raise ValueError("it is outside the artifact")
    if max(map(len, map(os.fsencode, parts))) > _LONGEST_NAME or len(path) > _LONGEST_PATH:
        raise ValueError("it is too long for the name of a file")
    return path


_Text = Annotated[str, AfterValidator(_without_nul)]
_Name = Annotated[_Text, Field(min_length=1, max_length=_LONGEST_NAME)]
_Place = Annotated[_Text, Field(max_length=_LONGEST_PATH)]
_Path = Annotated[_Text, AfterValidator(_inside)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    """A part of a description; fields that a later version adds are kept without a check."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Parameters(_Part):
    content_type: _Name
    optional: bool = False


class _Tensor(_Part):
    name: _Text
    datatype: _Name
    shape: list[int]
    parameters: _Parameters


class _Signature(_Part):
    inputs: list[_Tensor]
    outputs: list[_Tensor]
    streams: bool


class _Child(_Part):
    name: _Name
    platform: _Name
    uri: _Place | None = None
    folder: _Place | None = None
    modules: list[_Name] = []
    digest: _Name | None = None


class _Environment(_Part):
    maker: _Name
    python: _Name
    interpreter: _Place | None = None


class _Description(_Part):
    format_version: int
    tempo_runtime: _Name
    python: _Name
    name: _Name
    description: _Text = ""
    uri: _Place = ""
    signature: _Signature
    example: dict[_Name, Any] = {}
    children: dict[_Name, _Child]
    packages: dict[_Name, _Name]
    files: dict[_Path, _Sha256]
    environment: _Environment | None = None
    source: _Name | None = None
    signed: _Name | None = None


def read(path: str) -> dict[str, Any]:
    """Read an artifact's description.

    Args:
        path: Its tempo.json.

    Returns:
        Its JSON, unchanged: the artifact's digest is computed from that.

    Raises:
        FileNotFoundError: If there is no such file.
        ArtifactDamaged: If it is not a file that `save` writes.
        ArtifactIncompatible: If it has a newer format.
    """
    return _checked(json_files.read_object(path, _REMEDY), path)


def parse(content: bytes, source: str) -> dict[str, Any]:
    """Parse the content of a tempo.json, with the errors of `read`.

    Args:
        content: The content.
        source: Where the content is from, for errors.
    """
    return _checked(json_files.parse_object(content, source, _REMEDY), source)


def _checked(content: dict[str, Any], source: str) -> dict[str, Any]:
    version = content.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise ArtifactIncompatible(
            f"{shortened(source, 300)} was saved by tempo_runtime "
            f"{shortened(content.get('tempo_runtime'))} in format {shortened(version)}; this is "
            f"{__version__}, which reads up to {FORMAT_VERSION}: upgrade tempo_runtime"
        )
    try:
        _Description.model_validate(content)
    except ValidationError as error:
        raise ArtifactDamaged(
            f"{shortened(source, 300)} is not what save writes ({_faults(error)}); {_REMEDY}"
        ) from error
    return content


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    told = []
    for fault in faults[:_SHOWN]:
        place = shortened(".".join(str(part) for part in fault["loc"] if part != "[key]"), 100)
        reason = fault["msg"].removeprefix("Value error, ")
        given = "" if fault["type"] == "missing" else f", got {shortened(repr(fault['input']), 60)}"
        told.append(f"{place}: {reason}{given}")
    if len(faults) > _SHOWN:
        told.append(f"and {len(faults) - _SHOWN} more")
    return "; ".join(told)
