"""Remotes of rclone: what a URI leads to, which files are there, and whether they are the same as here.

A URI's scheme is the name of a remote of rclone, as for Seldon's storage initializer: `s3://bucket/x` is
`s3:bucket/x`, and rclone's config file or `RCLONE_CONFIG_S3_*` defines the remote.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tempo_runtime._util import atomic_files
from tempo_runtime._util.credentials import has_password, redacted
from tempo_runtime.errors import StorageError
from tempo_runtime.storage import rclone
from tempo_runtime.storage.failures import NOT_FOUND, explained

_URI = re.compile(r"([A-Za-z][\w+.-]*)://([^\x00-\x1f\x7f]*)")
_TYPES = {"s3": "s3", "gs": "google cloud storage", "az": "azureblob"}
_GOOGLE = "~/.config/gcloud/application_default_credentials.json"
# Kinds of digests that both rclone and hashlib have.
_KINDS = ("sha256", "sha1", "md5")
# A bucket with a typing error in its name must not be created.
_NO_BUCKETS = {
    "RCLONE_S3_NO_CHECK_BUCKET": "true",
    "RCLONE_GCS_NO_CHECK_BUCKET": "true",
    "RCLONE_AZUREBLOB_NO_CHECK_CONTAINER": "true",
}

_own_config: str | None = None


def use_config(path: str) -> None:
    """Use another config file of rclone in this process; missing buckets of its remotes are created."""
    global _own_config
    _own_config = os.path.abspath(path)


@dataclass(frozen=True)
class Entry:
    """A file at a remote.

    Attributes:
        size: Its size in bytes.
        hashes: The digests that the remote knows, by kind.
    """

    size: int
    hashes: Mapping[str, str]


@dataclass(frozen=True)
class Remote:
    """A folder at a remote.

    Attributes:
        uri: The URI as the user wrote it.
        name: Name of rclone's remote; empty for a folder of this machine.
        path: Bucket and folder.
        environment: Variables that rclone needs.
    """

    uri: str
    name: str
    path: str
    environment: Mapping[str, str] = field(repr=False)

    def at(self, path: str = "") -> str:
        """Return the folder, or a path in it, in rclone's notation."""
        whole = f"{self.path}/{path}".rstrip("/")
        return f"{self.name}:{whole}" if self.name else whole

    def run(self, *arguments: str, progress: rclone.Progress | None = None) -> bytes:
        """Run rclone. Links on this machine are followed.

        Args:
            arguments: A command, and its arguments.
            progress: Called with the number of further bytes transferred.

        Raises:
            StorageError: If it fails; the message has the remedy.
        """
        links = () if self.name else ("--copy-links",)
        try:
            return rclone.run(*arguments, *links, environment=self.environment, progress=progress)
        except rclone.Failed as failed:
            raise explained(failed, self.uri, self.name, self.path) from failed

    def on(
        self,
        command: str,
        paths: Iterable[str],
        *arguments: str,
        progress: rclone.Progress | None = None,
    ) -> bytes:
        """Run a command of rclone on these files only."""
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as listed:
            listed.writelines(f"{path}\n" for path in paths)
            listed.flush()
            only = ("--files-from-raw", listed.name)
            return self.run(command, *arguments, *only, progress=progress)

    def entries(self, *, first: bool = False) -> dict[str, Entry]:
        """Return all files by path; empty if there is no such folder.

        Args:
            first: Whether this is the first request, so that a missing server is reported at once.
        """
        retries = ("--low-level-retries=1",) if first else ()
        # For local files rclone would compute every kind of digest.
        digests = "--hash" if self.name else "--hash-type=sha1"
        try:
            printed = self.run(
                *("lsjson", self.at(), "--recursive", "--files-only", digests),
                *("--no-modtime", "--no-mimetype", *retries),
            )
        except StorageError as error:
            failed = error.__cause__
            if isinstance(failed, rclone.Failed) and failed.code in NOT_FOUND:
                return {}
            raise
        return {
            entry["Path"]: Entry(entry["Size"], entry.get("Hashes") or {})
            for entry in json.loads(printed)
        }

    def same(self, entries: Mapping[str, Entry], folder: str, under: str = "") -> set[str]:
        """Return the paths of files that are the same in a folder on this machine.

        Args:
            entries: The files of the remote, by path.
            folder: The folder.
            under: The prefix of these paths at the remote.
        """
        matching = set()
        unknown = {}
        for path, entry in entries.items():
            place = os.path.join(folder, path)
            if not os.path.isfile(place) or os.path.getsize(place) != entry.size:
                continue
            kind = next((kind for kind in _KINDS if entry.hashes.get(kind)), None)
            if kind is None:
                unknown[under + path] = path
            elif atomic_files.digest_of(folder, path, kind) == entry.hashes[kind]:
                matching.add(path)
        # If a remote has no digests, its files are read.
        for there, digest in self.read_digests(unknown, "sha1").items():
            if atomic_files.digest_of(folder, unknown[there], "sha1") == digest:
                matching.add(unknown[there])
        return matching

    def read_digests(self, paths: Collection[str], kind: str) -> dict[str, str]:
        """Return the digests of files by path, by reading the files."""
        if not paths:
            return {}
        printed = self.on("hashsum", paths, kind, self.at(), "--download").decode()
        parted = (line.partition("  ") for line in printed.splitlines())
        return {path: digest for digest, _, path in parted if path in paths}


