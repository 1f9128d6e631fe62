"""Say what is in an artifact, for people: for the command line, and for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from tempo_runtime._util import html
from tempo_runtime.artifact import columns, declaration
from tempo_runtime.artifact.description import (
    ChildDescription,
    ColumnDescription,
    Description,
    EnvironmentDescription,
    SignatureDescription,
)
from tempo_runtime.authoring.details import SERVED_BY_TRITON
from tempo_runtime.protocol.signature import Kind


def rows(
    description: Description, code: Mapping[str, int], imports: Sequence[str], size: str
) -> dict[str, str]:
    """Return what is in an artifact: text by heading, which may be empty.

    Args:
        description: Its description.
        code: Path -> size, of the files of the author's code.
        imports: Names that its pickle would look up.
        size: The size of all its files.
    """
    found = {
        "description": description.description,
        "inputs": _tensors(description.signature, "inputs"),
        "columns": _columns(columns.of(description)),
        "outputs": _tensors(description.signature, "outputs"),
        "calls": "\n".join(
            f"{alias}: {child.name} ({child.platform}{_server(child)}{_options(child)})"
            + (f"\n  {child.digest}" if child.digest else "")
            for alias, child in description.children.items()
        ),
        "saved with": f"tempo_runtime {description.tempo_runtime}, Python {description.python}",
        "packages": "\n".join(
            f"{name} {version}" for name, version in description.packages.items()
        ),
        "environment": _environment(description.environment),
        "files": "\n".join(f"{path}  {sha[:12]}" for path, sha in description.files.items()),
        "your code": declaration.code(code) if code else "",
        "pickle imports": ", ".join(imports),
        "size": size,
        "digest": description.digest,
        "signed": "yes" if description.signed else "no",
    }
    if not found["columns"]:
        del found["columns"]  # few pipelines name them
    return found


def picture(name: str, folder: str, rows: Mapping[str, str], *parts: str) -> str:
    """Return one HTML element that shows an artifact.

    Args:
        name: Name of the pipeline.
        folder: Its folder.
        rows: Text by heading.
        parts: Further HTML below.
    """
    shown = (
        html.row(html.heading(heading), html.cell(text)) for heading, text in rows.items() if text
    )
    return html.element(name, f"artifact in {folder}", html.table("", (), shown), *parts)


def _columns(named: Mapping[str, Sequence[ColumnDescription]]) -> str:
    return "\n".join(
        f"{argument}: {', '.join(map(_column, columns))}" for argument, columns in named.items()
    )


def _column(column: ColumnDescription) -> str:
    return (
        f"{column.name} ({len(column.categories)} categories)" if column.categories else column.name
    )


def _server(child: ChildDescription) -> str:
    return ", on Triton" if child.platform in SERVED_BY_TRITON else ""


def _options(child: ChildDescription) -> str:
    output = f", output {child.output}" if child.output else ""
    return output + (f", batches of up to {child.batching.max_rows} rows" if child.batching else "")


def _environment(packed: EnvironmentDescription | None) -> str:
    if packed is None:
        return ""
    where = f", needs {packed.interpreter}" if packed.interpreter else ""
    return f"made by {packed.maker}, Python {packed.python}{where}"


def _tensors(signature: SignatureDescription, side: Literal["inputs", "outputs"]) -> str:
    python = {part.name: part for part in getattr(signature.python, side, ())}
    lines = []
    for tensor in getattr(signature, side):
        parameters = tensor.parameters
        kind = "any type" if parameters.dtype == "any" else tensor.datatype
        part = python.get(tensor.name)
        # V2 has no word for "of any rank", so an array's shape there says less than its annotation.
        shape = part.shape if part is not None and part.kind is Kind.ARRAY else tensor.shape
        sizes = "" if shape is None else f" [{', '.join(map(_size, shape))}]"
        optional = ", optional" if parameters.optional else ""
        lines.append(f"{tensor.name}: {kind}{sizes}, {parameters.content_type}{optional}")
    return "\n".join(lines)


def _size(length: int) -> str:
    return "any" if length == -1 else str(length)
