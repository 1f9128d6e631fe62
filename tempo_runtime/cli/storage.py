"""`tempo-runtime upload` and `tempo-runtime download`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.cli.options import (
    complete_folders,
    echo_json,
    imported,
    json_option,
    size,
    stale_option,
)
from tempo_runtime.cli.terminal import console

if TYPE_CHECKING:
    from tempo_runtime.freshness import Stale
    from tempo_runtime.storage.transfer import Transfer

secret_option = click.option(
    "--secret",
    metavar="[NAMESPACE/]NAME",
    help="Kubernetes secret with RCLONE_CONFIG_..., for rclone.",
)


@click.command()
@click.argument("what", metavar="FOLDER|MODULE:NAME", shell_complete=complete_folders)
@click.argument("uri", required=False)
@click.option("--digest", is_flag=True, help="Add the artefact's digest to the URI.")
@secret_option
@stale_option
@json_option
def upload(
    what: str, uri: str | None, digest: bool, secret: str | None, stale: Stale, as_json: bool
) -> None:
    r"""Uploads a model's folder, or a pipeline's artefact, to its URI or another.

    Files that are there already are not sent again, and an upload that was cut goes on where it was.
    Until it is done, the URI has what it had. FOLDER is uploaded as it is. MODULE:NAME is saved anew if
    it has changed since its artefact was saved.

    \b
    Examples:
        tempo-runtime upload artifacts/check                       # to the uri it was saved with
        tempo-runtime upload artifacts/check --digest              # to that uri@sha256:...
        tempo-runtime upload artifacts/check s3://models/check
        tempo-runtime upload shop:Shop --secret production/minio-secret

    \b
    Where a remote is, and its keys, rclone knows: from `rclone config`, or from the environment:
        export RCLONE_CONFIG_S3_TYPE=s3 RCLONE_CONFIG_S3_PROVIDER=Minio
        export RCLONE_CONFIG_S3_ENDPOINT=http://localhost:9000
        export RCLONE_CONFIG_S3_ACCESS_KEY_ID=... RCLONE_CONFIG_S3_SECRET_ACCESS_KEY=...
    """
    from tempo_runtime import storage

    done = storage.upload(_target(what), uri=uri, secret=secret, digest=digest, stale=stale)
    _show(done, f"{done.folder} is at {done.uri}", as_json)


@click.command()
@click.argument("what", metavar="URI|MODULE:NAME")
@click.argument("folder", required=False, type=click.Path(file_okay=False))
@secret_option
@json_option
def download(what: str, folder: str | None, secret: str | None, as_json: bool) -> None:
    r"""Downloads a model's folder, or a pipeline's artefact, and checks it.

    Files that are here already are not fetched again, and a download that was cut goes on where it was.
    Until it is done, the folder has what it had. Nothing of the artefact is run.

    \b
    Examples:
        tempo-runtime download s3://models/check artifacts/check
        tempo-runtime download gs://seldon-models/test/income/model artifacts/model
    """
    from tempo_runtime import storage

    target = what if "://" in what else imported(what)
    done = storage.download(target, folder, secret=secret)
    _show(done, f"{done.uri} is in {done.folder}", as_json)


def _target(what: str) -> Any:
    return what if os.path.isdir(what) or ":" not in what else imported(what)


def _show(done: Transfer, where: str, as_json: bool) -> None:
    if as_json:
        echo_json(
            {
                "folder": done.folder,
                "uri": done.uri,
                "sent": done.sent,
                "bytes": done.size,
                "removed": done.removed,
            }
        )
        return
    from rich.text import Text

    count = len(done.sent)
    sent = f"{count} file{'' if count == 1 else 's'}, {size(done.size)}" if count else "as it was"
    removed = f"; removed {', '.join(done.removed)}" if done.removed else ""
    line = Text.assemble(("✓", "green"), f" {where} ({sent}{removed})")
    console(stderr=True).print(line, soft_wrap=True)
