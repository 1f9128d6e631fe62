"""End a server's process when the process that started it ends for any reason.

It imports little, because nothing would end the process before it has run.
"""

from __future__ import annotations

import os
import signal
import threading
import time

_GRACE = 3.0
_detached = threading.Event()


def attach() -> None:
    """End this process and its group once standard input, the pipe from its starter, is closed."""
    threading.Thread(target=_end_with_starter, name="tempo-starter", daemon=True).start()


def detach() -> None:
    """Keep this process running after its starter ends."""
    _detached.set()


def _end_with_starter() -> None:
    os.read(0, 1)
    if _detached.is_set():
        return
    # Nobody waits for its results, so it only gets a moment.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os.killpg(0, signal.SIGKILL)
