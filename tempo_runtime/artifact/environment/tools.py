"""The programs that make environments: which are here, and one run of one of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

from tempo_runtime._util.credentials import redacted
from tempo_runtime._util.progress import shown
from tempo_runtime.errors import EnvironmentFailed

_SAID = 500  # characters of what a program said
_DECORATION = re.compile(r"\x1b\[[0-9;]*m|[\u00d7\u2500-\u257f\u25b6]")


def find(*names: str) -> str | None:
    """Return the first of these programs that is here: on PATH, or beside this Python."""
    beside = os.path.dirname(sys.executable)
    for name in names:
        if found := shutil.which(name) or shutil.which(name, path=beside):
            return found
    return None


def run(command: Sequence[str], doing: str, failed: str) -> None:
    """Run a program to its end; it and all it started end with this call, however it ends.

    Args:
        command: The program and its arguments.
        doing: What is shown meanwhile.
        failed: What it means where it fails; the program's own words follow.

    Raises:
        EnvironmentFailed: If it fails.
    """
    # User packages and settings of this process are not those of the environment that is made.
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX")
    }
    with shown(doing):
        process = subprocess.Popen(  # noqa: S603 - a program of `find`, no shell
            command,
            env=clean | {"PYTHONNOUSERSITE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if process.returncode != 0:
            raise EnvironmentFailed(f"{failed}: {in_one_line(said.decode(errors='replace'))}")


def in_one_line(said: str) -> str:
    """Return the end of a program's output, without decoration and without credentials in URLs."""
    plain = redacted(" ".join(_DECORATION.sub(" ", said).split()))
    return plain if len(plain) <= _SAID else f"... {plain[-_SAID:]}"
