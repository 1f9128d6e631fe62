"""`tempo-runtime save`."""

from __future__ import annotations

import os
import shlex
from typing import Any

import click

from tempo_runtime._util.atomic_files import DESCRIPTION
from tempo_runtime._util.printable import size
from tempo_runtime.cli.options import echo_json, imported, json_option
from tempo_runtime.cli.terminal import echo


@click.command()
@click.argument("name", metavar="MODULE:NAME")
@click.option(
    "--folder", metavar="FOLDER", help="Folder to write.  [default: the pipeline's local_folder]"
)
@click.option(
    "--environment",
    type=click.Choice(["auto", "conda", "venv", "none"]),
    default="auto",
    show_default=True,
    help="Python environment to pack into the artifact.",
)
@click.option("--sign", metavar="KEY", help="File with the private key to sign with.")
@click.option("--refresh", is_flag=True, hidden=True)  # as `serve` and `deploy` do it
@json_option
def save(
    name: str,
    folder: str | None,
    environment: str,
    sign: str | None,
    refresh: bool,
    as_json: bool,
) -> None:
    r"""Save a pipeline as an artifact.

    NAME is a class or function of MODULE. Of a Model, only the environment is packed.

    The environment is described by a file in the artifact's folder: conda.yaml for `conda`, and
    requirements.txt for `venv`, which without that file packs the packages that the pipeline imports.
    `auto` packs an environment only if one of these files exists.

    \b
    Examples:
        tempo-runtime save shop:Shop
        tempo-runtime save shop:Shop --folder artifacts/shop --environment venv
    """
    from tempo_runtime.artifact import declaration, store

    target = imported(name)
    if refresh:
        _refresh(target)
        return
    maker = None if environment == "none" else environment
    saved = store.save(target, folder, environment=maker, sign=sign)
    if not os.path.isfile(os.path.join(saved, DESCRIPTION)):
        _show_model(saved, as_json)
        return
    description = store.read_description(saved)
    total = sum(os.path.getsize(os.path.join(saved, path)) for path in description.files)
    code = store.code_sizes(saved, description)
    if as_json:
        summary = {"name": description.name, "bytes": total, "digest": description.digest}
        echo_json({"folder": saved, **summary, "code": code})
        return
    packed = description.environment
    with_ = f", with its environment ({packed.maker}, Python {packed.python})" if packed else ""
    echo(f"Saved {description.name} in {saved}: {size(total)}{with_}")
    echo(f"Your code in it: {declaration.code(code)}")
    echo(f"Inspect it:  tempo-runtime inspect {shlex.quote(saved)}")
    echo(f"Serve it:    tempo-runtime serve {shlex.quote(saved)}")


def _refresh(target: Any) -> None:
    """Save what has changed, and print the files of the author's code as the last line."""
    import json

    from tempo_runtime.artifact import freshness

    freshness.ensure(target)
    click.echo("\n" + json.dumps({"sources": freshness.sources(target)}))


def _show_model(folder: str, as_json: bool) -> None:
    """Show where the environment of a model is that is not a pipeline."""
    from tempo_runtime.artifact.environment import TARBALL

    packed = os.path.join(folder, TARBALL)
    if as_json:
        echo_json({"folder": folder, "environment": packed, "bytes": os.path.getsize(packed)})
        return
    echo(f"Packed its environment in {packed}: {size(os.path.getsize(packed))}")
    echo(f"Serve it:  tempo-runtime serve {shlex.quote(folder)}")
