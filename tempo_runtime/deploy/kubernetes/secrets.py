"""Find secrets in manifests, which are committed and read by many people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tempo_runtime._util.credentials import has_password
from tempo_runtime.errors import SettingsError

_REMEDY = (
    "looks like a secret, and many people can read a manifest; put it in a Secret of the cluster and "
    "name that in env_secrets or env_from, even if it is not secret"
)

# -- Names --------------------------------------------------------------------------------------

_NAME = re.compile(
    r"AUTHORIZATION|CONNECTION_STRING|CREDENTIAL|PASSPHRASE|PASSWD|PASSWORD|SECRET"
    r"|(ACCESS|API|AUTH|PRIVATE)_?(KEY|TOKEN(?!S|IZ))"
    r"|(_|DB|PG|SMTP|SQL)(PASS|PWD)(?![A-Z])|^PASS$|(^|_)CREDS(?![A-Z])"  # but not `BYPASS`, `PWD`
    r"|(TOKEN|(^|_)KEY)_?\d*$"  # nor `TOKEN_LENGTH`, `CACHE_KEY_PREFIX`
)
# Properties or locations of secrets, and the tokens of language models.
_NO_NAME = re.compile(
    r".*_(FILE|PATH|DIR|NAME|URL|ENABLED|TYPE|ID|REF)|(.*_)?PUBLIC_?KEY"
    r"|(.*_)?(BOS|CLS|END|EOS|MASK|PAD|SEP|SPECIAL|START|STOP|UNK)_TOKEN"
)
# Keys of records and maps, whose names resemble those of some clouds' keys.
_KEY_OF_DATA = re.compile(
    r"(.*_)?(CACHE|DICT|FEATURE|FOREIGN|GROUP|INDEX|JOIN|JSON|LABEL|LOOKUP|MAP|MESSAGE|OBJECT|PARTITION"
    r"|PRIMARY|RANGE|RECORD|ROUTING|ROW|SORT)_KEY"
)
# Our own settings that name a file: the public key of a signer, the key of a certificate.
_OURS = re.compile(r"TEMPO_RUNTIME_(\w+__)?(VERIFY_KEY|TLS__KEY)")
_HEADERS = re.compile(r"(.*__)?HEADERS(__.*)?")
_PROXY = re.compile(r".*PROXY")
_AUTH = re.compile(r"(.*_)?AUTH")
# Values that people choose, possibly with digits.
_CHOSEN = re.compile(r"(PASS|PASSPHRASE|PASSWD|PASSWORD|PWD|SECRET)_?\d*$")

# -- Values -------------------------------------------------------------------------------------

# Secrets anywhere in a text: tokens with a known prefix, and private keys.
_CREDENTIAL = re.compile(
    r"\b(gh[oprsu]_[A-Za-z0-9]{6,}|github_pat_\w{6,}|glpat-[\w-]{8,}|npm_[A-Za-z0-9]{30,}"
    r"|pypi-AgE[\w-]{8,}|dckr_pat_[\w-]{8,}|hf_[A-Za-z0-9]{20,}|hv[bs]\.[\w-]{20,}"
    r"|sk-([a-z0-9]+-){0,3}(?=[A-Za-z_-]*\d)[A-Za-z0-9]{12,}|[rs]k_(live|test)_\w{8,}"
    r"|xox[a-z](\.xox[a-z])?-[\w-]{6,}|xapp-\d-[\w-]{6,}|hooks\.slack\.com/services/\w+/\S+"
    r"|(AKIA|ASIA)[A-Z0-9]{12,}|AIza[\w-]{30,}|ya29\.[\w-]{10,}|GOCSPX-[\w-]{8,}|dapi[0-9a-f]{32}"
    # A JSON Web Token, whose first part is JSON in base64; or that part alone.
    r"|eyJ[\w-]{4,}\.[\w-]+|eyJ(hbGci|0eXAi|raWQi)[\w-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|LS0tLS1CRUdJTiB(QUklW|SU0Eg|FQyBQ|PUEVO|FTkNS|EU0Eg)"  # the same in base64
)
_BARE_USERINFO = re.compile(r"([a-z]+://)?[^/\s@]*[^/\s@:]@\S+", re.IGNORECASE)
# A header in JSON or as it is sent, and Azure's connection strings and signed URLs.
_STATED = re.compile(
    r"(authorization|api-?key|(?<!bos_)(?<!eos_)(?<!pad_)(?<!unk_)(?<!sep_)(?<!cls_)(?<!max_)(?<!mask_)token"
    r"|password)[\\\"']*\s*:(?!\s*[\\\"']*([-\d.]+|true|false|null|none)?[\\\"']*\s*([,;}\]]|$))"
    r"|\bbearer\s|\bbasic\s+[A-Za-z0-9+/]{4,}={1,2}(?![\w=])"
    r"|\b(AccountKey|SharedAccessKey|SharedAccessSignature|password|sig)=[^\s;&]",
    re.IGNORECASE,
)
_FLAG = re.compile(r"true|false|yes|no|on|off", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d*\.?\d+")
# The path of a file with a secret, or a public key.
_FILE = re.compile(
    r"(file://)?\.{0,2}/[\w./@-]+"
    r"\.(asc|cer|cert|cfg|conf|crt|der|env|gpg|ini|jks|json|jwt|key|p12|pem|pfx|pub|toml|txt|token|ya?ml)"
    r"|(file://)?/(app|certs?|config|data|etc|home|keys?|mnt|opt|root|run|secrets?|srv|ssl|tls|tmp|usr"
    r"|var)(/[\w.@-]+)+/?"
)
_PUBLIC = re.compile(r"(ssh|ecdsa)-[\w-]+ AAAA|-----BEGIN ([A-Z]+ )?(PUBLIC KEY|CERTIFICATE)-")
_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w+/=-]{20,}")
# A reference to another variable, which may come from a Secret.
_REFERENCE = re.compile(r"\$\([^()]*\)")
# Headers by which gateways route a call, or that describe a body.
_PLAIN_HEADERS = {"accept", "accept-encoding", "content-type", "user-agent", "host"}
_PLAIN_HEADERS |= {"namespace", "seldon", "seldon-internal-model", "seldon-model"}


def refuse_secrets(variables: dict[str, str]) -> dict[str, str]:
    """Return the variables unchanged.

    Raises:
        ValueError: If one looks like a secret.
    """
    for name, value in variables.items():
        if looks_secret(name, value):
            raise ValueError(f"{name} {_REMEDY}")
    return variables


def refuse_secrets_in(documents: Sequence[Mapping[str, Any]]) -> None:
    """Refuse documents that contain a secret.

    The secret may come from an option, or from the settings or the description in an artifact.

    Raises:
        SettingsError: If there is one; the message has its location but not its value.
    """
    for document in documents:
        for path in _secrets(document, ""):
            where = f"{document['kind']} {document['metadata']['name']}, {path}"
            raise SettingsError(f"{where} {_REMEDY}")


def looks_secret(name: str, value: str) -> bool:
    """Return whether a variable is a secret, by its name or by a credential in its value."""
    written = _REFERENCE.sub("", value)
    big = re.sub(r"\W", "_", name.upper())
    if holds_secret(written) or _STATED.search(written):
        return True
    if (_PROXY.fullmatch(big) and _BARE_USERINFO.match(written)) or _has_headers(big, written):
        return True
    if not written or _FLAG.fullmatch(written) or _NO_NAME.fullmatch(big) or _OURS.fullmatch(big):
        return False
    if _FILE.fullmatch(written) or _PUBLIC.match(written):
        return False
    if _NUMBER.fullmatch(written) and not _CHOSEN.search(big):
        return False
    if _KEY_OF_DATA.fullmatch(big):
        return bool(_RANDOM.fullmatch(written))
    if _AUTH.fullmatch(big):
        return ":" in written and "://" not in written
    return bool(_NAME.search(big))


def holds_secret(text: str) -> bool:
    """Return whether a text contains a token, a private key, or a URL with a password."""
    written = _REFERENCE.sub("", text)
    return bool(_CREDENTIAL.search(written) or has_password(written))


def _secrets(value: Any, path: str) -> Iterator[str]:
    """Yield the paths of the texts in an object that contain a secret."""
    if isinstance(value, str):
        if holds_secret(value):
            yield path
    elif isinstance(value, Mapping):
        name, text = value.get("name"), value.get("value")
        if isinstance(name, str) and isinstance(text, str) and looks_secret(name, text):
            yield f"{path}, {name}"
        for key, part in value.items():
            yield from _secrets(part, f"{path}.{key}" if path else f"{key}")
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _secrets(part, f"{path}[{number}]")


def _has_headers(name: str, value: str) -> bool:
    """Return whether a variable sets headers of a child other than those that only route a call."""
    if match := _HEADERS.fullmatch(name):
        if header := match[2]:
            return bool(value) and header[2:].lower().replace("_", "-") not in _PLAIN_HEADERS
        headers = _parsed(value)
        if isinstance(headers, dict):
            return _are_secret(headers)
    return _nested_headers(_parsed(value))


def _nested_headers(value: Any) -> bool:
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, dict):
        return any(
            (key == "headers" and _are_secret(_parsed(part))) or _nested_headers(part)
            for key, part in value.items()
        )
    return isinstance(value, list) and any(map(_nested_headers, value))


def _are_secret(headers: Any) -> bool:
    if not isinstance(headers, dict):
        return False
    return any(value for name, value in headers.items() if name.lower() not in _PLAIN_HEADERS)


def _parsed(value: Any) -> Any:
    """Return the object in a JSON text; None if the text is not a JSON object."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.lstrip()[:1] in ("{", "[") else None
    except (ValueError, RecursionError):
        return None
