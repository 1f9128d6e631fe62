"""Start processes that end with this one, which alone holds the pipe that each of them waits on."""

from __future__ import annotations

import os
import subprocess
import weakref
from collections.abc import Sequence
from typing import Any

_started: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process whose standard input is closed when this one ends for any reason.

    It runs in its own session, so that Ctrl-C only reaches this process.

    Args:
        command: The command.
        options: Options of `subprocess.Popen`.
    """
    process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own command
        command, stdin=subprocess.PIPE, start_new_session=True, **options
    )
    _started.add(process)
    return process


def _let_go() -> None:
    """Close the pipes in a fork of this process, which would otherwise keep them open."""
    for process in _started:
        process.poll()  # it finds that the process is not a child of the fork
        assert process.stdin is not None
        process.stdin.close()


os.register_at_fork(after_in_child=_let_go)
