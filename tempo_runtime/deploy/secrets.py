"""What looks like a secret: a manifest is committed, and read by many."""

from __future__ import annotations

import re

_NAME = re.compile(
    r"AUTHORIZATION|CONNECTION_STRING|CREDENTIAL|PASSPHRASE|PASSWD|PASSWORD|SECRET"
    r"|(ACCESS|API|AUTH|PRIVATE)_?(KEY|TOKEN(?!S|IZ))"
    r"|(_|DB|PG|SMTP|SQL)(PASS|PWD)(?![A-Z])|^PASS$|(^|_)CREDS(?![A-Z])"  # `BYPASS`, `PWD` are none
    r"|(TOKEN|(^|_)KEY)_?\d*$"  # and so are `TOKEN_LENGTH`, `CACHE_KEY_PREFIX`
)
# What is said of a secret, or where it is.
_NO_NAME = re.compile(r".*_(FILE|PATH|DIR|NAME|URL|ENABLED|TYPE|ID|REF)")
# Settings of ours that name a file: the public key of a signer, the key of a certificate.
_OURS = re.compile(r"TEMPO_RUNTIME_(\w+__)?(VERIFY_KEY|TLS__KEY)")
# A password in a URL, a header in JSON, a token, Azure's connection strings and signed URLs.
_VALUE = re.compile(
    r"://[^/\s@:]*:[^/\s@]+@|(authorization|api-?key|token|password)[\\\"']*\s*:|\bbearer\s"
    r"|\b(AccountKey|SharedAccessKey|SharedAccessSignature|password|sig)=[^\s;&]"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY",
    re.IGNORECASE,
)
_FLAG = re.compile(r"true|false|yes|no|on|off", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d*\.?\d+")
# What people choose, and may choose digits for.
_CHOSEN = re.compile(r"(PASS|PASSPHRASE|PASSWD|PASSWORD|PWD|SECRET)_?\d*$")
# Another variable, which may be of a Secret.
_REFERENCE = re.compile(r"\$\([^()]*\)")


def refuse_secrets(variables: dict[str, str]) -> dict[str, str]:
    """The same variables.

    Raises:
        ValueError: If one looks like a secret.
    """
    for name, value in variables.items():
        if looks_secret(name, value):
            raise ValueError(
                f"{name} looks like a secret, and a manifest is read by many; put it in a Secret of the "
                "cluster, and name that in env_from, even if it is none"
            )
    return variables


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable is a secret, by its name, or by a password in its value."""
    written = _REFERENCE.sub("", value)
    if _VALUE.search(written):
        return True
    big = re.sub(r"\W", "_", name.upper())
    if not written or _FLAG.fullmatch(written) or _NO_NAME.fullmatch(big) or _OURS.fullmatch(big):
        return False
    if _NUMBER.fullmatch(written) and not _CHOSEN.search(big):
        return False
    return bool(_NAME.search(big))
