"""`tempo-runtime init`."""

from __future__ import annotations

import shlex

import click

from tempo_runtime.cli.terminal import console, echo


@click.command()
@click.argument("name")
@click.option("--folder", type=click.Path(), help="Where to.  [default: a folder of that name]")
def init(name: str, folder: str | None) -> None:
    r"""Write a new project: a pipeline called NAME over a scikit-learn model, with its tests.

    \b
    Example:
        tempo-runtime init demo && cd demo && make test
    """
    from rich.markup import escape

    from tempo_runtime.cli import project

    written = project.create(name, folder)
    console().print(f"[green]✓[/] {escape(written)} is there, and its README says the rest. Now:\n")
    echo(f"cd {shlex.quote(written)} && make test")
