"""`tempo-runtime init`."""

from __future__ import annotations

import shlex

import click

from tempo_runtime.cli.terminal import console, echo


@click.command()
@click.argument("name")
@click.option("--folder", type=click.Path(), help="Folder to write.  [default: NAME]")
def init(name: str, folder: str | None) -> None:
    r"""Start a project: a pipeline, the model it calls, and tests.

    NAME is the name of the pipeline. The model is a scikit-learn classifier.

    \b
    Example:
        tempo-runtime init demo && cd demo && make test
    """
    from rich.markup import escape

    from tempo_runtime.cli import project

    written = project.create(name, folder)
    console().print(f"[green]✓[/] Created {escape(written)}; its README says more. Next:\n")
    echo(f"cd {shlex.quote(written)} && make test")
