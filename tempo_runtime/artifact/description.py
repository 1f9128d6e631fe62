"""The description of an artifact: its `tempo.json`.

`Description` is the one definition of that file. Everything that is read from an artifact is read through
it, so a damaged or hostile description is refused, by the name of the field, before any of it is used.

Format 2 declares the pipeline as a whole. In format 1, the pickle held the signature's Python types, the
constructor's kind and the details of the children; those fields are None when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from typing_extensions import Self

from tempo_runtime import __version__
from tempo_runtime._util import json_files
from tempo_runtime._util.printable import shortened
from tempo_runtime.errors import ArtifactDamaged, ArtifactIncompatible
from tempo_runtime.protocol.signature import Kind, OutputForm
from tempo_runtime.settings import InsightsOptions, StateOptions

FORMAT_VERSION = 2
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

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, hide_input_in_errors=True)


class TensorParameters(_Part):
    """`parameters` of a tensor in V2 metadata.

    Attributes:
        content_type: How MLServer decodes it.
        optional: Whether an input may be left out.
        dtype: `any` where arrays of every element type are taken.
    """

    content_type: _Name
    optional: bool = False
    dtype: Any = None


class TensorDescription(_Part):
    """A tensor, as a server describes it in V2 metadata.

    Attributes:
        name: Its name.
        datatype: Its V2 datatype.
        shape: Its dimensions, -1 for any length.
        parameters: Its parameters.
    """

    name: _Text
    datatype: _Name
    shape: list[int]
    parameters: TensorParameters


class ValueDescription(_Part):
    """A value of a Python signature; its type is in the code. See `protocol.signature.TensorSpec`."""

    name: _Text
    kind: Annotated[Kind, Field(strict=False)]
    dtype: _Name | None = None
    shape: list[int] | None = None
    has_default: bool = False
    nullable: bool = False


class PythonSignature(_Part):
    """How tensors become arguments, and a result becomes tensors. See `protocol.signature.Signature`."""

    inputs: list[ValueDescription]
    outputs: list[ValueDescription]
    form: OutputForm


class SignatureDescription(_Part):
    """The inputs and outputs of a model.

    Attributes:
        inputs: The tensors that it takes.
        outputs: The tensors that it gives; none where each answer names its own.
        streams: Whether it streams.
        python: The same for Python; None in format 1.
    """

    inputs: list[TensorDescription]
    outputs: list[TensorDescription]
    streams: bool
    python: PythonSignature | None = None

    def metadata(self) -> dict[str, list[dict[str, Any]]]:
        """Return the tensors as JSON of V2 metadata."""
        return {
            name: [tensor.model_dump(mode="json", exclude_unset=True) for tensor in tensors]
            for name, tensors in (("inputs", self.inputs), ("outputs", self.outputs))
        }


class BatchingDescription(_Part):
    """How calls of different requests to a model are put together. See `settings.Batching`."""

    max_rows: Annotated[int, Field(ge=1)]
    max_delay: Annotated[float, Field(ge=0, allow_inf_nan=False)]


def known_insights(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the stored options of request logs that this version knows."""
    return {name: value for name, value in stated.items() if name in InsightsOptions.model_fields}


