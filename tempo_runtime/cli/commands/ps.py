"""`tempo-runtime ps`."""

from __future__ import annotations

import click

from tempo_runtime.cli.options import echo_json, json_option, print_whole
from tempo_runtime.cli.terminal import echo

_COLOURS = {"ready": "green", "not ready": "yellow", "ended": "red"}


@click.command()
@json_option
def ps(as_json: bool) -> None:
    """List the deployments on this machine."""
    from tempo_runtime.deploy.local import find

    deployments = list(find.deployments())
    if as_json:
        echo_json(
            [
                {
                    "name": deployment.name,
                    "id": deployment.id,
                    "target": deployment.target,
                    "owner": deployment.owner,
                    "created": deployment.created,
                    "models": [vars(model) for model in deployment.models()],
                }
                for deployment in deployments
            ]
        )
        return
    if not deployments:
        echo("Nothing is deployed here; `tempo-runtime deploy ARTIFACT` deploys a pipeline")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("deployment", "model", "state", "address", "runs as"):
        table.add_column(heading, no_wrap=True)
    for deployment in deployments:
        until = "" if deployment.owner is None else f" [dim]of process {deployment.owner}[/]"
        name = f"[bold]{deployment.name}[/]{until}"
        for model in deployment.models():
            colour = _COLOURS.get(model.state, "default")
            place = (model.grpc if deployment.transport == "grpc" else model.url).partition("//")[2]
            table.add_row(name, model.name, f"[{colour}]{model.state}[/]", place, model.place)
            name = ""
        if name:
            table.add_row(name, "", "starting")
    print_whole(table)
