"""Start a process that outlives the deploying process and ends its deployment; see `reap`."""

from __future__ import annotations

import os
import subprocess
import sys

from tempo_runtime.servers import parent_pipe

_COMMAND = "from tempo_runtime.deploy.local.reap import main; main()"


class Watchdog:
    """Ends a deployment when this process has ended.

    Args:
        target: Target of the deployment: `process` or `docker`.
        place: The deployment's folder or id.
    """

    def __init__(self, target: str, place: str) -> None:
        self._process = parent_pipe.start(
            [sys.executable, "-c", _COMMAND, target, place],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=os.sep,
        )

    def stop(self) -> None:
        """Stop the watchdog, once there is nothing left to end."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
