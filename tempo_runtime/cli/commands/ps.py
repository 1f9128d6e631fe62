"""`tempo-runtime ps`."""

from __future__ import annotations

import click

from tempo_runtime.cli.options import echo_json, json_option, print_whole
from tempo_runtime.cli.terminal import echo

_COLOURS = {"ready": "green", "not ready": "yellow", "ended": "red"}


@click.command()
@json_option
def ps(as_json: bool) -> None:
    """Show what is deployed on this machine, whoever deployed it."""
    from tempo_runtime.deploy.local import find

    deployments = list(find.deployments())
    if as_json:
        echo_json(
            [
                {
                    "name": each.name,
                    "id": each.id,
                    "target": each.target,
                    "owner": each.owner,
                    "created": each.created,
                    "models": [vars(model) for model in each.models()],
                }
                for each in deployments
            ]
        )
        return
    if not deployments:
        echo("Nothing is deployed here; `tempo-runtime deploy ARTIFACT` deploys a pipeline")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("deployment", "model", "state", "at", "as"):
        table.add_column(heading, no_wrap=True)
    for each in deployments:
        until = "" if each.owner is None else f" [dim]of process {each.owner}[/]"
        name = f"[bold]{each.name}[/]{until}"
        for model in each.models():
            colour = _COLOURS.get(model.state, "default")
            place = (model.grpc if each.transport == "grpc" else model.url).partition("//")[2]
            table.add_row(name, model.name, f"[{colour}]{model.state}[/]", place, model.place)
            name = ""
        if name:
            table.add_row(name, "", "starting")
    print_whole(table)
