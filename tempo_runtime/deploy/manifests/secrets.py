"""A manifest is committed, and read by many: no passwords in it."""

from __future__ import annotations

import re

_WORDS = {
    "APIKEY",
    "AUTHORIZATION",
    "CREDENTIALS",
    "KEY",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "SECRET",
    "TOKEN",
}
_FILES = ("FILE", "PATH", "DIR")
# Settings of ours that name a file: the public key of a signer, the key of a certificate.
_OURS = re.compile(r"TEMPO_RUNTIME_(\w+__)?(VERIFY_KEY|TLS__KEY)")
# A password in a URL, a header in JSON, a token.
_VALUE = re.compile(
    r"://[^/\s@]*:[^/\s@]*@|(authorization|api-?key|token|password)[\\\"']*\s*:|\bbearer\s",
    re.IGNORECASE,
)


def refuse_secrets(variables: dict[str, str]) -> dict[str, str]:
    """The same variables.

    Raises:
        ValueError: If one looks like a secret, by its name, or by a password in a URL or a header.
    """
    for name, value in variables.items():
        if _is_secret(name, value):
            raise ValueError(
                f"{name} looks like a secret, and a manifest is read by many; put it in a Secret of the "
                "cluster, and name that in env_from"
            )
    return variables


def _is_secret(name: str, value: str) -> bool:
    if _VALUE.search(value):
        return True
    words = re.split(r"[^A-Z0-9]+", name.upper())
    if words[-1] in _FILES or _OURS.fullmatch(name.upper()):
        return False
    return bool(value) and not _WORDS.isdisjoint(words)
