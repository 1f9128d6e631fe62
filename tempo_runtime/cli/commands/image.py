"""`tempo-runtime image`."""

from __future__ import annotations

import click

from tempo_runtime._util.printable import size
from tempo_runtime.cli.options import artifact_argument, echo_json, json_option
from tempo_runtime.cli.terminal import echo


@click.group()
def image() -> None:
    """Build images of artifacts."""


@image.command()
@artifact_argument
@click.option("-t", "--tag", metavar="NAME", help="Name of the image.  [default: NAME:DIGEST]")
@click.option("--base", metavar="IMAGE", help="Base image, which contains the server.")
@json_option
def build(artifact: str, tag: str | None, base: str | None, as_json: bool) -> None:
    r"""Build an image that contains an artifact and serves it.

    It is built on the server's image, by the container engine at DOCKER_HOST. The same artifact on the
    same base gives the same layer.

    \b
    Examples:
        tempo-runtime image build artifacts/check
        tempo-runtime image build artifacts/check --tag registry.example.com/check:1
    """
    from tempo_runtime._util.progress import telling
    from tempo_runtime.deploy.local import engine
    from tempo_runtime.deploy.local.image_build import build_image

    with telling(f"Building an image of {artifact}"):
        built = build_image(artifact, tag, base or engine.IMAGE)
    if as_json:
        echo_json({"image": built.name, "id": built.id, "size": built.size, "base": built.base})
        return
    echo(f"Built {built.name}, {size(built.size)}, on {built.base}")
    echo(f"\n    docker run --rm -p 127.0.0.1:8080:8080 {built.name}")
