"""Explain rclone's failures on one line, with the remedy."""

from __future__ import annotations

import re

from tempo_runtime._util import extras
from tempo_runtime.errors import StorageError
from tempo_runtime.storage.rclone import Failed

NOT_FOUND = (3, 4)  # rclone's exit codes: no such folder, no such file

_QUOTED = re.compile(r"\"[^\"]*\"")  # names and URLs, which may contain any word
_TOO_OLD = re.compile(r"unknown (flag|command|shorthand)", re.I)
_NO_REMOTE = re.compile(r"didn't find section in config file", re.I)
_LOCKED = re.compile(r"decrypt configuration|RCLONE_CONFIG_PASS", re.I)
_NO_ACCOUNT = re.compile(r"account must be set", re.I)
_NO_BUCKET = re.compile(
    r"NoSuchBucket|ContainerNotFound|bucket (does not|doesn't) exist|container does not exist", re.I
)
_FULL = re.compile(
    r"no space left|remaining disk space|disk (is )?full|disk quota|quota ?exceeded|StorageFull|"
    r"InsufficientStorage|\b507\b",
    re.I,
)
_DISTRUSTED = re.compile(r"x509|certificate|server gave HTTP response to HTTPS", re.I)
_EXPIRED = re.compile(
    r"Expired(Token|Credentials?)|Token(Has)?Expired|RequestExpired|\bexpired\b|invalid_grant", re.I
)
_REFUSED = re.compile(
    r"SignatureDoesNotMatch|InvalidAccessKeyId|InvalidTokenId|AccessDenied|Access Denied|"
    r"Auth(entication|orization)\w*(Failed|Failure|Mismatch)|Anonymous caller|forbidden|unauthorized|"
    r"(StatusCode|Error):? 40[13]\b|NoCredentialProviders|credentials|AllAccessDisabled",
    re.I,
)
_UNREACHABLE = re.compile(
    r"connection refused|no such host|dial tcp|i/o timeout|timed? ?out|unreachable|connection reset|"
    r"broken pipe|closed network connection|\bEOF\b|deadline exceeded|server misbehaving|"
    r"request send failed",
    re.I,
)
_DAMAGED = re.compile(r"corrupted on transfer|hash(es)? differ|sizes differ", re.I)


def explained(failed: Failed, uri: str, remote: str, path: str) -> StorageError:
    """Return the error to show to the user.

    Args:
        failed: The failure of rclone.
        uri: The URI of the transfer.
        remote: Name of rclone's remote.
        path: Bucket and folder.
    """
    output = _QUOTED.sub("", "\n".join(failed.reports))
    bucket = path.partition("/")[0]
    settings = f"RCLONE_CONFIG_{remote.upper()}_..."
    configured = f"rclone's config, in {settings} or in the secret"
    # The first match counts: a refused request is often also reported as a failed connection.
    causes = [
        (
            _TOO_OLD,
            f"this rclone is too old; {extras.command('storage')} installs a newer one",
        ),
        (_LOCKED, "rclone's config is encrypted; set RCLONE_CONFIG_PASS"),
        (
            _NO_REMOTE,
            f"rclone has no remote {remote!r}; create it with `rclone config`, set {settings}, or "
            "correct the uri",
        ),
        (_NO_ACCOUNT, f"no account is set; set AZURE_STORAGE_ACCOUNT_NAME, or {settings}"),
        (
            _NO_BUCKET,
            f"there is no bucket {bucket!r}; create it (`rclone mkdir {remote}:{bucket}`), or correct "
            "the uri",
        ),
        (_FULL, f"no space is left ({failed.reason}); make room, and try again"),
        (
            _DISTRUSTED,
            f"the server's certificate is not trusted ({failed.reason}); correct the endpoint, or set "
            "RCLONE_CA_CERT",
        ),
        (_EXPIRED, f"the credentials have expired; renew those in {configured}"),
        (
            _REFUSED,
            f"access was refused ({failed.reason}); correct the credentials in {configured}",
        ),
        (_DAMAGED, f"a file was damaged on the way ({failed.reason}); try again"),
        (
            _UNREACHABLE,
            f"the server cannot be reached ({failed.reason}); correct the endpoint in {configured}, "
            "or try again once it is up: the transfer resumes",
        ),
    ]
    for pattern, text in causes:
        if pattern.search(output):
            return StorageError(f"{uri}: {text}")
    if failed.code in NOT_FOUND:
        return StorageError(f"{uri}: there is no such bucket or folder; correct the uri")
    return StorageError(f"{uri}: {failed.reason}; try again, and the transfer resumes")
