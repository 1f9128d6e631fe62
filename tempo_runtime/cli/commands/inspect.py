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
    "--verify", metavar="KEY", help="File of the public key that must match its signature."
)
def inspect(artifact: str, as_json: bool, verify: str | None) -> None:
    r"""Show what is in an ARTIFACT, and check its files, without running any of it.

    \b
    Example:
        tempo-runtime inspect examples/income/artifacts/explainer
    """
    from tempo_runtime.artifact import declaration, store, trust

    demands = None if verify is None else trust.TrustPolicy(keys=(verify,))
    manifest = store.inspect(artifact, demands)
    if as_json:
        echo_json(manifest)
        return
    from rich.markup import escape
    from rich.table import Table

    title = escape(f"{manifest['name']} ({artifact})")
    table = Table(title=title, show_header=False, title_justify="left")
    rows = {
        "takes": _tensors(manifest["signature"]["inputs"]),
        "gives": _tensors(manifest["signature"]["outputs"]),
        "calls": "\n".join(
            f"{alias}: {child['name']} ({child['platform']})  [dim]{child.get('digest') or ''}[/]"
            for alias, child in manifest["children"].items()
        ),
        "saved with": f"tempo_runtime {manifest['tempo_runtime']}, Python {manifest['python']}",
        "packages": "\n".join(f"{name} {found}" for name, found in manifest["packages"].items()),
        "environment": _environment(manifest),
        "files": "\n".join(f"{path}  {sha[:12]}" for path, sha in manifest["files"].items()),
        "your code": declaration.code(manifest["code"]) if manifest["code"] else "",
        "its pickle imports": ", ".join(manifest["imports"]),
        "size": size(manifest["bytes"]),
        "digest": manifest["digest"],
        "signed": "yes" if manifest.get("signed") else "no",
    }
    for heading, text in rows.items():
        table.add_row(f"[bold]{heading}[/]", escape(text) or "nothing")
    shown = console()
    shown.print(table)
    shown.print("[green]✓[/] every file is the one that was saved")
    if verify is not None:
        shown.print(f"[green]✓[/] it is signed with the key {escape(verify)}")


def _environment(manifest: dict[str, Any]) -> str:
    packed = manifest.get("environment")
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
