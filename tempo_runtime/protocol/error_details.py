"""Describe errors for programs, in a JSON object beside the error's text.

The same object is in the body of an HTTP answer, in its header `tempo-error`, in the last event of a
stream, and at the end of the text, because MLServer's gRPC and its workers pass on only a text. Objects
from other processes are checked: if one has anything unknown, the error is treated as that of a server
that does not serve pipelines.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tempo_runtime.errors import Fault, TempoError

HEADER = "tempo-error"
KEY = "tempo"
"""Field of a JSON body, and parameter of a stream's event."""

_DEPTH = 50  # children in a path
_NAME = 200  # characters of a child's name
_HEADER = 2000  # bytes; servers and proxies allow 8,000 for all headers together
_DETAILS = 4000  # bytes of a text over gRPC, which sends it in a header
_BEGIN = ' {"kind":'
_TEXT = re.compile(r" (\{.*\}) \(status \d{3}(?:, retry after [\d.e+-]+ s)?\)", re.DOTALL)
# MLServer's workers prepend the name of an error's class to its text.
_CLASS = re.compile(r"\A(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*: ")
_LEFT_OUT = "..."


@dataclass(frozen=True)
class ErrorInfo:
    """The details of an error that programs can read.

    Attributes:
        kind: Name of its class.
        status: Its HTTP status.
        fault: Who must change something.
        retryable: Whether the same request can succeed later.
        retry_after: Seconds to wait before a retry, if known.
        path: Names of the children that the error came through, outermost first.
    """

    kind: str
    status: int
    fault: Fault
    retryable: bool = False
    retry_after: float | None = None
    path: tuple[str, ...] = ()

    @staticmethod
    def of(error: TempoError) -> ErrorInfo:
        """Describe an error of this process."""
        return ErrorInfo(
            error.kind,
            error.status,
            error.fault,
            error.retryable,
            error.retry_after if error.retryable else None,
            error.path,
        )

    @staticmethod
    def chosen(status: int) -> ErrorInfo:
        """Describe an MLServerError that the author raised, with the status that the author chose."""
        status = status if 400 <= status < 600 else 500
        fault = Fault.CLIENT if status < 500 else Fault.PIPELINE
        return ErrorInfo("MLServerError", status, fault, retryable=status in (429, 503))

    @staticmethod
    def read(value: Any) -> ErrorInfo | None:
        """Read the details from a JSON object of another process; None if it does not contain any."""
        if not isinstance(value, Mapping):
            return None
        kind, status, path = value.get("kind"), value.get("status"), value.get("path", [])
        retry_after = value.get("retry_after")
        with suppress(ValueError):
            fault = Fault(value.get("fault"))
            if (
                isinstance(kind, str)
                and re.fullmatch(r"[A-Za-z_]\w{0,99}", kind, re.ASCII)
                and type(status) is int
                and 400 <= status < 600
                and isinstance(path, list)
                and all(isinstance(name, str) for name in path)
                and (retry_after is None or _is_seconds(retry_after))
            ):
                retryable = value.get("retryable") is True
                names = tuple(name[:_NAME] for name in path[:_DEPTH])
                return ErrorInfo(kind, status, fault, retryable, retry_after, names)
        return None

    @staticmethod
    def parse(text: str | None) -> ErrorInfo | None:
        """Read the details from JSON text, such as the header; None if it does not contain any."""
        with suppress(ValueError, RecursionError):
            return ErrorInfo.read(json.loads(text or ""))
        return None

    def give(self, error: TempoError) -> None:
        """Set these attributes on an error that represents the described one."""
        error.kind, error.status, error.fault = self.kind, self.status, self.fault
        error.retryable, error.retry_after, error.path = (
            self.retryable,
            self.retry_after,
            self.path,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        content: dict[str, Any] = {
            "kind": self.kind,
            "status": self.status,
            "fault": self.fault.value,
            "retryable": self.retryable,
        }
        if self.retry_after is not None:
            content["retry_after"] = self.retry_after
        return {**content, "path": list(self.path)}

    def to_header(self) -> str:
        """Return the JSON in ASCII; `...` replaces names that would make it too long."""
        content = self.to_json()
        text = _dumps(content)
        while len(text) > _HEADER:
            path = [name for name in content["path"] if name != _LEFT_OUT]
            content["path"] = [*path[:-1], _LEFT_OUT] if path else []
            text = _dumps(content)
        return text


def marked(message: str, info: ErrorInfo, *, short: bool = False) -> str:
    """Append the details for programs to an error's text.

    The status comes last, where clients of earlier versions expect it.

    Args:
        message: The text.
        info: The details.
        short: Whether to shorten a text that is too long for gRPC.
    """
    message = message.encode(errors="replace").decode()  # half a surrogate pair cannot be sent
    if short:
        message = _shortened(message)
    wait = f", retry after {info.retry_after:g} s" if info.retry_after is not None else ""
    return f"{message} {info.to_header()} (status {info.status}{wait})"


def unmarked(text: str) -> tuple[str, ErrorInfo | None]:
    """Split a text from `marked` into text and details; the details are None for any other text."""
    start = text.rfind(_BEGIN)
    match = _TEXT.fullmatch(text, start) if start >= 0 else None
    info = ErrorInfo.parse(match[1]) if match else None
    return (_CLASS.sub("", text[:start]), info) if info else (text, None)


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 86_400


def _dumps(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))


def _shortened(message: str) -> str:
    """Shorten a message in the middle, so that gRPC can send it, which escapes non-ASCII text."""
    kept = message
    if len(kept) > _DETAILS:  # the loop below would take long for a long text
        kept = f"{kept[: _DETAILS // 2]} {_LEFT_OUT} {kept[-_DETAILS // 2 :]}"
    while sum(1 if 32 <= byte < 127 else 3 for byte in kept.encode()) > _DETAILS:
        part = int(len(kept) * 0.45)
        kept = f"{kept[:part]} {_LEFT_OUT} {kept[-part:]}"
    return kept
