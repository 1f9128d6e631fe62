"""`tempo-runtime graph`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from tempo_runtime.cli.options import complete_folders, echo_json, imported, json_option
from tempo_runtime.cli.terminal import console
from tempo_runtime.errors import StorageError

if TYPE_CHECKING:
    from tempo_runtime.execution.graph.nodes import Node

_FORMATS = {"text": (".txt",), "mermaid": (".mmd", ".mermaid"), "svg": (".svg",)}
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf")


@click.command()
@click.argument("target", shell_complete=complete_folders)
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(_FORMATS)),
    help="Format of the graph.  [default: by the extension of --output, otherwise text]",
)
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="File to write."
)
@click.option(
    "--in-process", is_flag=True, help="Draw what `serve --in-process` starts, instead of `serve`."
)
@json_option
def graph(
    target: str, format_: str | None, output: str | None, in_process: bool, as_json: bool
) -> None:
    r"""Draw a pipeline, the models it calls, and how it calls them when it is served.

    TARGET is the folder of an artifact, whose code is not run, or MODULE:NAME, a pipeline that need not
    be saved. How a model is called depends on model-settings.json and the environment; a model for which
    they say nothing is on the same server, as `serve` has it.

    \b
    Examples:
        tempo-runtime graph artifacts/check
        tempo-runtime graph shop:Shop --format mermaid
        TEMPO_RUNTIME_BASE_URL=http://models:8080 tempo-runtime graph artifacts/check -o check.svg
    """
    from dataclasses import asdict

    chosen = _format(format_, output)
    node = _read(target, in_process)
    if as_json:
        echo_json(asdict(node))
        return
    text = _drawn(node, chosen, colours=output is None)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"{output} cannot be written: {error.strerror}") from error


def _format(given: str | None, output: str | None) -> str:
    """Choose the format, which a file's extension must match."""
    if output is None:
        return given or "text"
    ending = os.path.splitext(output)[1].lower()
    by_ending = next((name for name, endings in _FORMATS.items() if ending in endings), None)
    if (
        (by_ending or given) is None
        or (by_ending and given and by_ending != given)
        or ending in _IMAGES
    ):
        known = ", ".join(ending for endings in _FORMATS.values() for ending in endings)
        raise click.BadParameter(
            f"{output!r} cannot be written: the name of a graph's file must end with {known}"
            + ("; write an .svg, and convert it" if ending in _IMAGES else "")
            + (f", but --format is {given}" if by_ending and given else ""),
            param_hint="--output",
        )
    return given or by_ending or "text"


def _read(target: str, in_process: bool) -> Node:
    from tempo_runtime.execution.graph import reading

    if os.path.isdir(target):
        return reading.of_folder(target, in_process=in_process)
    return reading.of_pipeline(imported(target), in_process=in_process)


def _drawn(node: Node, format_: str, *, colours: bool) -> str:
    if format_ == "mermaid":
        from tempo_runtime.cli.graph.mermaid import mermaid

        return mermaid(node)
    if format_ == "svg":
        from tempo_runtime.execution.graph.svg import svg

        return svg(node)
    from tempo_runtime.cli.graph.tree import tree

    shown = console(no_color=None if colours else True, force_terminal=None if colours else False)
    with shown.capture() as capture:
        shown.print(tree(node), soft_wrap=True)
    return capture.get()
