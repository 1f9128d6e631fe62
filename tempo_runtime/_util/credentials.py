"""Find and remove credentials in URLs.

Credentials are the user and password before the host, either of which may be a token, and the
parameters by which clouds and package indexes sign a URL.
"""

from __future__ import annotations

import re

MASK = "***"
# The user `git` is a convention of SSH, not a secret.
_USER = re.compile(r"(?<=://)(?!git@)[^/\s?#\"'<>`]*@")
_PARAMETER = r"(?<=[?&])([\w.-]*(?:credential|key|passwd|password|secret|signature|token)|sig)="
_SIGNED = re.compile(_PARAMETER + r"[^&\s#\"'<>`]*", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{\w+\}")
_WRITTEN_OUT = re.compile(
    rf"://(?!git@)(?:[^/\s@:]+|[^/\s@:]*:[^/\s@]+)@|{_PARAMETER}[^&\s#]", re.IGNORECASE
)
# A password, or a token in its place. In other URLs a user without a password is not a secret.
_PASSWORD = re.compile(
    r"://[^/\s@:?#]*:[^/\s@?#]+@|\b(\w+\+)?https?://[^/\s@?#]*[^/\s@:?#][^/\s@?#]*@", re.IGNORECASE
)
_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s\"'<>`]+")


def redacted(text: str, mask: str = MASK) -> str:
    """Return a text without the credentials in its URLs.

    Args:
        text: Any text.
        mask: Text that replaces credentials; if empty, they are removed and the URLs stay valid.
    """
    user, value = (f"{mask}@", rf"\1={mask}") if mask else ("", "")
    text = _SIGNED.sub(value, _USER.sub(user, text))
    return text if mask else re.sub(r"(?<=[?&])&+|[?&]+(?=[\s#\"'<>`]|$)", "", text)


def has_password(text: str) -> bool:
    """Return whether a URL in a text has a password, or a token in its place."""
    return bool(_PASSWORD.search(text))


def with_credentials(text: str) -> list[str]:
    """Return the URLs in a text that have credentials."""
    return [url for url in _URL.findall(text) if redacted(url) != url]


def written_out(text: str) -> bool:
    """Return whether a URL in a text has a credential other than the value of a variable, `${NAME}`."""
    return bool(_WRITTEN_OUT.search(_VARIABLE.sub("", text)))
