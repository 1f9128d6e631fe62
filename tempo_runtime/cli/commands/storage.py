"""`tempo-runtime upload` and `tempo-runtime download`."""

from __future__ import annotations

import os
from dataclasses import replace
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
    from tempo_runtime.artifact.freshness import Stale
    from tempo_runtime.storage.transfer import Transfer

secret_option = click.option(
    "--secret",
    metavar="[NAMESPACE/]NAME",
    help="Kubernetes secret with RCLONE_CONFIG_..., for rclone.",
)


@click.command()
@click.argument("what", metavar="FOLDER|MODULE:NAME", shell_complete=complete_folders)
@click.argument("uri", required=False)
@click.option("--digest", is_flag=True, help="Add the artifact's digest to the URI.")
@click.option(
    "--prune",
    type=click.IntRange(min=1),
    metavar="KEEP",
    help="Remove the oldest uploads with a digest, and keep that many.",
)
@click.option(
    "--keep", multiple=True, metavar="URI", help="An upload that --prune does not remove."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before --prune removes anything.")
@secret_option
@stale_option
@json_option
def upload(
    what: str,
    uri: str | None,
    digest: bool,
    prune: int | None,
    keep: tuple[str, ...],
    yes: bool,
    secret: str | None,
    stale: Stale,
    as_json: bool,
) -> None:
    r"""Upload a model's folder, or a pipeline's artifact, to its URI or another.

    Files that are there already are not sent again, and an upload that was cut goes on where it was.
    Until it is done, the URI has what it had. FOLDER is uploaded as it is. MODULE:NAME is saved anew if
    it has changed since its artifact was saved.

    \b
    Examples:
        tempo-runtime upload artifacts/check                       # to the uri it was saved with
        tempo-runtime upload artifacts/check --digest              # to that uri@sha256:...
        tempo-runtime upload artifacts/check --digest --prune 5    # and keeps the 5 newest of these
        tempo-runtime upload artifacts/check s3://models/check
        tempo-runtime upload shop:Shop --secret production/minio-secret

    \b
    Where a remote is, and its keys, rclone knows: from `rclone config`, or from the environment:
        export RCLONE_CONFIG_S3_TYPE=s3 RCLONE_CONFIG_S3_PROVIDER=Minio
        export RCLONE_CONFIG_S3_ENDPOINT=http://localhost:9000
        export RCLONE_CONFIG_S3_ACCESS_KEY_ID=... RCLONE_CONFIG_S3_SECRET_ACCESS_KEY=...
    """
    from tempo_runtime import storage

    if prune is None and (keep or yes):
        raise click.UsageError("--keep and --yes are for --prune; give it, or leave them out")
    if prune is not None:
        storage.check_prune(uri, digest, prune, keep)
    done = storage.upload(_target(what), uri=uri, secret=secret, digest=digest, stale=stale)
    if prune is not None:
        old = storage.superseded(done.uri, prune, keep=keep, secret=secret)
        if old and not yes:
            named = "".join(f"  {each}\n" for each in old)
            click.confirm(f"{done.uri} is uploaded. Remove these?\n{named}", abort=True, err=True)
        storage.remove(old, secret=secret)
        done = replace(done, pruned=tuple(old))
    _show(done, f"{done.folder} is at {done.uri}", as_json)


@click.command()
@click.argument("what", metavar="URI|MODULE:NAME")
@click.argument("folder", required=False, type=click.Path(file_okay=False))
@secret_option
@json_option
def download(what: str, folder: str | None, secret: str | None, as_json: bool) -> None:
    r"""Download a model's folder, or a pipeline's artifact, and check it.

    Files that are here already are not fetched again, and a download that was cut goes on where it was.
    Until it is done, the folder has what it had. Nothing of the artifact is run.

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
                "pruned": done.pruned,
            }
        )
        return
    from rich.text import Text

    count = len(done.sent)
    sent = f"{count} file{'' if count == 1 else 's'}, {size(done.size)}" if count else "as it was"
    removed = f"; removed {', '.join(done.removed)}" if done.removed else ""
    line = Text.assemble(("✓", "green"), f" {where} ({sent}{removed})")
    console(stderr=True).print(line, soft_wrap=True)
    for uri in done.pruned:
        console(stderr=True).print(Text(f"  removed {uri}"), soft_wrap=True)
