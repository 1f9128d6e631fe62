"""A server's process that ends with its starter, however that ended.

Imports little: until it has run, nothing would end the process.
"""

from __future__ import annotations

import os
import signal
import threading
import time

_GRACE = 3.0
_alone = threading.Event()


def attach() -> None:
    """Has this process and its group end when its standard input, the starter's pipe, is closed."""
    threading.Thread(target=_end_with_starter, name="tempo-starter", daemon=True).start()


def detach() -> None:
    """Has it stay."""
    _alone.set()


def _end_with_starter() -> None:
    os.read(0, 1)
    if _alone.is_set():
        return
    # Nobody waits for what it works on, so it is given a moment only.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os.killpg(0, signal.SIGKILL)
