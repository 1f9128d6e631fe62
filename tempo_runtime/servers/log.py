"""Keep a server's output while it starts, forward it afterwards, and find the reason why it ended."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Literal

from tempo_runtime._util.credentials import redacted
from tempo_runtime._util.printable import printable_log, without_colors

_KEPT = 1000  # lines
_SHOWN = 8
# The line after a traceback. Some classes are lowercase (`zlib.error`) or local (`f.<locals>.C`),
# some have no message (`KeyError`), and some messages begin on the next line.
_EXCEPTION = re.compile(r"(?:(?:[A-Za-z_]\w*|<locals>)\.)*([A-Za-z_]\w*)(?::(?: (.*))?)?")
# Lines after an exception that are not part of its message.
_OTHER = re.compile(
    r"\d{4}-|\[|\{|[A-Z]{4,}\b|\+-|/\S+:\d+: \w*Warning: |tempo-serve: "
    r"|Traceback \(|The above exception was |During handling of "
)
_MOST_LINES = 5  # of an exception's message
_FRAME = re.compile(r'  File "(/[^"]+)", line (\d+)')
_INSTALLED = re.compile(r"/(?:site-packages|python3\.\d+|tempo_runtime|bin)/")
# Python's prefix for lines of an exception in a group.
_IN_GROUP = re.compile(r"^ +\| ?|^ +(?=\+[-+]+)", re.MULTILINE)
_GROUP = "Exception Group Traceback"
_MEMBER = re.compile(r"\+[-+]+ \d+ -+$")
# The output of Python's faulthandler. Its frames begin with the last one.
_FATAL = re.compile(r"Fatal Python error: (.+)")
# A stopped server leaves these, whatever stopped it. SystemExit may also come from the author's code.
_ENDINGS = frozenset(("CancelledError", "KeyboardInterrupt"))
_EXIT = "SystemExit"
# MLServer's first step when it stops, and a worker's failure to unload a model that it has not loaded.
_SHUTDOWN = re.compile(r"^INFO: +Shutting down|Waiting for gRPC server shutdown", re.MULTILINE)
_UNLOADING = "model update of type 'Unload'"
_OF_WORKER = "WorkerError"
# Levels of rclone and of Python's loggers, and rclone's last message.
_ERROR_LINE = re.compile(r"\b(?:ERROR|CRITICAL|FATAL)\b|\bFailed to ")
_BEFORE_ERROR = re.compile(
    r"^(?:.*?\b(?:ERROR|CRITICAL|FATAL|NOTICE)\b(?: *: *| - | *\[[^\]]*\] *)?|[\d/:., -]+)"
)
_NO_REASON = re.compile(r"\b(?:INFO|DEBUG|WARNING)\b")
# pydantic's lines with a field and its fault, and one with a link.
_INVALID = re.compile(r"(validation errors? for .+)((?:\n\S+\n  \S.*(?:\n    .+)?)+)")
_FAULT = re.compile(r"\n(\S+)\n  (\S.*)")
_FAILED = re.compile(r"Couldn't load model '([^']+)'")
_OURS = "MLServerError"  # the class that a pipeline's errors are converted to
TRACEBACK = "Traceback (most recent call last):"


@dataclass
class _Raised:
    """An exception in a log.

    Attributes:
        kind: Its class.
        place: ` at FILE:LINE` of the author's code; empty if it is unknown.
        lines: The lines of its message.
    """

    kind: str
    place: str
    lines: list[str]

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.lines))

    def __str__(self) -> str:
        if self.kind == _OURS and self.text:
            return self.text  # an error of this package names the author's line itself
        return ": ".join(filter(None, (self.kind, self.text))) + self.place


class Log(threading.Thread):
    """Reads a server's output to its end.

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
        """Keep the last lines, and forward each new one once `pass_on` was called."""
        with self._stream:
            for line in self._stream:
                self._lines.append(line)
                if self._to is not None:
                    self._to.write(printable_log(line.decode(errors="replace")).encode())
                    self._to.flush()

    def pass_on(self, to: IO[bytes]) -> None:
        """Forward new lines to a stream."""
        self._to = to

    def text(self) -> str:
        """Return the last lines of a server that has ended."""
        self.join()
        return b"".join(self._lines).decode(errors="replace")


