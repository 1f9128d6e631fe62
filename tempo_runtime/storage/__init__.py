"""Artifacts in object stores: `upload` and `download`, by rclone.

Both ways the old artifact stays whole until the new one is there. What replaces a file is first put into
the folder `.tempo-next` beside it, which is also what a transfer that was cut goes on from. Then
tempo.json is replaced, and with it the set; then files are moved to their places (see `files`). A file is
removed only where the old tempo.json says that it was part of the artifact.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tempo_runtime._util import atomic_files
from tempo_runtime.artifact import freshness, store, trust
from tempo_runtime.artifact.description import Description
from tempo_runtime.artifact.freshness import Stale
from tempo_runtime.errors import ArtifactMissing, StorageError
from tempo_runtime.storage import pruning
from tempo_runtime.storage.fetching import fetch
from tempo_runtime.storage.remotes import check_uri, remote_of
from tempo_runtime.storage.sending import check_links, send
from tempo_runtime.storage.transfer import Transfer, check


def upload(
    target: Any,
    folder: str | None = None,
    *,
    uri: str | None = None,
    secret: str | None = None,
    digest: bool = False,
    stale: Stale = "save",
    prune: int | None = None,
    keep: Collection[str] = (),
) -> Transfer:
    """Upload a model's folder, or a pipeline's artifact, to its URI.

    An artifact is checked first: one that is damaged is not sent. Files that are there already are not
    sent again, and an upload that was cut goes on where it was.

    With `digest`, an artifact gets a place that no other ever has, so what was uploaded before is still
    there to go back to:

        upload(Check, digest=True).uri  # s3://models/check@sha256:5ac6...

    Such uploads stay until `prune` removes the oldest. One that is deployed on the cluster of the current
    context stays as well.

    Args:
        target: A `Model`; a pipeline class, an instance of one, or a pipeline function; or a folder.
        folder: Its folder; by default the target's `local_folder`.
        uri: Where to; by default the target's `uri`, or the one in the folder's tempo.json.
        secret: `NAME` or `NAMESPACE/NAME` of a Kubernetes secret with `RCLONE_CONFIG_*` for rclone.
        digest: Whether the artifact's digest is added to the URI, as `URI@sha256:...`.
        stale: What is done where a pipeline has changed since its artifact was saved: `save` it anew, or
            `refuse`. A folder is uploaded as it is.
        prune: How many uploads of the artifact stay, this one among them; by default all.
        keep: URIs, or digests, of others that stay.

    Returns:
        What was done.

    Raises:
        ArtifactDamaged: If a file is not the one that was saved.
        ArtifactError: If the artifact is stale, and cannot be saved anew or is not to be.
        StorageError: If it cannot be uploaded. What was at the URI is still whole. Also if earlier
            uploads cannot be removed, in which case this one is there.
    """
    if prune is not None:
        check_prune(uri, digest, prune, keep)
        done = upload(target, folder, uri=uri, secret=secret, digest=digest, stale=stale)
        old = superseded(done.uri, prune, keep=keep, secret=secret)
        remove(old, secret=secret)
        return replace(done, pruned=tuple(old))
    if uri is not None:
        check_uri(uri)
    if folder is None:
        freshness.ensure(target, stale)
    folder, uri = _ends(target, folder, uri)
    with _told(folder):
        check_links(folder)
        description = _description(folder)
        if description is not None:
            atomic_files.finish_interrupted(folder, description.files)
            check(folder, description.files)
        paths = sorted(atomic_files.walk(folder))
        if not paths:
            raise StorageError(f"there is nothing to upload in {folder}; save there first")
        uri = uri or (description.uri if description is not None else "")
        if not uri:
            raise StorageError(f"{folder}: nowhere to upload it to; give it a uri")
        check_uri(uri)
        uri = _place(uri, folder, description, digest)
        remote = remote_of(uri, _secret(secret))
        if remote.name:
            return send(folder, remote, paths)
        done = fetch(remote_of(f"file://{os.path.abspath(folder)}"), remote.path)
        return replace(done, folder=folder, uri=uri)


def superseded(
    uri: str, newest: int, *, keep: Collection[str] = (), secret: str | None = None
) -> list[str]:
    """Return the earlier uploads of an artifact that `upload` would remove, the oldest first.

    Args:
        uri: Where the artifact is, ending with its digest. It stays.
        newest: How many uploads stay, with this one.
        keep: URIs, or digests, of others that stay, besides those that are deployed.
        secret: As for `upload`.

    Raises:
        StorageError: If its URI does not end with a digest, or the storage or the cluster cannot be read.
    """
    from tempo_runtime.storage.kubernetes_secrets import deployed_digests

    kept = check_prune(uri, True, newest, keep)
    remote = remote_of(uri, _secret(secret))
    old = pruning.superseded(remote, newest, kept)
    if not old:
        return []
    deployed = deployed_digests()
    return [each for each in old if trust.digest_in(each)[1] not in deployed]


def remove(uris: Sequence[str], *, secret: str | None = None) -> None:
    """Remove artifacts that `superseded` returned.

    Args:
        uris: Their URIs.
        secret: As for `upload`.

    Raises:
        StorageError: If one cannot be removed; those before it are.
    """
    settings = _secret(secret) if uris else {}
    for uri in uris:
        pruning.remove(remote_of(uri, settings))


def check_prune(uri: str | None, digest: bool, newest: int, keep: Collection[str]) -> set[str]:
    """Refuse, before an upload, to prune what cannot be pruned.

    Args:
        uri: As for `upload`.
        digest: As for `upload`.
        newest: How many uploads stay.
        keep: URIs, or digests, of others that stay.

    Returns:
        The digests that `keep` names.

    Raises:
        SettingsError: If one of `keep` names no digest.
        StorageError: If the upload's URI contains no digest, or no upload would stay.
    """
    if not digest and trust.digest_in(uri or "")[1] is None:
        raise StorageError(
            "prune is for uploads whose URI contains their digest; upload with the option `digest`"
        )
    if newest < 1:
        raise StorageError(f"prune is {newest}, but this upload stays; give 1 or more")
    kept: set[str] = set()
    for each in keep:
        _, named = trust.digest_in(each)
        kept |= {named} if named else set(trust.parse_digests(each, "keep"))
    return kept


def download(target: Any, folder: str | None = None, *, secret: str | None = None) -> Transfer:
    """Download a model's folder, or a pipeline's artifact, from its URI.

    An artifact's files are compared with its tempo.json, and nothing of it is run. Files that are here
    already are not fetched again, and a download that was cut goes on where it was. Where the URI ends
    with `@sha256:...` the artifact has to have that digest.

    Args:
        target: A URI; or a `Model`, a pipeline class, an instance of one, or a pipeline function.
        folder: Where to; by default the target's `local_folder`.
        secret: `NAME` or `NAMESPACE/NAME` of a Kubernetes secret with `RCLONE_CONFIG_*` for rclone.

    Returns:
        What was done.

    Raises:
        StorageError: If it cannot be downloaded. What was in the folder is still whole.
    """
    if isinstance(target, str):
        uri: str | None = target
    else:
        folder, uri = _ends(target, folder, None)
    check_uri(uri or "")
    if not folder:
        raise StorageError(f"{uri}: nowhere to download it to; give it a folder")
    if not uri:
        raise StorageError(f"{folder}: nowhere to download it from; give it a uri")
    with _told(folder):
        _, digest = trust.digest_in(uri)
        return fetch(remote_of(uri, _secret(secret)), folder, digest)


def _place(uri: str, folder: str, description: Description | None, add: bool) -> str:
    """Return the URI to upload an artifact to, with its digest if the URI or `digest` asks for it."""
    place, named = trust.digest_in(uri)
    if not add and named is None:
        return uri
    if description is None:
        raise StorageError(
            f"{folder} has no {atomic_files.DESCRIPTION}, and so no digest to go into a URI; upload it "
            "without one"
        )
    own = description.digest
    if not add and named != own:
        raise StorageError(
            f"{uri} names the digest of another artifact: {folder} has {own}; upload it to {place}, with "
            "the option `digest`, which adds its own"
        )
    return f"{place.rstrip('/')}@{own}"


def _ends(target: Any, folder: str | None, uri: str | None) -> tuple[str, str | None]:
    """Return the folder, and the URI if there is one yet."""
    if isinstance(target, (str, os.PathLike)):
        return folder or os.fspath(target), uri
    get_tempo = getattr(target, "get_tempo", None)
    if get_tempo is None:
        raise StorageError(f"{target!r:.80} is neither a Model, nor a pipeline, nor a folder")
    details = get_tempo().details
    folder = folder or details.home
    if not folder:
        raise StorageError(f"{details.name}: it has no folder; give it a local_folder, or name one")
    return folder, uri or details.uri


def _description(folder: str) -> Description | None:
    """Return a folder's tempo.json; empty where there is none."""
    with contextlib.suppress(ArtifactMissing):
        return store.read_description(folder, to_run=False)
    return None


def _secret(secret: str | None) -> dict[str, str]:
    if secret is None:
        return {}
    from tempo_runtime.storage.kubernetes_secrets import secret_settings

    return secret_settings(secret)


@contextlib.contextmanager
def _told(folder: str) -> Iterator[None]:
    """Report an error of the disk in one line."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: {error.strerror or error}; make it usable, and do it again"
        ) from error
