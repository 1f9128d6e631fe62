"""End a deployment whose deploying process has ended.

The process of `watchdog.Watchdog` runs this. It waits until the pipe on its standard input closes,
because then the deploying process has ended for any reason.
"""

from __future__ import annotations

import os
import sys

_GRACE = 3.5  # seconds; a server whose starter has ended takes at most three


def main() -> None:
    """Wait, and then end the deployment that the arguments name."""
    target, place = sys.argv[1:]
    while os.read(0, 1):
        pass
    # Imported only now, because it is not needed if the deployment was undeployed.
    if target == "process":
        from tempo_runtime.deploy.local.processes import ProcessDeployment
        from tempo_runtime.deploy.local.records import read

        ProcessDeployment(read(place)).undeploy(_GRACE)
    else:
        from tempo_runtime.deploy.local.containers import by_id

        by_id(place).undeploy(0)