def reason(log: str, longest: int | None = None) -> str:
    """Summarize why a server, or a program that downloads its models, has ended.

    Args:
        log: Its output.
        longest: If the summary has more characters, only the last error is given. None for no limit.

    Returns:
        The models that failed, and the exceptions; without exceptions the last error, or the last lines.
    """
    log = redacted(without_colors(log))
    if _GROUP in log:
        log = _IN_GROUP.sub("", log)
    log = _INVALID.sub(_on_one_line, "\n".join(_lines(log)))
    lines = log.splitlines()
    before = _SHUTDOWN.split(log)[0].splitlines()
    errors = _exceptions(before) or _exceptions(lines)
    if not errors:
        shown = [_BEFORE_ERROR.sub("", line) for line in lines if _ERROR_LINE.search(line)][-1:]
        shown = shown or [line for line in lines if not _NO_REASON.search(line)][-_SHOWN:]
        return "\n".join(shown or lines[-_SHOWN:])
    # An exception raised from another often repeats its message.
    texts = list(errors)
    once = [
        text
        for number, text in enumerate(texts)
        if not any(errors[text] in later for later in texts[number + 1 :])
    ]
    models = ", ".join(dict.fromkeys(_FAILED.findall(log)))
    summary = (f"{models}: " if models else "") + "; ".join(once)
    return summary if longest is None or len(summary) <= longest else once[-1]


def _lines(log: str) -> Iterator[str]:
    """Yield the lines of a log, including those inside the JSON that some loggers write."""
    for line in log.splitlines():
        if line.startswith("{") and TRACEBACK in line:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = {}
            for value in entry.values():
                if TRACEBACK in str(value):
                    yield from str(value).splitlines()
        elif line.strip():
            yield line


def _exceptions(lines: Iterable[str]) -> dict[str, str]:
    """Return the exceptions of a log in order: each with class and place, and its message alone."""
    exceptions: list[_Raised] = []
    reading: Literal["", "frames", "text", "fatal", "current"] = ""
    place, before = "", ""
    for line in lines:
        if line.endswith(TRACEBACK) or _MEMBER.match(line):
            reading, place = "" if _UNLOADING in before else "frames", ""
        elif fatal := _FATAL.match(line):
            reading = "fatal"
            exceptions.append(_Raised(fatal[1], "", []))
        elif reading == "fatal" and line.startswith("Current thread"):
            reading = "current"
        elif reading in ("frames", "current") and (frame := _FRAME.match(line)):
            if not _INSTALLED.search(frame[1]):
                place = f" at {frame[1]}:{frame[2]}"
                if reading == "current":
                    reading, exceptions[-1].place = "", place
        elif reading == "frames" and not line[0].isspace():
            raised = _EXCEPTION.fullmatch(line)
            # A worker has already printed its own exception, with the place.
            is_cause = (
                raised
                and raised[1] not in _ENDINGS
                and not (exceptions and raised[1] == _OF_WORKER)
            )
            if raised and is_cause and (place or raised[1] != _EXIT):
                exceptions.append(_Raised(raised[1], place, [raised[2] or ""]))
                reading = "text"
            else:
                reading = ""
        elif (
            reading == "text" and len(exceptions[-1].lines) < _MOST_LINES and not _OTHER.match(line)
        ):
            exceptions[-1].lines.append(line.strip())
        elif reading == "text":
            reading = ""
        before = line
    return {str(exception): exception.text or exception.kind for exception in exceptions}


def _on_one_line(invalid: re.Match[str]) -> str:
    faults = ", ".join(f"{field}: {fault}" for field, fault in _FAULT.findall(invalid[2]))
    return f"{invalid[1]}: {faults}"
