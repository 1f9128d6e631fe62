"""`tempo-runtime save`."""

from __future__ import annotations

import click

from tempo_runtime.cli.options import echo_json, imported, json_option, size
from tempo_runtime.cli.terminal import echo


@click.command()
@click.argument("name", metavar="MODULE:NAME")
@click.option("--folder", metavar="FOLDER", help="Where to; by default its local_folder.")
@click.option(
    "--environment",
    type=click.Choice(["auto", "conda", "venv", "none"]),
    default="auto",
    show_default=True,
    help="The Python environment to pack into it.",
)
@click.option("--sign", metavar="KEY", help="File of the private key to sign it with.")
@json_option
def save(name: str, folder: str | None, environment: str, sign: str | None, as_json: bool) -> None:
    r"""Write the artifact of a pipeline: NAME, a class or function of MODULE.

    The environment: `conda` packs what conda.yaml in the artifact's folder describes, `venv` what
    requirements.txt there asks for, or else what the pipeline imports; `auto` packs one of them where
    its file is there.

    \b
    Examples:
        tempo-runtime save shop:Shop
        tempo-runtime save shop:Shop --folder artifacts/shop --environment venv
    """
    import os

    from tempo_runtime.artifact import declaration, store, trust

    target = imported(name)
    wanted = None if environment == "none" else environment
    saved = store.save(target, folder, environment=wanted, sign=sign)
    manifest = store.read_manifest(saved)
    total = sum(os.path.getsize(os.path.join(saved, path)) for path in manifest["files"])
    digest = trust.digest_of(manifest)
    code = store.code_sizes(saved, manifest)
    if as_json:
        found = {"name": manifest["name"], "bytes": total, "digest": digest, "code": code}
        echo_json({"folder": saved, **found})
        return
    packed = manifest.get("environment")
    with_ = (
        f", with its environment ({packed['maker']}, Python {packed['python']})" if packed else ""
    )
    echo(f"Saved {manifest['name']} in {saved}: {size(total)}{with_}")
    echo(f"Your code in it: {declaration.code(code)}")
    echo(f"Serve it:    tempo-runtime serve {saved}")
    echo(f"Look at it:  tempo-runtime inspect {saved}")
