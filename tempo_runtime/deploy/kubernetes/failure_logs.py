"""Reading the logs that tell why models are not ready."""

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

LINES = 200  # MLServer tells why a model does not load, and then each step of its shutdown
_SECONDS = 2.0  # for one log, also where the deadline of an operation has passed
# Seconds until the log of a container that runs, or that could not be read, is read again.
_AGAIN = 3.0


class Logs:
    """The logs of a namespace, of which each is read once it tells more.

    Args:
        connection: Where the cluster is.
        namespace: The namespace.
    """

    def __init__(self, connection: ApiConnection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._texts: dict[Log, str] = {}
        self._again: dict[Log, float] = {}
        self._refused: dict[Log, str] = {}

    def explain(self, ask: Callable[[Mapping[Log, str]], Progress]) -> Progress:
        """Return how a model gets on, with the reason that a log tells.

        Args:
            ask: Says it by the logs that were read, and which other log would tell more.
        """
        found = ask(self._texts)
        if found.log is not None and time.monotonic() >= self._again.get(found.log, 0.0):
            self._read(found.log)
            found = ask(self._texts)
        refused = self._refused.get(found.log) if found.log is not None and found.reason else None
        if refused:
            return replace(found, reason=f"{found.reason}; its log would tell more, but {refused}")
        return found

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
            pass  # then less is told
        final = self._texts.get(log) and not log.running
        self._again[log] = float("inf") if final else time.monotonic() + _AGAIN
