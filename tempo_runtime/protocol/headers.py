"""Check that every transport to a child can carry a header; gRPC allows fewer than HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.tensor import shown

_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[ -~]*")
_MOST = 8192  # characters in total; gRPC servers refuse a call with more


def is_binary(name: str) -> bool:
    """Tell whether a header is binary metadata, which only gRPC has."""
    return name.endswith("-bin")


def fault(name: str, value: object) -> str | None:
    """Return why a header, its name in lower case, cannot be sent to a child; None if it can.

    The value is not in the message, because it may be a token.
    """
    if not _NAME.fullmatch(name) or is_binary(name):
        return "its name may have only letters, digits, '-', '_' and '.', and may not end in '-bin'"
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        return "its value is not printable ASCII"
    return None


def check(headers: Mapping[str, object]) -> None:
    """Check the headers of a request that are sent on to children.

    Raises:
        PayloadError: If one cannot be sent, or all together are too long.
    """
    for name, value in headers.items():
        why = fault(name, value)
        if why is not None:
            raise PayloadError(f"header {shown(name)} cannot be sent on to models: {why}")
    length = sum(len(name) + len(str(value)) for name, value in headers.items())
    if length > _MOST:
        raise PayloadError(
            f"the headers that are sent on to models ({', '.join(headers)}) have {length} characters, "
            f"and at most {_MOST} can be sent; send shorter ones"
        )
