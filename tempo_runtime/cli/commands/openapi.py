"""`tempo-runtime openapi`."""

from __future__ import annotations

import json

import click

from tempo_runtime.cli.options import complete_folders
from tempo_runtime.errors import PayloadError


@click.command()
@click.argument(
    "artifacts", metavar="ARTIFACT...", nargs=-1, required=True, shell_complete=complete_folders
)
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="File to write."
)
def openapi(artifacts: tuple[str, ...], output: str | None) -> None:
    r"""Write the OpenAPI document of pipelines.

    It describes the arguments and the result of each ARTIFACT, with their types, defaults and examples,
    for generators of clients and for API gateways. No code of an artifact is run. A server has the same
    document at /openapi.json.

    \b
    Examples:
        tempo-runtime openapi artifacts/check
        tempo-runtime openapi artifacts/check artifacts/prices -o openapi.json
    """
    import os

    from tempo_runtime import __version__
    from tempo_runtime._util import atomic_files
    from tempo_runtime.artifact import interface, store
    from tempo_runtime.protocol.openapi import document

    pipelines = [
        interface.described(folder, store.read_description(folder)) for folder in artifacts
    ]
    text = json.dumps(document(pipelines, __version__), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    folder, name = os.path.split(os.path.abspath(output))
    try:
        atomic_files.write(folder, name, text.encode())
    except OSError as error:
        raise PayloadError(f"{output} cannot be written: {error.strerror}") from error
