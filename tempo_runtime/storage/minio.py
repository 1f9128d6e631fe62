"""Write rclone's config for your own MinIO."""

from __future__ import annotations

import configparser
import os
from urllib.parse import urlsplit

from tempo_runtime.errors import StorageError
from tempo_runtime.storage import kubernetes_secrets, remotes

# gs, too, so that models declared in Google's storage can be tried without it.
_REMOTES = ("s3", "gs")
_NAMESPACE, _SERVICE = "minio-system", "minio"
_LOCAL = "http://localhost:9000"
_DEFAULT_KEY = "minioadmin"


def create_minio_rclone(
    path: str,
    *,
    endpoint: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
) -> None:
    """Write a config file of rclone for MinIO, and use it in this process from now on.

    With it, both `s3://` and `gs://` lead to that MinIO, and missing buckets are created.

    Args:
        path: The file. Only its owner can read it.
        endpoint: MinIO's URL; by default `MINIO_ENDPOINT`, otherwise the address of the service `minio`
            in the namespace `minio-system` of the current cluster, otherwise `http://localhost:9000`.
        access_key: By default `MINIO_ROOT_USER`, otherwise MinIO's own default.
        secret_key: By default `MINIO_ROOT_PASSWORD`, otherwise MinIO's own default.

    Raises:
        StorageError: If MinIO has no address, or the file has other content.
    """
    endpoint = endpoint or os.environ.get("MINIO_ENDPOINT") or _default_endpoint()
    if "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname:
        raise StorageError(f"{endpoint!r} is not an endpoint of MinIO; an example is {_LOCAL}")
    settings = {
        "type": "s3",
        "provider": "Minio",
        "env_auth": "false",
        "access_key_id": access_key or os.environ.get("MINIO_ROOT_USER") or _DEFAULT_KEY,
        "secret_access_key": secret_key or os.environ.get("MINIO_ROOT_PASSWORD") or _DEFAULT_KEY,
        "endpoint": endpoint,
        "use_already_exists": "false",  # report a refusal, because each transfer would create its bucket
    }
    if any("\n" in value for value in settings.values()):
        raise StorageError("a key or an endpoint of MinIO contains a line break; correct it")
    config = configparser.RawConfigParser()
    config.read_dict(dict.fromkeys(_REMOTES, settings))
    _refuse_another(path)
    try:
        # Written next to it and then moved, so that nobody sees half of it or can read it for a moment.
        beside = f"{path}.tempo-next"
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(file, "w", encoding="utf-8") as writing:
            os.fchmod(file, 0o600)
            config.write(writing)
        os.replace(beside, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    remotes.use_config(path)


def _default_endpoint() -> str:
    """Return the endpoint in the current cluster if there is one, otherwise on this machine."""
    try:
        return kubernetes_secrets.load_balancer(_NAMESPACE, _SERVICE) or _LOCAL
    except kubernetes_secrets.NoCluster:
        return _LOCAL


def _refuse_another(path: str) -> None:
    """Refuse to overwrite remotes that are not MinIO's."""
    config = configparser.RawConfigParser()
    try:
        with open(path, encoding="utf-8") as file:
            config.read_file(file)
    except FileNotFoundError:
        return
    except (OSError, ValueError, configparser.Error) as error:
        raise StorageError(
            f"{path} exists and is not a config file of rclone; name another"
        ) from error
    others = sorted(set(config.sections()) - set(_REMOTES))
    if others:
        raise StorageError(
            f"{path} contains other remotes of rclone ({', '.join(others)}); name a separate file"
        )
