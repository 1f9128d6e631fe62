"""What a server prints: kept while it starts, passed on afterwards, and what of it says why it ended."""

from __future__ import annotations

import re
import threading
from collections import deque
from typing import IO

from tempo_runtime.printable import printable_log

_KEPT = 1000  # lines
_SHOWN = 8
# The line after a traceback. Some classes are lowercase (`zlib.error`), some have no text (`KeyError`).
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?:: (.+))?")
_FRAME = re.compile(r'  File "(/[^"]+)", line (\d+)')
_INSTALLED = re.compile(r"/(?:site-packages|python3\.\d+|tempo_runtime|bin)/")
# Servers that are stopped leave these, whatever has stopped them.
_ENDINGS = frozenset(("CancelledError", "KeyboardInterrupt", "SystemExit"))
# rclone's levels and those of Python's loggers, and what rclone ended with.
_ERROR_LINE = re.compile(r"\b(?:ERROR|CRITICAL|FATAL)\b|\bFailed to ")
_BEFORE_ERROR = re.compile(
    r"^(?:.*?\b(?:ERROR|CRITICAL|FATAL|NOTICE)\b(?: *: *| - | *\[[^\]]*\] *)?|[\d/:., -]+)"
)
_INFO_LINE = re.compile(r"\b(?:INFO|DEBUG)\b")
# pydantic's lines of a field and of its fault, and one that names a page.
_INVALID = re.compile(r"(validation errors? for .+)((?:\n\S+\n  \S.*(?:\n    .+)?)+)")
_FAULT = re.compile(r"\n(\S+)\n  (\S.*)")
_FAILED = re.compile(r"Couldn't load model '([^']+)'")
_OURS = "MLServerError"  # what a pipeline's errors leave as
TRACEBACK = "Traceback (most recent call last):"


class Log(threading.Thread):
    """Reads what a server prints, to its end.

    Args:
        stream: The server's output.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(name="tempo-log", daemon=True)
        self._stream = stream
        self._lines: deque[bytes] = deque(maxlen=_KEPT)
        self._to: IO[bytes] | None = None
        self.start()

    def run(self) -> None:
        """Keeps the last lines, and passes on each that comes once `pass_on` was called."""
        with self._stream:
            for line in self._stream:
                self._lines.append(line)
                if self._to is not None:
                    self._to.write(printable_log(line.decode(errors="replace")).encode())
                    self._to.flush()

    def pass_on(self, to: IO[bytes]) -> None:
        """Has what comes written to a stream as well."""
        self._to = to

    def text(self) -> str:
        """The last lines of a server that has ended."""
        self.join()
        return b"".join(self._lines).decode(errors="replace")


def reason(log: str, longest: int | None = None) -> str:
    """Summarize why a server, or a program that downloads its models, has ended.

    Args:
        log: What it printed.
        longest: If the summary has more characters, only the last error is told. None for no limit.

    Returns:
        The models that failed, and the exceptions; without exceptions the last error, or the last lines.
    """
    log = _INVALID.sub(_on_one_line, log)
    lines = [line for line in log.splitlines() if line.strip()]
    errors = _exceptions(lines)
    if not errors:
        told = [_BEFORE_ERROR.sub("", line) for line in lines if _ERROR_LINE.search(line)][-1:]
        told = told or [line for line in lines if not _INFO_LINE.search(line)][-_SHOWN:]
        return "\n".join(told or lines[-_SHOWN:])
    # An exception raised from another often repeats the other's text.
    texts = list(errors)
    once = [
        text
        for number, text in enumerate(texts)
        if not any(errors[text] in later for later in texts[number + 1 :])
    ]
    models = ", ".join(dict.fromkeys(_FAILED.findall(log)))
    told_all = (f"{models}: " if models else "") + "; ".join(once)
    return told_all if longest is None or len(told_all) <= longest else once[-1]


def _exceptions(lines: list[str]) -> dict[str, str]:
    """Return the exceptions of a log in their order: with class and place, and the text alone."""
    errors: dict[str, str] = {}
    inside, place = False, ""
    for line in lines:
        if line.endswith(TRACEBACK):
            inside, place = True, ""
        elif inside and (frame := _FRAME.match(line)):
            if not _INSTALLED.search(frame[1]):
                place = f" at {frame[1]}:{frame[2]}"
        elif inside and not line[0].isspace():
            inside = False
            matched = _EXCEPTION.fullmatch(line)
            if matched and matched[1] not in _ENDINGS:
                kind, message = matched.groups()
                # An error of this package names the author's line itself.
                ours = kind == _OURS and message
                text = message if ours else (f"{kind}: {message}" if message else kind) + place
                errors[text] = message or kind
    return errors


def _on_one_line(invalid: re.Match[str]) -> str:
    faults = ", ".join(f"{field}: {fault}" for field, fault in _FAULT.findall(invalid[2]))
    return f"{invalid[1]}: {faults}"
