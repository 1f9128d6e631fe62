"""Check that a header can be sent over every transport; gRPC allows fewer headers than HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.tensor import shown

_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[ -~]*")
_MOST = 8192  # characters in total; gRPC servers refuse a call with more


def is_binary(name: str) -> bool:
    """Return whether a header is binary metadata, which only gRPC has."""
    return name.endswith("-bin")


def fault(name: str, value: object) -> str | None:
    """Return why a header cannot be sent to a child; None if it can. Its name is in lower case.

    The reason does not quote the value, because it may be a token.
    """
    if not _NAME.fullmatch(name) or is_binary(name):
        return (
            "its name may only have letters, digits, '-', '_' and '.', and must not end in '-bin'"
        )
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        return "its value is not printable ASCII"
    return None


def check(headers: Mapping[str, object]) -> None:
    """Check the headers that are forwarded to children.

    Raises:
        PayloadError: If one cannot be sent, or if they are too long in total.
    """
    for name, value in headers.items():
        reason = fault(name, value)
        if reason is not None:
            raise PayloadError(f"header {shown(name)} cannot be forwarded to models: {reason}")
    length = sum(len(name) + len(str(value)) for name, value in headers.items())
    if length > _MOST:
        raise PayloadError(
            f"the headers to forward to models ({', '.join(headers)}) have {length} characters, more "
            f"than the limit of {_MOST}; send shorter ones"
        )
