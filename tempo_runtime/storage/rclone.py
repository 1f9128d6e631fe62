"""Find and run the program rclone.

Secrets are passed in its environment, not on its command line. It reports on standard error, as JSON;
if nobody reads that any more, it ends at its next report.
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

from tempo_runtime._util import extras
from tempo_runtime._util.credentials import redacted
from tempo_runtime.errors import StorageError

Progress = Callable[[float], None]

# Few and quick retries: a missing server is reported within seconds, and a slow one may continue as long
# as it sends anything. Users can set rclone's own variables to change this.
_DEFAULTS = {
    "RCLONE_RETRIES": "1",
    "RCLONE_LOW_LEVEL_RETRIES": "3",
    "RCLONE_CONTIMEOUT": "10s",
    "RCLONE_TIMEOUT": "60s",
}
# These would redirect the reports, put requests with keys into them, or switch off the transfer.
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
# Steps, numbers and the URL of a request, which may contain a key; the cause follows them.
_NOISE = re.compile(
    r"^.*(api error |HostID: [^,]*, |(Get|Put|Post|Head|Delete) \"[^\"]*\": )", re.DOTALL
)


class Failed(Exception):
    """rclone ended with an error. This exception never leaves `storage`.

    Attributes:
        code: The exit code; if negative, the signal that stopped it.
        reports: All errors that it reported.
    """

    def __init__(self, code: int, reports: list[str]) -> None:
        self.code = code
        self.reports = reports
        super().__init__(self.reason)

    @property
    def reason(self) -> str:
        """The last cause that it reported, for people."""
        if self.code < 0:
            return f"rclone was stopped by signal {-self.code}"
        last = self.reports[-1] if self.reports else f"rclone ended with {self.code}"
        return redacted(" ".join(_NOISE.sub("", _PREFIX.sub("", last)).split()))


def program() -> str:
    """Return the path of rclone: the one installed with this Python, or the one on the PATH.

    Raises:
        StorageError: If it is not installed.
    """
    path = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    if path is None:
        raise StorageError(
            "uploads and downloads need the program rclone, which is not installed: "
            f"{extras.command('storage')}, or https://rclone.org/install"
        )
    return path


def run(*arguments: str, environment: Mapping[str, str], progress: Progress | None = None) -> bytes:
    """Run rclone until it ends; an exception such as Ctrl-C stops it.

    Args:
        arguments: A command of rclone and its arguments.
        environment: Variables in addition to this process's own environment.
        progress: Called with the number of further bytes transferred.

    Returns:
        Its output.

    Raises:
        StorageError: If there is no rclone.
        Failed: If it ends with an error.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    process = subprocess.Popen(  # noqa: S603 - a list of our own arguments
        [program(), *arguments, *_REPORTS],
        env={**_DEFAULTS, **inherited, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    reports: list[str] = []
    # Both pipes are read at the same time, so that neither can fill up.
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
    """Parse a report; a line that is not JSON, such as one about an unknown flag, is also a report."""
    text = line.decode(errors="replace").strip()
    try:
        report = json.loads(text)
    except ValueError:
        report = None
    return report if isinstance(report, dict) and "msg" in report else {"msg": text}
