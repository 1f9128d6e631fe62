"""What looks like a secret: a manifest is committed, and read by many."""

from __future__ import annotations

import re

# `TOKENIZERS_PARALLELISM` and `MAX_TOKENS` are none.
_NAME = re.compile(
    r"API_?KEY|AUTHORIZATION|CREDENTIAL|PASSPHRASE|PASSWD|PASSWORD|SECRET|TOKEN(?!S|IZ)|"
    r"(?<![A-Z0-9])KEY(?![A-Z0-9])"
)
# What is said of a secret, or where it is.
_NO_NAME = re.compile(r".*_(FILE|PATH|DIR|NAME|URL|ENABLED|TYPE|ID|REF)")
# Settings of ours that name a file: the public key of a signer, the key of a certificate.
_OURS = re.compile(r"TEMPO_RUNTIME_(\w+__)?(VERIFY_KEY|TLS__KEY)")
# A password in a URL, a header in JSON, a token.
_VALUE = re.compile(
    r"://[^/\s@:]*:[^/\s@]+@|(authorization|api-?key|token|password)[\\\"']*\s*:|\bbearer\s",
    re.IGNORECASE,
)
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
                "cluster, and name that in env_from"
            )
    return variables


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable is a secret, by its name, or by a password in a URL or a header."""
    written = _REFERENCE.sub("", value)
    if _VALUE.search(written):
        return True
    big = re.sub(r"\W", "_", name.upper())
    named = _NAME.search(big) and not _NO_NAME.fullmatch(big) and not _OURS.fullmatch(big)
    return bool(written and named)
