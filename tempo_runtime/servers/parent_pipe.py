"""The starter's side of processes that end with it: it alone holds the pipe that each waits on."""

from __future__ import annotations

import os
import subprocess
import weakref
from collections.abc import Sequence
from typing import Any

_started: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process whose standard input is closed once this one has ended, however it did.

    It has a session of its own: Ctrl-C is for its starter.

    Args:
        command: The command.
        options: Those of `subprocess.Popen`.
    """
    process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - ours
        command, stdin=subprocess.PIPE, start_new_session=True, **options
    )
    _started.add(process)
    return process


def _let_go() -> None:
    """In a fork of the starter, which would keep the pipes open after its end."""
    for process in _started:
        process.poll()  # finds that it is not a child of the fork
        assert process.stdin is not None
        process.stdin.close()


os.register_at_fork(after_in_child=_let_go)
