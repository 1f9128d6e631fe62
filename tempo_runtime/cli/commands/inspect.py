"""`tempo-runtime inspect`."""

from __future__ import annotations

from typing import Any

import click

from tempo_runtime.cli.options import artifact_argument, echo_json, json_option, size
from tempo_runtime.cli.terminal import console


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
    from tempo_runtime.artifact import declaration, store, trust

    policy = None if verify is None else trust.TrustPolicy(keys=(verify,))
    description = store.inspect(artifact, policy)
    if as_json:
        echo_json(description)
        return
    from rich.markup import escape
    from rich.table import Table

    title = escape(f"{description['name']} ({artifact})")
    table = Table(title=title, show_header=False, title_justify="left")
    rows = {
        "inputs": _tensors(description["signature"]["inputs"]),
        "outputs": _tensors(description["signature"]["outputs"]),
        "calls": "\n".join(
            f"{alias}: {child['name']} ({child['platform']})  [dim]{child.get('digest') or ''}[/]"
            for alias, child in description["children"].items()
        ),
        "saved with": f"tempo_runtime {description['tempo_runtime']}, Python {description['python']}",
        "packages": "\n".join(
            f"{name} {version}" for name, version in description["packages"].items()
        ),
        "environment": _environment(description),
        "files": "\n".join(f"{path}  {sha[:12]}" for path, sha in description["files"].items()),
        "your code": declaration.code(description["code"]) if description["code"] else "",
        "pickle imports": ", ".join(description["imports"]),
        "size": size(description["bytes"]),
        "digest": description["digest"],
        "signed": "yes" if description.get("signed") else "no",
    }
    for heading, text in rows.items():
        table.add_row(f"[bold]{heading}[/]", escape(text) or "none")
    shown = console()
    shown.print(table)
    shown.print("[green]✓[/] every file is as it was saved")
    if verify is not None:
        shown.print(f"[green]✓[/] the signature matches the key {escape(verify)}")


def _environment(description: dict[str, Any]) -> str:
    packed = description.get("environment")
    if not packed:
        return ""
    where = f", needs {packed['interpreter']}" if packed["interpreter"] else ""
    return f"made by {packed['maker']}, Python {packed['python']}{where}"


def _tensors(tensors: list[dict[str, Any]]) -> str:
    lines = []
    for tensor in tensors:
        parameters = tensor["parameters"]
        kind = "any type" if parameters.get("dtype") == "any" else tensor["datatype"]
        optional = ", optional" if parameters.get("optional") else ""
        lines.append(f"{tensor['name']}: {kind}, {parameters['content_type']}{optional}")
    return "\n".join(lines)
