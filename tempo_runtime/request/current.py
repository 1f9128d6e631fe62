"""The current request, for the author's code: its id, headers, deadline and pipeline."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from threading import current_thread
from types import MappingProxyType

from tempo_runtime.errors import RequestError
from tempo_runtime.protocol.headers import is_binary
from tempo_runtime.request import context
from tempo_runtime.request.context import Origin

# Patterns such as `x-*` do not allow these: they must be named in full.
_CREDENTIALS = frozenset(("authorization", "cookie", "proxy-authorization", "set-cookie"))
_CREDENTIAL_PARTS = ("api-key", "apikey", "auth", "cookie", "password", "secret", "token")


@dataclass(frozen=True)
class CurrentRequest:
    """The request that a predict method is answering; `current_request` returns it.

    It stays valid in any thread, so pass it to threads that you start.

    Attributes:
        id: Id of the request: the client's, or one that was made for it.
        headers: Its headers, by name in lower case, as far as the setting `request_headers` allows them;
            over gRPC, its metadata. Empty in a call without a server.
        pipeline: Name of the pipeline that answers it.
        version: Version of that pipeline, if it has one.
    """

    id: str
    headers: Mapping[str, str]
    pipeline: str
    version: str | None = None
    _deadline: float | None = None

    def remaining(self) -> float | None:
        """Return the seconds until the caller's deadline, not below 0; None without a deadline.

        Example:
            >>> import time
            >>> from tempo_runtime import CurrentRequest
            >>> request = CurrentRequest("7", {}, "shop", None, time.monotonic() + 60)
            >>> 59 < request.remaining() <= 60
            True
        """
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())


def current_request() -> CurrentRequest:
    """Return the request that the calling code is part of.

    Call it in a predict method, sync or async, or in what that calls. In a thread that you start, use
    the object that it returned in the predict method.

    Raises:
        RequestError: If the calling code is not part of a request, or of several at the same time; the
            message says what to do.

    Example:
        >>> from tempo_runtime import current_request, model
        >>> @model("who")
        ... def who() -> str:
        ...     return current_request().pipeline
        >>> who()
        'who'
    """
    if not context.is_request():
        raise RequestError(
            f"current_request() was called in thread {current_thread().name!r}, which does not belong to "
            "a request; call it in the predict method and pass its result to the thread, or start the "
            "thread's function with `contextvars.copy_context().run`"
        )
    current = context.current()
    origin = current.origin
    if origin is None:
        raise RequestError(
            "current_request() was called while several requests are answered by one call of the predict "
            "method, so there is not one request; remove the pipeline's `batching`"
        )
    return CurrentRequest(
        current.id or "", _allowed(origin), origin.pipeline, origin.version, current.deadline
    )


def new_id() -> str:
    """Return an id for a request that came without one."""
    return str(uuid.uuid4())


def _allowed(origin: Origin) -> Mapping[str, str]:
    """Return the headers of a request that its pipeline's settings allow."""
    if not origin.headers:
        return _NO_HEADERS
    names = frozenset(origin.allowed)
    prefixes = tuple(name[:-1] for name in origin.allowed if name.endswith("*"))
    allowed = {}
    for name, value in origin.headers.items():
        lower = name.lower()
        if is_binary(lower) or not isinstance(value, str):
            continue
        if lower in names or (lower.startswith(prefixes) and not is_credential(lower)):
            allowed[lower] = value
    return MappingProxyType(allowed)


def is_credential(header: str) -> bool:
    """Return whether a header, in lower case, may hold a credential by its name."""
    return header in _CREDENTIALS or any(part in header for part in _CREDENTIAL_PARTS)


_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