def remote_of(uri: str, secret: Mapping[str, str] | None = None) -> Remote:
    """Return the remote of a URI.

    Args:
        uri: A URI.
        secret: `RCLONE_CONFIG_*` variables for rclone.

    Raises:
        StorageError: If the URI cannot be the location of an artifact.
    """
    scheme, path = _split(uri)
    if scheme == "file":
        if not path.startswith("/") or not path.strip("/"):
            raise StorageError(
                f"{uri!r} must name a folder by its absolute path, as in file:///srv/models/x"
            )
        return Remote(uri, "", path.rstrip("/"), {})
    path = path.strip("/")
    if scheme == "pvc":
        raise StorageError(
            f"{uri}: pvc:// is a volume of a cluster, which only its pods can reach; copy the folder "
            "into it from a pod (`kubectl cp`), or use an object store (s3://, gs://, az://)"
        )
    if not path:
        raise StorageError(f"{uri!r} has no bucket; an example of a uri is s3://bucket/folder")
    environment = dict(secret or {})
    if _own_config is not None:
        environment["RCLONE_CONFIG"] = _own_config
    else:
        environment |= {name: on for name, on in _NO_BUCKETS.items() if name not in os.environ}
    prefix = f"RCLONE_CONFIG_{scheme.upper()}_"
    names = {*os.environ, *environment}
    if scheme in _TYPES and prefix + "TYPE" not in names and scheme not in _configured(environment):
        begun = any(name.startswith(prefix) for name in names)
        usual = {"TYPE": _TYPES[scheme]} | ({} if begun else _usual(scheme))
        environment |= {prefix + name: value for name, value in usual.items()}
    return Remote(uri, scheme, path, environment)


def check_uri(uri: str) -> None:
    """Refuse a URI with credentials, because it would be shown, saved and put on a command line.

    Raises:
        StorageError: If it has credentials.
    """
    if has_password(uri):
        raise StorageError(
            f"{redacted(uri)} contains a password; leave it out of the uri, and put it in rclone's "
            "config, in RCLONE_CONFIG_* variables or in the secret"
        )


def _split(uri: str) -> tuple[str, str]:
    check_uri(uri)
    match = _URI.fullmatch(uri)
    if match is None:
        raise StorageError(
            f"{uri!r} is not a URI; examples are s3://bucket/folder and file:///folder"
        )
    return match[1], match[2]


def _configured(environment: Mapping[str, str]) -> set[str]:
    try:
        printed = rclone.run("listremotes", environment=environment)
    except rclone.Failed as failed:
        raise explained(failed, "the config of rclone", "", "") from failed
    return {line.removesuffix(":") for line in printed.decode().splitlines()}


def _usual(scheme: str) -> dict[str, str]:
    """Return the settings of an unconfigured remote: the cloud's own, with its tools' credentials."""
    if scheme == "s3":
        return {"PROVIDER": "AWS", "ENV_AUTH": "true"}
    known = "GOOGLE_APPLICATION_CREDENTIALS" in os.environ
    if scheme == "gs" and not known and not os.path.isfile(os.path.expanduser(_GOOGLE)):
        return {"ANONYMOUS": "true"}
    return {"ENV_AUTH": "true"}
