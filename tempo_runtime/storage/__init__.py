"""Upload artifacts to object stores and download them, with rclone.

In both directions the old artifact stays complete until the new one has arrived. New versions of files
first go into the folder `.tempo-next` next to the old ones, from where an interrupted transfer resumes.
Then tempo.json is replaced, which makes the new set valid, and the files are moved to their places (see
`atomic_files`). A file is removed only if the old tempo.json says that it was part of the artifact.
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
    """Upload the folder of a model or the artifact of a pipeline to its URI.

    An artifact is checked first, and a damaged one is not sent. Files that are already there are not sent
    again, and an interrupted upload resumes.

    With `digest`, each version of an artifact gets its own place, so that you can go back to an earlier
    one:

        upload(Check, digest=True).uri  # s3://models/check@sha256:5ac6...

    Such uploads stay until `prune` removes the oldest, except those deployed on the cluster of the
    current context.

    Args:
        target: A `Model`; a pipeline class, an instance of one, or a pipeline function; or a folder.
        folder: The folder to upload; by default the target's `local_folder`.
        uri: The destination; by default the target's `uri`, or the one in the folder's tempo.json.
        secret: `NAME` or `NAMESPACE/NAME` of a Kubernetes secret with `RCLONE_CONFIG_*` for rclone.
        digest: Whether to add the artifact's digest to the URI, as `URI@sha256:...`.
        stale: What to do if a pipeline has changed since its artifact was saved: `save` it again, or
            `refuse`. A folder is uploaded as it is.
        prune: Number of uploads of the artifact that stay, including this one; by default all.
        keep: URIs or digests of other uploads that stay.

    Returns:
        What was transferred and removed.

    Raises:
        ArtifactDamaged: If a file is not as it was saved.
        ArtifactError: If the artifact is out of date, and cannot or must not be saved again.
        StorageError: If it cannot be uploaded; the old content of the URI stays complete. Also if
            earlier uploads cannot be removed; then this upload is complete.

    Example:
        >>> from pathlib import Path
        >>> from tempo_runtime import model, save, upload
        >>> @model("double", uri=Path("models/double").absolute().as_uri())
        ... def double(value: int) -> int:
        ...     return 2 * value
        >>> transfer = upload(save(double, "artifacts/double"))
        >>> sorted(path.name for path in Path("models/double").iterdir())
        ['model-settings.json', 'pipeline.dill', 'tempo.json']
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
    with _disk_errors(folder):
        check_links(folder)
        description = _description(folder)
        if description is not None:
            atomic_files.finish_interrupted(folder, description.files)
            check(folder, description.files)
        paths = sorted(atomic_files.walk(folder))
        if not paths:
            raise StorageError(
                f"there is nothing to upload in {folder}; save the artifact there first"
            )
        uri = uri or (description.uri if description is not None else "")
        if not uri:
            raise StorageError(f"{folder}: there is no uri to upload it to; give one")
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
        uri: URI of the artifact, which ends with its digest. It stays.
        newest: Number of uploads that stay, including this one.
        keep: URIs or digests of other uploads that stay, besides the deployed ones.
        secret: See `upload`.

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
    return [old_uri for old_uri in old if trust.digest_in(old_uri)[1] not in deployed]


def remove(uris: Sequence[str], *, secret: str | None = None) -> None:
    """Remove the artifacts that `superseded` returned.

    Args:
        uris: Their URIs.
        secret: See `upload`.

    Raises:
        StorageError: If one cannot be removed; those before it are removed then.
    """
    settings = _secret(secret) if uris else {}
    for uri in uris:
        pruning.remove(remote_of(uri, settings))


def check_prune(uri: str | None, digest: bool, newest: int, keep: Collection[str]) -> set[str]:
    """Check, before an upload, that its earlier versions can be pruned.

    Args:
        uri: See `upload`.
        digest: See `upload`.
        newest: Number of uploads that stay.
        keep: URIs or digests of other uploads that stay.

    Returns:
        The digests that `keep` names.

    Raises:
        SettingsError: If an item of `keep` has no digest.
        StorageError: If the upload's URI contains no digest, or no upload would stay.
    """
    if not digest and trust.digest_in(uri or "")[1] is None:
        raise StorageError(
            "prune is for uploads whose URI contains their digest; upload with the option `digest`"
        )
    if newest < 1:
        raise StorageError(f"prune is {newest}, but this upload stays; give 1 or more")
    kept: set[str] = set()
    for upload in keep:
        _, named = trust.digest_in(upload)
        kept |= {named} if named else set(trust.parse_digests(upload, "keep"))
    return kept


def download(target: Any, folder: str | None = None, *, secret: str | None = None) -> Transfer:
    """Download the folder of a model or the artifact of a pipeline from its URI.

    An artifact's files are compared with its tempo.json, and its code is not run. Files that are already
    here are not fetched again, and an interrupted download resumes. If the URI ends with `@sha256:...`,
    the artifact must have that digest.

    Args:
        target: A URI; or a `Model`, a pipeline class, an instance of one, or a pipeline function.
        folder: The destination; by default the target's `local_folder`.
        secret: `NAME` or `NAMESPACE/NAME` of a Kubernetes secret with `RCLONE_CONFIG_*` for rclone.

    Returns:
        What was transferred and removed.

    Raises:
        StorageError: If it cannot be downloaded; the old content of the folder stays complete.
    """
    if isinstance(target, str):
        uri: str | None = target
    else:
        folder, uri = _ends(target, folder, None)
    check_uri(uri or "")
    if not folder:
        raise StorageError(f"{uri}: there is no folder to download it to; give one")
    if not uri:
        raise StorageError(f"{folder}: there is no uri to download it from; give one")
    with _disk_errors(folder):
        _, digest = trust.digest_in(uri)
        return fetch(remote_of(uri, _secret(secret)), folder, digest)


def _place(uri: str, folder: str, description: Description | None, add: bool) -> str:
    """Return the URI to upload an artifact to, with its digest if the URI or `add` requests it."""
    place, named = trust.digest_in(uri)
    if not add and named is None:
        return uri
    if description is None:
        raise StorageError(
            f"{folder} has no {atomic_files.DESCRIPTION}, so it has no digest for its URI; upload it "
            "without one"
        )
    own_digest = description.digest
    if not add and named != own_digest:
        raise StorageError(
            f"{uri} names the digest of another artifact: {folder} has {own_digest}; upload it to "
            f"{place} with the option `digest`, which adds its own"
        )
    return f"{place.rstrip('/')}@{own_digest}"


def _ends(target: Any, folder: str | None, uri: str | None) -> tuple[str, str | None]:
    """Return the folder of a target, and its URI if it is known."""
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
    """Return the description in a folder's tempo.json; None if the file does not exist."""
    with contextlib.suppress(ArtifactMissing):
        return store.read_description(folder, to_run=False)
    return None


def _secret(secret: str | None) -> dict[str, str]:
    if secret is None:
        return {}
    from tempo_runtime.storage.kubernetes_secrets import secret_settings

    return secret_settings(secret)


@contextlib.contextmanager
def _disk_errors(folder: str) -> Iterator[None]:
    """Convert errors of the disk to one line."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: {error.strerror or error}; make it usable, and try again"
        ) from error
