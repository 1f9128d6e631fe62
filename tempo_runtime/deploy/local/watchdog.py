"""A process that outlives the one that deploys, and ends what that left.

It waits for the pipe on its standard input to close: then its starter has ended, however it did.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tempo_runtime.servers import parent_pipe

_COMMAND = "from tempo_runtime.deploy.local.watchdog import main; main()"
_GRACE = 3.5  # seconds: a server whose starter has ended takes three at most


class Reaper:
    """Ends a deployment when this process has ended.

    Args:
        target: Its target: `process` or `docker`.
        place: What the target knows it by.
    """

    def __init__(self, target: str, place: str) -> None:
        self._process = parent_pipe.start(
            [sys.executable, "-c", _COMMAND, target, place],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=os.sep,
        )

    def stop(self) -> None:
        """Ends it, when there is nothing left to end."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def main() -> None:
    """Waits, and ends what `Reaper` was told."""
    target, place = sys.argv[1:]
    while os.read(0, 1):
        pass
    if target == "process":
        from tempo_runtime.deploy.local.processes import ProcessDeployment
        from tempo_runtime.deploy.local.records import read

        ProcessDeployment(read(place)).undeploy(_GRACE)
    else:
        from tempo_runtime.deploy.local.containers import of

        of(place).undeploy(0)
