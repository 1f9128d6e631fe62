"""Read the logs that explain why models are not ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from tempo_runtime.deploy.kubernetes.api_errors import ApiError
from tempo_runtime.deploy.kubernetes.connection import ApiConnection, Deadline
from tempo_runtime.deploy.kubernetes.pods import Log
from tempo_runtime.deploy.kubernetes.session import Api
from tempo_runtime.deploy.kubernetes.status import Progress
from tempo_runtime.errors import DeploymentFailed

LINES = 200  # MLServer logs why a model does not load, and then each step of its shutdown
_SECONDS = 2.0  # for one log, even after the deadline of an operation
# Seconds until a log is read again if its container runs, or it could not be read.
_AGAIN = 3.0


class Logs:
    """The logs of a namespace; each is read when it can explain more.

    Args:
        connection: The connection to the cluster.
        namespace: The namespace.
    """

    def __init__(self, connection: ApiConnection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._texts: dict[Log, str] = {}
        self._again: dict[Log, float] = {}
        self._refused: dict[Log, str] = {}

    def explain(self, judge: Callable[[Mapping[Log, str]], Progress]) -> Progress:
        """Return the progress of a model, with the reason that its log gives.

        Args:
            judge: Says it by the logs that were read, and which other log would tell more.
        """
        progress = judge(self._texts)
        if progress.log is not None and time.monotonic() >= self._again.get(progress.log, 0.0):
            self._read(progress.log)
            progress = judge(self._texts)
        refusal = (
            self._refused.get(progress.log)
            if progress.log is not None and progress.reason
            else None
        )
        if refusal:
            return replace(
                progress, reason=f"{progress.reason}; its log would say more, but {refusal}"
            )
        return progress

    def _read(self, log: Log) -> None:
        api = Api(self._connection, Deadline(_SECONDS))
        try:
            self._texts[log] = api.log(
                self._namespace, log.pod, log.container, lines=LINES, ended=log.ended
            )
        except ApiError as refused:
            if refused.forbidden:
                self._refused[log] = str(refused)
        except DeploymentFailed:
            pass  # the reason stays shorter
        final = self._texts.get(log) and not log.running
        self._again[log] = float("inf") if final else time.monotonic() + _AGAIN
