"""Wait until models are ready or gone, by watching the cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tempo_runtime.deploy.kubernetes.api_errors import ApiCall, ApiError
from tempo_runtime.deploy.kubernetes.connection import ApiConnection, Deadline, Unreachable
from tempo_runtime.deploy.kubernetes.core2_servers import Wait, replaced, wait_of
from tempo_runtime.deploy.kubernetes.events import describe, is_about, parts_of, subject
from tempo_runtime.deploy.kubernetes.failure_logs import Logs
from tempo_runtime.deploy.kubernetes.platforms import OURS, WARNINGS, Platform, server_of
from tempo_runtime.deploy.kubernetes.pods import Log, replica_set, restarts
from tempo_runtime.deploy.kubernetes.session import EVENTS, PODS, SERVER, Api
from tempo_runtime.deploy.kubernetes.status import (
    Old,
    Progress,
    invalid,
    progress,
    stale,
    without_pods,
)
from tempo_runtime.deploy.kubernetes.watch import Watch, WatchGroup
from tempo_runtime.errors import DeploymentFailed

# If an operator has not reacted to a change after this many seconds, it had nothing to do.
SETTLED = 10.0
_ENDS = {"failed": "has failed", "gone": "was deleted"}
_logger = logging.getLogger(__name__)


class ReadinessMonitor:
    """Watches the models of a namespace, their pods and their events.

    Args:
        connection: The connection to the cluster.
        deadline: When watching ends at the latest.
        platform: The platform that deploys the models.
        namespace: The namespace.
    """

    def __init__(
        self, connection: ApiConnection, deadline: Deadline, platform: Platform, namespace: str
    ) -> None:
        self._api = Api(connection, deadline)
        self._platform = platform
        self._namespace = namespace
        self._watches = WatchGroup(connection, deadline, namespace)
        self._logs = Logs(connection, namespace)
        self._before: dict[str, dict[str, Any]] = {}
        self._applied: dict[str, tuple[dict[str, Any], float]] = {}
        self._applied_servers: dict[str, tuple[dict[str, Any], float]] = {}
        self._seen: set[str] = set()

    def __enter__(self) -> ReadinessMonitor:
        try:
            self._models = self._watches.watch(self._platform.model, OURS)
            # Without the right to list them, only the reasons are shorter.
            self._pods = self._allowed(PODS, {"labelSelector": self._platform.pods})
            self._events = self._allowed(EVENTS, WARNINGS)
            self._servers = self._allowed(SERVER, OURS) if self._platform.shared else None
            self._before = {item["metadata"]["name"]: item for item in self._models.items()}
            pods = self._items(self._pods)
            self._old_pods = {pod["metadata"]["uid"]: restarts(pod) for pod in pods}
            self._old_sets = set(map(replica_set, pods)) - {""}
            servers = self._items(self._servers)
            self._old_servers = {server["metadata"]["name"]: server for server in servers}
            self._old_events = {_version(event) for event in self._items(self._events)}
        except BaseException:
            self._watches.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        self._watches.__exit__(None, None, None)

    def applied(self, item: dict[str, Any]) -> None:
        """Record an object that has just been applied."""
        if item["kind"] == SERVER.kind:
            self._applied_servers[item["metadata"]["name"]] = item, time.monotonic() + SETTLED
        elif item["kind"] == self._platform.model.kind:
            self._applied[item["metadata"]["name"]] = (item, time.monotonic() + SETTLED)

    def progress(self, name: str) -> Progress:
        """Return the progress of a model.

        Raises:
            DeploymentFailed: If the connection to the cluster is lost.
        """
        result = self._logs.explain(lambda logs: self._progress(name, logs))
        return result if self._pods is not None else without_pods(result, self._namespace)

    def _progress(self, name: str, logs: Mapping[Log, str]) -> Progress:
        item = self._item(name)
        if item is None and name in self._applied and name not in self._seen:
            return Progress("waiting")
        self._seen.add(name)
        before = self._before.get(name)
        changed = name in self._applied and _generation(self._applied[name][0]) != _generation(
            before
        )
        pods = [
            pod
            for pod in self._items(self._pods)
            if item is not None and self._platform.of(pod, item)
        ]
        events = self._items(self._events)
        old = Old()
        if self._applied:
            events = [event for event in events if _version(event) not in self._old_events]
            old = Old(self._old_pods, None if changed else before)
        others = [model["metadata"]["name"] for model in self._items(self._models)]
        server = self._server(item, pods) if item is not None and self._servers else None
        result = progress(item, pods, events, logs, old, others, server)
        renewed = not self._old_sets.issuperset(filter(None, map(replica_set, pods)))
        if item is not None and self._pending(name, item, renewed):
            return Progress("waiting", "the operator has not processed the change yet")
        if item is not None and result.state == "ready" and changed and not renewed:
            about = (name, others, parts_of(item))
            blocking = [
                event for event in events if self._blocks(event) and is_about(event, *about)
            ]
            if blocking:
                return Progress("waiting", describe(blocking[-1]))
        # KServe rejects a service if it has not seen its runtime yet.
        if result.state == "failed" and item is not None and invalid(item) and self._settling(name):
            return replace(result, state="waiting")
        return result

    def wait_until_ready(self, names: Sequence[str], tell: Callable[[str], object] | None) -> None:
        """Wait until models are ready.

        Args:
            names: Their names.
            tell: Called with a description of what is waited for. Without it, problems are logged.

        Raises:
            DeploymentFailed: If a model fails or is deleted, or time runs out; the message says why.
        """
        logged: set[str] = set()
        while True:
            progress_by_name = {name: self.progress(name) for name in names}
            for name, progress_now in progress_by_name.items():
                if progress_now.state in _ENDS:
                    raise DeploymentFailed(_why(name, _ENDS[progress_now.state], progress_now))
            waiting = [name for name in names if progress_by_name[name].state != "ready"]
            if not waiting:
                return
            name = max(waiting, key=lambda name: _urgency(progress_by_name[name]))
            reason = progress_by_name[name].reason
            if tell is not None:
                ready = len(names) - len(waiting)
                tell(f"{ready} of {len(names)} are ready; {name}: {reason or 'waiting'}")
            elif progress_by_name[name].blocked and reason not in logged:
                logged.add(reason)
                _logger.warning("%s is not ready: %s", name, reason)
            deadline = self._api.deadline
            if not deadline.left:
                after = f"is not ready after {deadline.seconds:g} seconds"
                raise DeploymentFailed(_why(name, after, progress_by_name[name]))
            applied = [*self._applied.values(), *self._applied_servers.values()]
            settling = [end for _, end in applied if end > time.monotonic()]
            soon = min((end - time.monotonic() for end in settling), default=deadline.left)
            self._watches.wait(soon + 0.01)

    def _server(self, item: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Wait:
        """Return what the Server of a model waits for."""
        name = server_of(item)
        servers = self._items(self._servers)
        server = next((server for server in servers if server["metadata"]["name"] == name), None)
        if name not in self._applied_servers:
            return wait_of(server, pods)
        applied, end = self._applied_servers[name]
        before = self._old_servers.get(name)
        has_new_pods = any(pod["metadata"]["uid"] not in self._old_pods for pod in pods)
        replaces = replaced(before, applied) and (has_new_pods or time.monotonic() < end)
        changed = replaces or _generation(before) != _generation(applied)
        return wait_of(server, pods, self._old_pods if replaces else (), counted=changed)

    def _item(self, name: str) -> dict[str, Any] | None:
        items = self._items(self._models)
        item = next((item for item in items if item["metadata"]["name"] == name), None)
        applied = self._applied.get(name)
        if item is not None and applied and _generation(item) < _generation(applied[0]):
            return applied[0]
        return item

    def _settling(self, name: str) -> bool:
        return name in self._applied and time.monotonic() <= self._applied[name][1]

    def _pending(self, name: str, item: Mapping[str, Any], renewed: bool) -> bool:
        return self._settling(name) and stale(item, self._before.get(name), renewed=renewed)

    def _blocks(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event says that the first pod of a new version cannot be created."""
        new = bool(self._old_sets) and subject(event) not in self._old_sets
        return new and event.get("reason") == "FailedCreate"

    def _allowed(self, *what: Any) -> Watch | None:
        try:
            return self._watches.watch(*what)
        except ApiError as refused:
            if not refused.forbidden:
                raise
            return None

    def _items(self, watch: Watch | None) -> list[dict[str, Any]]:
        if watch is None:
            return []
        try:
            return _followed(watch, self._api)
        except ApiError as refused:
            # The caller may list them, but not watch them.
            if watch is self._models or not refused.forbidden:
                raise
            if watch is self._pods:
                self._pods = None
            return []


