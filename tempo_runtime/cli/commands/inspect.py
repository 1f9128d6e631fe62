"""`tempo-runtime inspect`."""

from __future__ import annotations

import click

from tempo_runtime.cli.options import artifact_argument, echo_json, json_option
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
    from tempo_runtime.artifact import store

    inspected = store.inspect(artifact, verify=verify)
    description = inspected.description
    if as_json:
        rest = ("digest", "bytes", "code", "imports")
        echo_json({**description.stored, **{name: getattr(inspected, name) for name in rest}})
        return
    from rich.markup import escape
    from rich.table import Table

    title = escape(f"{description.name} ({artifact})")
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a digest is useless without its end
    for heading, text in inspected.rows().items():
        table.add_row(f"[bold]{heading}[/]", escape(text) or "none")
    shown = console()
    shown.print(table)
    shown.print("[green]✓[/] every file is as it was saved")
    if verify is not None:
        shown.print(f"[green]✓[/] the signature matches the key {escape(verify)}")
