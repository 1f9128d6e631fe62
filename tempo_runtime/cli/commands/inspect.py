"""`tempo-runtime inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from tempo_runtime.cli.options import artifact_argument, echo_json, json_option, size
from tempo_runtime.cli.terminal import console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tempo_runtime.artifact.description import (
        ChildDescription,
        ColumnDescription,
        EnvironmentDescription,
        SignatureDescription,
    )


@click.command()
@artifact_argument
@json_option
@click.option(
    "--verify", metavar="KEY", help="File with the public key that must match the signature."
)
def inspect(artifact: str, as_json: bool, verify: str | None) -> None:
    r"""Show what is in an artifact, and check its files.

    No code of the artifact is run.

    \b
    Example:
        tempo-runtime inspect examples/income/artifacts/explainer
    """
    from tempo_runtime.artifact import columns, declaration, store, trust

    policy = None if verify is None else trust.TrustPolicy(keys=(verify,))
    inspected = store.inspect(artifact, policy)
    description = inspected.description
    if as_json:
        rest = {name: value for name, value in vars(inspected).items() if name != "description"}
        echo_json({**description.stored, **rest})
        return
    from rich.markup import escape
    from rich.table import Table

    title = escape(f"{description.name} ({artifact})")
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a digest is useless without its end
    rows = {
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
        "your code": declaration.code(inspected.code) if inspected.code else "",
        "pickle imports": ", ".join(inspected.imports),
        "size": size(inspected.bytes),
        "digest": inspected.digest,
        "signed": "yes" if description.signed else "no",
    }
    if not rows["columns"]:
        del rows["columns"]  # few pipelines name them
    for heading, text in rows.items():
        table.add_row(f"[bold]{heading}[/]", escape(text) or "none")
    shown = console()
    shown.print(table)
    shown.print("[green]✓[/] every file is as it was saved")
    if verify is not None:
        shown.print(f"[green]✓[/] the signature matches the key {escape(verify)}")


def _columns(named: Mapping[str, Sequence[ColumnDescription]]) -> str:
    return "\n".join(
        f"{argument}: {', '.join(map(_column, columns))}" for argument, columns in named.items()
    )


def _column(column: ColumnDescription) -> str:
    return (
        f"{column.name} ({len(column.categories)} categories)" if column.categories else column.name
    )


def _server(child: ChildDescription) -> str:
    from tempo_runtime.authoring.details import SERVED_BY_TRITON

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
    from tempo_runtime.protocol.signature import Kind

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
