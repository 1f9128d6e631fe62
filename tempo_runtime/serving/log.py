"""What a server prints: kept while it starts, passed on afterwards, and what of it says why it ended."""

from __future__ import annotations

import re
import threading
from collections import deque
from typing import IO

from tempo_runtime.printable import printable_log

_KEPT = 1000  # lines
_SHOWN = 8
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Z]\w*): (.+)")
# pydantic's lines of a field and of its fault, and one that names a page.
_INVALID = re.compile(r"(validation errors? for .+)((?:\n\S+\n  \S.*(?:\n    .+)?)+)")
_FAULT = re.compile(r"\n(\S+)\n  (\S.*)")
_FAILED = re.compile(r"Couldn't load model '([^']+)'")
_OURS = "MLServerError"  # what a pipeline's errors leave as
_TRACEBACK = "Traceback (most recent call last):"


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


def reason(log: str) -> str:
    """What in a server's log says why it ended: which models failed, or else its last lines."""
    log = _INVALID.sub(_on_one_line, log)
    errors: dict[str, str] = {}
    inside = False
    for line in log.splitlines():
        if line.endswith(_TRACEBACK):
            inside = True
        elif inside and line and not line[0].isspace():
            inside = False
            if matched := _EXCEPTION.fullmatch(line):
                kind, message = matched.groups()
                errors[message if kind == _OURS else f"{kind}: {message}"] = message
    if not errors:
        return "\n".join([line for line in log.splitlines() if line.strip()][-_SHOWN:])
    # An exception raised from another often repeats the other's text.
    texts = list(errors)
    once = [
        text
        for number, text in enumerate(texts)
        if not any(errors[text] in later for later in texts[number + 1 :])
    ]
    models = ", ".join(dict.fromkeys(_FAILED.findall(log)))
    return (f"{models}: " if models else "") + "; ".join(once)


def _on_one_line(invalid: re.Match[str]) -> str:
    faults = ", ".join(f"{field}: {fault}" for field, fault in _FAULT.findall(invalid[2]))
    return f"{invalid[1]}: {faults}"
