"""End a deployment whose deploying process has ended.

The process of `watchdog.Reaper` runs this. It waits for the pipe on its standard input to close: then
its starter has ended, however it did.
"""

from __future__ import annotations

import os
import sys

_GRACE = 3.5  # seconds: a server whose starter has ended takes three at most


def main() -> None:
    """Wait, and end what `Reaper` names."""
    target, place = sys.argv[1:]
    while os.read(0, 1):
        pass
    # Imported only now: most deployments are undeployed, and this is never needed.
    if target == "process":
        from tempo_runtime.deploy.local.processes import ProcessDeployment
        from tempo_runtime.deploy.local.records import read

        ProcessDeployment(read(place)).undeploy(_GRACE)
    else:
        from tempo_runtime.deploy.local.containers import of

        of(place).undeploy(0)
