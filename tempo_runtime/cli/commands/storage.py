"""`tempo-runtime upload` and `tempo-runtime download`."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime._util.atomic_files import DESCRIPTION
from tempo_runtime._util.printable import size
from tempo_runtime.cli.options import (
    complete_folders,
    echo_json,
    imported,
    json_option,
    stale_option,
)
from tempo_runtime.cli.terminal import console, echo

if TYPE_CHECKING:
    from tempo_runtime.artifact.freshness import Stale
    from tempo_runtime.storage.transfer import Transfer

secret_option = click.option(
    "--secret",
    metavar="[NAMESPACE/]NAME",
    help="Kubernetes secret with RCLONE_CONFIG_... variables.",
)


@click.command()
@click.argument("what", metavar="FOLDER|MODULE:NAME", shell_complete=complete_folders)
@click.argument("uri", required=False)
@click.option("--digest", is_flag=True, help="Add the artifact's digest to the URI.")
@click.option(
    "--prune",
    type=click.IntRange(min=1),
    metavar="KEEP",
    help="Keep this many of the newest uploads with a digest, and remove the others.",
)
@click.option("--keep", multiple=True, metavar="URI", help="Upload that --prune must not remove.")
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
    r"""Upload the folder of a model or the artifact of a pipeline.

    It goes to URI, or else to the uri that the model declares. Files that are already there are not sent
    again, and an interrupted upload resumes. Until the upload is complete, the URI keeps its old content.
    FOLDER is uploaded as it is. MODULE:NAME is saved again if it has changed since its artifact was
    saved.

    \b
    Examples:
        tempo-runtime upload artifacts/check                       # to the uri it was saved with
        tempo-runtime upload artifacts/check --digest              # to that uri@sha256:...
        tempo-runtime upload artifacts/check --digest --prune 5    # and keeps the 5 newest of these
        tempo-runtime upload artifacts/check s3://models/check
        tempo-runtime upload shop:Shop --secret production/minio-secret

    \b
    rclone takes the address and the keys of a remote from `rclone config` or from
    the environment:
        export RCLONE_CONFIG_S3_TYPE=s3 RCLONE_CONFIG_S3_PROVIDER=Minio
        export RCLONE_CONFIG_S3_ENDPOINT=http://localhost:9000
        export RCLONE_CONFIG_S3_ACCESS_KEY_ID=... RCLONE_CONFIG_S3_SECRET_ACCESS_KEY=...
    """
    from tempo_runtime import storage

    if prune is None and (keep or yes):
        raise click.UsageError("--keep and --yes need --prune; add it, or leave them out")
    if prune is not None:
        storage.check_prune(uri, digest, prune, keep)
    done = storage.upload(_target(what), uri=uri, secret=secret, digest=digest, stale=stale)
    if prune is not None:
        old = storage.superseded(done.uri, prune, keep=keep, secret=secret)
        if old and not yes:
            named = "".join(f"  {upload_uri}\n" for upload_uri in old)
            click.confirm(f"Uploaded to {done.uri}. Remove these?\n{named}", abort=True, err=True)
        storage.remove(old, secret=secret)
        done = replace(done, pruned=tuple(old))
    _show(done, f"{done.folder} is at {done.uri}", as_json)
    if not as_json:
        with_secret = ["--secret", secret] if secret else []
        place = os.path.basename(os.path.normpath(done.folder)) or "FOLDER"
        again = ["tempo-runtime", "download", done.uri, f"copies/{place}", *with_secret]
        echo(f"  Get it anywhere:  {shlex.join(again)}", err=True)


@click.command()
@click.argument("what", metavar="URI|MODULE:NAME")
@click.argument("folder", required=False, type=click.Path(file_okay=False))
@secret_option
@json_option
def download(what: str, folder: str | None, secret: str | None, as_json: bool) -> None:
    r"""Download the folder of a model or the artifact of a pipeline.

    Files that are already here are not fetched again, and an interrupted download resumes. Until the
    download is complete, the folder keeps its old content. An artifact is checked, and its code is not
    run.

    \b
    Examples:
        tempo-runtime download s3://models/check artifacts/check
        tempo-runtime download gs://seldon-models/test/income/model artifacts/model
    """
    from tempo_runtime import storage

    target = what if "://" in what else imported(what)
    done = storage.download(target, folder, secret=secret)
    _show(done, f"{done.uri} is in {done.folder}", as_json)
    if not as_json and os.path.isfile(os.path.join(done.folder, DESCRIPTION)):
        echo(f"  Check it:  tempo-runtime check {shlex.quote(done.folder)}", err=True)


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
    sent = f"{count} file{'' if count == 1 else 's'}, {size(done.size)}" if count else "unchanged"
    removed = f"; removed {', '.join(done.removed)}" if done.removed else ""
    line = Text.assemble(("✓", "green"), f" {where} ({sent}{removed})")
    console(stderr=True).print(line, soft_wrap=True)
    for uri in done.pruned:
        console(stderr=True).print(Text(f"  removed {uri}"), soft_wrap=True)