def wait_until_gone(
    connection: ApiConnection, deadline: Deadline, namespace: str, deleted: Mapping[str, ApiCall]
) -> None:
    """Wait until objects are gone.

    Args:
        connection: The connection to the cluster.
        deadline: The deadline.
        namespace: Their namespace.
        deleted: The objects by uid.

    Raises:
        DeploymentFailed: If one still exists at the deadline.
    """
    api = Api(connection, deadline)
    with WatchGroup(connection, deadline, namespace) as group:
        watches = [
            group.watch(resource, OURS)
            for resource in dict.fromkeys(call.resource for call in deleted.values())
        ]
        while True:
            items = [item for watch in watches for item in _followed(watch, api)]
            existing = {item["metadata"]["uid"]: item for item in items}
            remaining = [uid for uid in deleted if uid in existing]
            if not remaining:
                return
            if not deadline.left:
                finalizers = ", ".join(existing[remaining[0]]["metadata"].get("finalizers") or [])
                raise DeploymentFailed(
                    f"{deleted[remaining[0]]} is still being deleted after {deadline.seconds:g} seconds"
                    + (f"; its finalizers block it: {finalizers}" if finalizers else "")
                    + "; check that its operator runs"
                )
            group.wait(deadline.left)


def _why(name: str, what: str, progress: Progress) -> str:
    return f"{name} {what}: {progress.reason}" if progress.reason else f"{name} {what}"


def _urgency(progress: Progress) -> tuple[bool, bool]:
    """Rank models to report: first those with a problem, then those with a reason."""
    return progress.blocked, bool(progress.reason)


def _followed(watch: Watch, api: Api) -> list[dict[str, Any]]:
    try:
        return watch.items()
    except Unreachable as error:
        raise DeploymentFailed(
            f"the connection to the cluster at {api.connection.host} was lost, and not restored within "
            f"{api.deadline.seconds:g} seconds; check that the cluster is up"
        ) from error


def _version(item: Mapping[str, Any]) -> tuple[str, str]:
    metadata = item["metadata"]
    return str(metadata.get("uid")), str(metadata.get("resourceVersion"))


def _generation(item: Mapping[str, Any] | None) -> int:
    return int(item["metadata"].get("generation") or 0) if item else 0