def known_state(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the stored options of a state that this version knows."""
    return {name: value for name, value in stored.items() if name in StateOptions.model_fields}


class _WithOptions(_Part):
    """A model that may declare options; one that does not is written without them, as it always was."""

    batching: BatchingDescription | None = None
    insights: dict[_Name, Any] | None = None
    state: dict[_Name, Any] | None = None
    output: _Name | None = None

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if self.insights is not None:
            InsightsOptions.model_validate(known_insights(self.insights))
        if self.state is not None:
            StateOptions.model_validate(known_state(self.state))
        return self

    @model_serializer(mode="wrap")
    def _without_none(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        for name in ("batching", "insights", "state", "output"):
            if getattr(self, name) is None:
                written.pop(name, None)
        return written


class ModelDescription(_WithOptions):
    """A model, as its author declared it.

    Attributes:
        name: Name it is served under.
        platform: Its framework.
        uri: Where its artifact is uploaded to, and served from.
        description: A sentence for people.
        signature: What it takes and gives, if that is known.
        batching: How its callers put their calls together, if they do.
        insights: How its requests are logged, if it declares that; see `settings.InsightsOptions`.
        state: Where it keeps its state, if it has one; see `settings.StateOptions`.
        output: Output that its callers ask for; None for the one that its server gives.
    """

    name: _Name
    platform: _Name
    uri: _Place | None = None
    description: _Text = ""
    signature: SignatureDescription | None = None


class ChildDescription(ModelDescription):
    """A model that a pipeline calls.

    Attributes:
        folder: Its folder, relative to the artifact's; None if it had none.
        modules: The author's modules that unpickling the model needs.
        digest: Digest of its files, if they were there.
    """

    folder: _Place | None = None
    modules: list[_Name] = []
    digest: _Name | None = None


class ConstructorDescription(_Part):
    """How the object that is called is made.

    Attributes:
        kind: Whether the pickle holds a class, which is made without arguments; an instance of one; or a
            function.
        predict: Name of a class's predict method.
        load: Name of a class's load method, if it has one.
    """

    kind: Literal["class", "instance", "function"]
    predict: _Name | None = None
    load: _Name | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.predict is None) != (self.kind == "function"):
            raise ValueError("a class has a predict method, and a function has none")
        return self


class PipelineDescription(_WithOptions):
    """A pipeline, as its author declared it.

    Attributes:
        name: Name it is served under.
        platform: `tempo`, or what a model made of Python code says it is; None in format 1.
        description: A sentence for people.
        uri: Where its artifact is uploaded to, and served from.
        signature: What it takes and gives.
        constructor: How it is made; None in format 1.
        children: Alias -> the models it calls.
        batching: How its callers put their calls together, if they do.
        insights: How its requests are logged, if it declares that.
        state: Where it keeps its state, if it has one; see `settings.StateOptions`.
    """

    name: _Name
    platform: _Name | None = None
    description: _Text = ""
    uri: _Place = ""
    signature: SignatureDescription
    constructor: ConstructorDescription | None = None
    children: dict[_Name, ChildDescription]


class EnvironmentDescription(_Part):
    """The Python environment that was packed into an artifact.

    Attributes:
        maker: What packed it: `conda` or `venv`.
        python: Version of its Python.
        interpreter: The Python that it needs on the machine, if it brings none.
    """

    maker: _Name
    python: _Name
    interpreter: _Place | None = None


class ColumnDescription(_Part):
    """A column of an argument, for people.

    Attributes:
        name: Its name.
        categories: Names of its categories, whose values are their positions; None for plain numbers.
    """

    name: _Text
    categories: list[_Text] | None = None


class Description(PipelineDescription):
    """The content of a tempo.json.

    Attributes:
        format_version: The format; a later one is refused.
        tempo_runtime: The version that saved it.
        python: The minor version of Python that saved it: a pickle holds bytecode.
        example: Argument -> an example value, as JSON.
        schemas: JSON Schemas of its arguments and its result, as `protocol.json_schema` makes them; empty
            in artifacts that were saved without them.
        columns: Argument -> the names of its columns that `save` was given; those of annotations are in
            `schemas` alone, which have both.
        packages: Name -> version, of the installed packages that its code imports.
        files: Path -> SHA-256, of all its files but this one and those that people edit.
        environment: Its packed environment, if it has one.
        source: Digest of what it was made from; two artifacts of the same code and state have the same.
        signed: Its Ed25519 signature, if it is signed.
    """

    format_version: int
    tempo_runtime: _Name
    python: _Name
    example: dict[_Name, Any] = {}
    schemas: dict[_Name, Any] = {}
    columns: dict[_Name, list[ColumnDescription]] = {}
    packages: dict[_Name, _Name]
    files: dict[_Path, _Sha256]
    environment: EnvironmentDescription | None = None
    source: _Name | None = None
    signed: _Name | None = None

    _stored: dict[str, Any] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.format_version < 2:
            return self
        if self.constructor is None or self.platform is None or self.signature.python is None:
            raise ValueError("it lacks `constructor`, `platform` or `signature.python`")
        if any(c.signature and not c.signature.python for c in self.children.values()):
            raise ValueError("the signature of a child lacks `python`")
        return self

    @classmethod
    def read(cls, path: str) -> Self:
        """Read an artifact's description.

        Args:
            path: Its tempo.json.

        Raises:
            FileNotFoundError: If there is no such file.
            ArtifactDamaged: If it is not a file that `save` writes.
            ArtifactIncompatible: If it has a newer format.
        """
        return cls.of(json_files.read_object(path, _REMEDY), path)

    @classmethod
    def parse(cls, content: bytes, source: str) -> Self:
        """Parse the content of a tempo.json, with the errors of `read`.

        Args:
            content: The content.
            source: Where the content is from, for errors.
        """
        return cls.of(json_files.parse_object(content, source, _REMEDY), source)

    @classmethod
    def of(cls, stored: dict[str, Any], source: str) -> Self:
        """Check the JSON of a tempo.json, with the errors of `read`.

        Args:
            stored: The JSON.
            source: Where it is from, for errors.
        """
        version = stored.get("format_version")
        if type(version) is int and version > FORMAT_VERSION:
            raise ArtifactIncompatible(
                f"{shortened(source, 300)} was saved by tempo_runtime "
                f"{shortened(stored.get('tempo_runtime'))} in format {shortened(version)}; this is "
                f"{__version__}, which reads up to {FORMAT_VERSION}: upgrade tempo_runtime"
            )
        try:
            description = cls.model_validate(stored)
        except ValidationError as error:
            raise ArtifactDamaged(
                f"{shortened(source, 300)} is not what save writes ({_faults(error)}); {_REMEDY}"
            ) from error
        description._stored = stored
        return description

    @property
    def stored(self) -> dict[str, Any]:
        """The JSON as it is stored, with the fields of later versions: the digest is computed from it."""
        if self._stored is None:
            written = self.model_dump(mode="json", exclude_unset=True)
            first = {
                name: written.pop(name) for name in ("format_version", "tempo_runtime", "python")
            }
            self._stored = {**first, **written}
        return self._stored

    @property
    def digest(self) -> str:
        """The digest of the artifact; see `digest_of`."""
        return digest_of(self.stored)


def digest_of(stored: Mapping[str, Any]) -> str:
    """Compute the digest of an artifact from its tempo.json, which has those of all its files.

    model-settings.json, which people and platforms edit, is not part of it; nor is the signature.

    Args:
        stored: The JSON of its tempo.json.
    """
    return f"sha256:{hashlib.sha256(signed_part(stored)).hexdigest()}"


def signed_part(stored: Mapping[str, Any]) -> bytes:
    """Return the bytes that are signed: the content, however it is indented.

    Args:
        stored: The JSON of a tempo.json.
    """
    content = {name: value for name, value in stored.items() if name != "signed"}
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    shown = []
    for fault in faults[:_SHOWN]:
        place = shortened(".".join(str(part) for part in fault["loc"] if part != "[key]"), 100)
        reason = fault["msg"].removeprefix("Value error, ")
        is_whole = fault["type"] == "missing" or not place
        given = "" if is_whole else f", got {shortened(repr(fault['input']), 60)}"
        shown.append(f"{place}: {reason}{given}" if place else reason)
    if len(faults) > _SHOWN:
        shown.append(f"and {len(faults) - _SHOWN} more")
    return "; ".join(shown)
